"""A small network trained on the spot, for a budget that does not grow with the images."""

import torch
from torch import Tensor

from evaluation.measuring.classifier import ClassifierSettings, train_classifier
from evaluation.measuring.context import UnavailableError
from evaluation.measuring.extractors import Extractor

#: Images that pass through a training, about two seconds of one core at 28 x 28 pixels.
BUDGET = 10_000
MAX_EPOCHS = 10


#: Pixels a side: the network halves them twice.
SMALLEST = 4


def num_epochs(num: int) -> int:
    """Passes over so many images: ten up to 1,000, then as many as the budget allows, at least 1.

    More images are worth more than more passes over fewer.
    """
    return min(MAX_EPOCHS, max(1, BUDGET // num))


def train_fresh(images: Tensor, labels: Tensor, num_classes: int, seed: int) -> Extractor:
    """Trains the extractor's network (`extractors.Classifier`) from new weights.

    For the arguments see `train_classifier`.

    Raises:
        UnavailableError: The images are too small for it, the training diverged, or the network
            sees no difference at all.
    """
    settings = ClassifierSettings(
        width=16,
        num_features=64,
        epochs=num_epochs(len(images)),
        batch_size=64,
        learning_rate=4e-3,
        weight_decay=0.01,
        max_shift=2,
    )
    if min(images.shape[-2:]) < SMALLEST:
        raise UnavailableError("image_smaller_than_judge")
    try:
        return train_classifier(images, labels, num_classes, settings, seed)
    except ValueError:
        raise UnavailableError("judge_not_trainable") from None


def halves(num: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Indices of a random half (the smaller one of an odd number) and of the rest."""
    order = torch.randperm(num, generator=rng)
    return order[: num // 2], order[num // 2 :]

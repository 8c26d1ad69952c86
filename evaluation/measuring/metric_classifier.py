"""A small classifier that a metric trains itself, with a budget independent of the image count."""

import torch
from torch import Tensor

from evaluation.measuring.classifier import ClassifierSettings, train_classifier
from evaluation.measuring.extractors import Extractor
from evaluation.measuring.records import UnavailableError

#: Images processed in one training; takes about two seconds on one core at 28 x 28 pixels.
BUDGET = 10_000
MAX_EPOCHS = 10
#: Smallest side of an image in pixels: the network halves the sides twice.
SMALLEST = 4


def num_epochs(num: int) -> int:
    """Passes over `num` training images: 10 up to 1,000 images, then `BUDGET` / num, at least 1.

    More images improve the classifier more than more passes over fewer images.
    """
    return min(MAX_EPOCHS, max(1, BUDGET // num))


def train_metric_classifier(
    images: Tensor, labels: Tensor, num_classes: int, seed: int
) -> Extractor:
    """Trains a network of the extractor's architecture (`extractors.Classifier`) from scratch.

    For the arguments see `train_classifier`.

    Raises:
        UnavailableError: The images are smaller than 4 pixels, the training diverged, or the
            features are the same for all images.
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
    """Indices of a random half of `num` images (rounded down) and of the rest."""
    order = torch.randperm(num, generator=rng)
    return order[: num // 2], order[num // 2 :]

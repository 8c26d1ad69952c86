"""Training of the feature extractor on the train split, and a description of the result."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.measuring.extractors import Classifier, Extractor
from evaluation.measuring.images import PREPROCESSING_VERSION
from evaluation.measuring.moments import covariance, total_variance

#: Total variance of the train features; distances are in percent of it.
TARGET_VARIANCE = 100.0

LabelledImages = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class ClassifierSettings:
    """Architecture and training of the extractor.

    Attributes:
        width: Channels of the first block.
        num_features: Size d of the hidden layer.
        epochs: Number of passes over the train split.
        batch_size: Images per step.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Weight decay of AdamW.
        max_shift: Largest random shift of a training image in pixels; with 0 the network memorises
            the train split.
    """

    width: int
    num_features: int
    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    max_shift: int


def train_classifier(
    images: Tensor,
    labels: Tensor,
    num_classes: int,
    settings: ClassifierSettings,
    seed: int,
    progress: Callable[[int, float], None] = lambda epoch, loss: None,
) -> Extractor:
    """Trains an extractor: cross-entropy, AdamW, one-cycle schedule, random shifts, fixed epochs.

    The weights depend on the number of torch threads and are equal to the bit for equal numbers.
    The global random state is neither used nor changed.

    Args:
        images: (N, C, H, W) in [0, 1], from uint8.
        labels: (N,) int64 in [0, num_classes).
        num_classes: Number of classes K.
        settings: Architecture and training.
        seed: Seed of weights, order and shifts.
        progress: Called after each epoch with its number, from 1, and its mean loss in nats.

    Raises:
        ValueError: The training diverged, or the features are the same for all images.
    """
    channels, height, width = images.shape[1:]
    shape = (channels, height, width)
    rng = torch.Generator().manual_seed(seed)
    network = Classifier(shape, num_classes, settings.width, settings.num_features)
    network.initialise(rng)
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=settings.learning_rate,
        total_steps=settings.epochs * math.ceil(len(images) / settings.batch_size),
    )
    network.train()
    for epoch in range(1, settings.epochs + 1):
        total = 0.0
        for index in torch.randperm(len(images), generator=rng).split(settings.batch_size):
            x = shifted(images[index], settings.max_shift, rng)
            loss = F.cross_entropy(network(x), labels[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            total += loss.item() * len(index)
        if not math.isfinite(total):
            raise ValueError(
                f"the classifier diverged in epoch {epoch}; lower its learning rate "
                f"({settings.learning_rate})"
            )
        progress(epoch, total / len(images))
    return _scaled(network, images, num_classes, settings)


def shifted(x: Tensor, max_shift: int, rng: torch.Generator) -> Tensor:
    """Shifts each image (N, C, H, W) by up to `max_shift` pixels per axis; repeats the border."""
    if not max_shift:
        return x
    n, channels, height, width = x.shape
    padded = F.pad(x, [max_shift] * 4, mode="replicate")
    down, right = torch.randint(2 * max_shift + 1, (2, n), generator=rng)
    rows = (down[:, None] + torch.arange(height))[:, None, :, None]
    columns = (right[:, None] + torch.arange(width))[:, None, None, :]
    return padded[
        torch.arange(n)[:, None, None, None], torch.arange(channels)[:, None, None], rows, columns
    ]


def _scaled(
    network: Classifier, images: Tensor, num_classes: int, settings: ClassifierSettings
) -> Extractor:
    channels, height, width = images.shape[1:]

    def with_scale(scale: float) -> Extractor:
        return Extractor(
            network,
            image_shape=(channels, height, width),
            num_classes=num_classes,
            width=settings.width,
            num_features=settings.num_features,
            scale=scale,
        )

    variance = total_variance(with_scale(1.0).features(images))
    if not variance > 0:
        raise ValueError("the classifier's features are the same for all train images")
    return with_scale(math.sqrt(TARGET_VARIANCE / variance))


def describe(
    extractor: Extractor,
    splits: Mapping[str, LabelledImages],
    features: Mapping[str, Tensor],
    settings: ClassifierSettings,
    seed: int,
) -> dict[str, Any]:
    """The extractor's card, as JSON values.

    Args:
        extractor: The extractor.
        splits: Images and labels of `train`, `valid` and `test`.
        features: Its features (N, d) of the same splits.
        settings: The settings of its training.
        seed: The seed of its training.
    """
    predicted = {name: extractor.classify(features[name]).argmax(1) for name in splits}
    scatter = covariance(features["train"])
    variances = scatter.diagonal()
    classes = extractor.num_classes
    cells = splits["test"][1] * classes + predicted["test"]
    return {
        "extractor": f"sha256:{extractor.sha256}",
        "name": extractor.name,
        "preprocessing": PREPROCESSING_VERSION,
        "dtype": "float32",
        "seed": seed,
        "settings": asdict(settings),
        "num_parameters": sum(p.numel() for p in extractor.classifier.parameters()),
        "num_features": extractor.num_features,
        "scale": extractor.scale,
        "accuracy": {
            name: (predicted[name] == labels).double().mean().item()
            for name, (_, labels) in splits.items()
        },
        # Rows are the true classes of the test split, columns the predicted ones.
        "confusion_matrix": cells.bincount(minlength=classes**2).view(classes, classes).tolist(),
        "dead_units": int((variances < 1e-8 * variances.mean()).sum()),
        "effective_rank": (variances.sum() ** 2 / scatter.square().sum()).item(),
        "trace": {name: total_variance(features[name]) for name in splits},
    }

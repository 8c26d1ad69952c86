"""Image sets of known quality, measured like models: every metric has to order them correctly.

If a metric ranks five of ten classes above all ten, or blurred images above the data, it does not
measure quality on this data, and its ranking of the models is misleading. Held-out real images are
the floor of a column.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.measuring.images import quantise
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import Order, UnavailableError

MILD, STRONG = 0.1, 0.3  # deviations of the noise; 0.02 would be lost in the floor
COMPONENTS = 50


@dataclass(frozen=True)
class Sources:
    """The real images that the rows are made from.

    Attributes:
        held_out: Real images outside the training data and outside the reference of the metrics.
        train: The training images of the models.
        num: Number of images of a row.
    """

    held_out: RealImages
    train: RealImages
    num: int

    def base(self) -> RealImages:
        """The held-out images that a row degrades.

        Raises:
            UnavailableError: There are too few; with another n a metric has another bias.
        """
        if len(self.held_out.images) < self.num:
            raise UnavailableError("fewer_held_out_images")
        return self.held_out.first(self.num)


Row = tuple[Tensor, Tensor | None]  # images and, if they have any, their classes
Recipe = Callable[[Sources, torch.Generator], Row]


def _held_out(sources: Sources, rng: torch.Generator) -> Row:
    base = sources.base()
    return base.images, base.labels


def _train_copies(sources: Sources, rng: torch.Generator) -> Row:
    train = sources.train
    if len(train.images) < sources.num:
        raise UnavailableError("fewer_images_than_the_reference")
    drawn = torch.randperm(len(train.images), generator=rng)[: sources.num]
    return train.images[drawn], None if train.labels is None else train.labels[drawn]


def _noisy(deviation: float) -> Recipe:
    def make(sources: Sources, rng: torch.Generator) -> Row:
        base = sources.base()
        noise = deviation * torch.randn(base.images.shape, generator=rng)
        return base.images + noise, base.labels

    return make


def _blurred(sources: Sources, rng: torch.Generator) -> Row:
    base = sources.base()
    channels = base.images.shape[1]
    line = torch.tensor([1.0, 2.0, 1.0]) / 4
    kernel = (line[:, None] * line).expand(channels, 1, 3, 3)
    padded = F.pad(base.images, [1] * 4, mode="replicate")
    return F.conv2d(padded, kernel, groups=channels), base.labels


def _dropped(half: bool) -> Recipe:
    """Images without some of the classes; repetitions of the others fill the gap."""

    def make(sources: Sources, rng: torch.Generator) -> Row:
        base = sources.base()
        classes = _classes(base.labels)
        order = classes[torch.randperm(len(classes), generator=rng)]
        dropped = order[: len(classes) // 2 if half else 1]
        assert base.labels is not None  # checked by _classes
        kept = (~torch.isin(base.labels, dropped)).nonzero().squeeze(1)
        repeated = kept[torch.arange(sources.num) % len(kept)]
        return base.images[repeated], base.labels[repeated]

    return make


def _prototypes(sources: Sources, rng: torch.Generator) -> Row:
    """For each class the training image closest to the class mean, repeated in turn."""
    images, labels = sources.train.images, sources.train.labels
    nearest = []
    classes = _classes(labels)
    for label in classes:
        members = images[labels == label]
        distances = (members - members.mean(0)).flatten(1).square().sum(1)
        nearest.append(members[distances.argmin()])
    turn = torch.arange(sources.num) % len(nearest)
    return torch.stack(nearest)[turn], classes[turn]


def _pca_gaussian(sources: Sources, rng: torch.Generator) -> Row:
    """Draws from a Gaussian of the training images' mean and first principal components."""
    pixels = sources.train.images.flatten(1).double()
    mean = pixels.mean(0)
    values, vectors = torch.linalg.eigh((pixels - mean).T.cov(correction=1))
    kept = min(COMPONENTS, len(values))
    scales = values[-kept:].clamp(min=0).sqrt()
    noise = torch.randn(sources.num, kept, generator=rng, dtype=torch.float64)
    drawn = mean + (noise * scales) @ vectors[:, -kept:].T
    return drawn.float().unflatten(1, sources.train.images.shape[1:]), None


def _mean_image(sources: Sources, rng: torch.Generator) -> Row:
    mean = sources.train.images.mean(0, keepdim=True)
    return mean.expand(sources.num, -1, -1, -1), None


def _uniform_noise(sources: Sources, rng: torch.Generator) -> Row:
    return torch.rand((sources.num, *sources.train.images.shape[1:]), generator=rng), None


def _classes(labels: Tensor | None) -> Tensor:
    """The classes of the images, at least two."""
    if labels is None:
        raise UnavailableError("no_labels")
    classes = labels.unique()
    if len(classes) < 2:
        raise UnavailableError("one_class")
    return classes


#: By name, from the best to the worst as far as the order is fixed.
ROWS: dict[str, Recipe] = {
    "held_out": _held_out,
    "train_copies": _train_copies,
    "mild_noise": _noisy(MILD),
    "strong_noise": _noisy(STRONG),
    "blur": _blurred,
    "mode_drop_light": _dropped(half=False),
    "mode_drop_heavy": _dropped(half=True),
    "prototypes": _prototypes,
    "pca_gaussian": _pca_gaussian,
    "mean_image": _mean_image,
    "uniform_noise": _uniform_noise,
}

FLOOR = "held_out"
#: Rows that consist of training images only.
COPIES = ("train_copies", "prototypes")
#: Worse than all other rows, without an order between them.
WORST = ("mean_image", "uniform_noise")
#: In each chain every row is better than the next one.
_CHAINS = (
    ("held_out", "mild_noise", "strong_noise"),
    ("held_out", "mode_drop_light", "mode_drop_heavy"),
    ("held_out", "blur"),
    ("held_out", "prototypes"),
    ("held_out", "pca_gaussian"),
)

MEANING = {
    "held_out": "real images of the validation split: the floor",
    "train_copies": "training images: the output of a model that copies",
    "mild_noise": f"real images with Gaussian noise of deviation {MILD}",
    "strong_noise": f"real images with Gaussian noise of deviation {STRONG}",
    "blur": "real images under a 3x3 binomial blur",
    "mode_drop_light": "real images without one class, repetitions fill the gap",
    "mode_drop_heavy": "real images without half of the classes, repetitions fill the gap",
    "prototypes": "for each class the training image closest to the class mean, repeated",
    "pca_gaussian": f"a Gaussian of {COMPONENTS} principal components of the training pixels",
    "mean_image": "the mean of the training images, repeated",
    "uniform_noise": "independent uniform pixels",
}


def make(name: str, sources: Sources, seed: int) -> Row:
    """The images of a row, as 8-bit images, and their classes.

    Args:
        name: A key of `ROWS`.
        sources: The real images.
        seed: Seed of the noise, of the choice of classes and of the draws.

    Returns:
        (num, C, H, W) float32 in [0, 1], and (num,) int64; None for a row without classes.

    Raises:
        UnavailableError: This row is not possible with this data.
    """
    images, labels = ROWS[name](sources, torch.Generator().manual_seed(seed))
    return quantise(images), labels


def _pairs(present: Mapping[str, float], order: Order) -> Iterator[tuple[str, str]]:
    """(better, worse) pairs of rows that have a value."""
    if order == "novelty":
        yield from ((row, copies) for copies in COPIES for row in present if row not in COPIES)
        return
    for chain in _CHAINS:
        yield from pairwise(row for row in chain if row in present)
    for worst in WORST:
        if worst in present:
            yield from ((row, worst) for row in present if row not in {*WORST, "train_copies"})


def broken_pairs(
    values: Mapping[str, float | None], higher_is_better: bool, order: Order = "quality"
) -> list[tuple[str, str]]:
    """The pairs of rows (better, worse) that a metric misorders or gives the same value.

    Args:
        values: The value of each row; a row without a value is not compared.
        higher_is_better: The metric's direction.
        order: The expected order: `quality` is the order of the rows above, in which copies of
            training images have no fixed place; `novelty` has these copies after all others.
    """
    present = {row: value for row, value in values.items() if value is not None}
    sign = 1 if higher_is_better else -1
    return [
        (better, worse)
        for better, worse in _pairs(present, order)
        if worse in present and not sign * present[better] > sign * present[worse]
    ]

"""Sets of real images with their labels, stored features and identity."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor

from evaluation.measuring.images import to_uint8


@dataclass(frozen=True, eq=False)
class RealImages:
    """Real images and their origin.

    Attributes:
        images: (N, C, H, W) in [0, 1], from uint8, in random order.
        labels: (N,) int64 classes from 0; None if the data has none.
        features: (N, d) by the `sha256` of the extractor; missing ones are computed on demand.
        dataset: Name of the data set.
        split: `train`, `valid` or `test`.
        sha256: SHA-256 of the pixels of the split.

    Raises:
        ValueError: `labels` is not one integer from 0 per image.
    """

    images: Tensor
    labels: Tensor | None
    features: Mapping[str, Tensor]
    dataset: str
    split: str
    sha256: str

    def __post_init__(self) -> None:
        """Checks the labels here, because -1 for "unknown" would fail deep inside a metric."""
        check_labels(self.labels, len(self.images))

    @classmethod
    def of(
        cls,
        images: Tensor,
        labels: Tensor | None = None,
        *,
        dataset: str = "images",
        split: str = "all",
    ) -> "RealImages":
        """Images (N, C, H, W) in [0, 1], rounded to 8 bits, with the hash of their pixels.

        Pass them in random order: a metric that needs fewer images uses the first ones.

        Raises:
            ValueError: `images` is not a float tensor with finite pixels in [0, 1], or `labels` is
                not one integer from 0 per image.
        """
        if not images.is_floating_point() or ((images < 0) | (images > 1)).any():
            raise ValueError(
                f"images are floats in [0, 1], got {images.dtype} in "
                f"[{images.min():.4g}, {images.max():.4g}]"
            )
        pixels = to_uint8(images)
        sha256 = hashlib.sha256(pixels.contiguous().cpu().numpy().tobytes()).hexdigest()
        return cls(pixels.float() / 255, labels, {}, dataset, split, sha256)

    def first(self, n: int) -> "RealImages":
        """The first n images."""
        labels = None if self.labels is None else self.labels[:n]
        features = {sha256: values[:n] for sha256, values in self.features.items()}
        return replace(self, images=self.images[:n], labels=labels, features=features)


def check_labels(labels: Tensor | None, num: int) -> None:
    """Checks that labels are (num,) integers from 0, or None for unlabelled images.

    Raises:
        ValueError: The shape, the type or a value is wrong.
    """
    if labels is None:
        return
    if labels.shape != (num,):
        raise ValueError(f"{num} images, but labels of shape {tuple(labels.shape)}")
    if labels.is_floating_point() or (labels < 0).any():
        raise ValueError(f"labels are integers from 0, got {labels.dtype} from {labels.min()}")

"""The feature extractor: a small classifier whose last hidden layer gives the features of FID, KID.

It uses GELU and no batch norm, because dead ReLUs make the covariance singular and batch norm does
not bound the features of unusual images. One constant scale makes the total variance of the train
features 100, so that a Frechet distance is in percent of the real feature variance.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils import skip_init

from evaluation.measuring.images import PREPROCESSING_VERSION

EXTRACTOR_NAME = "classifier"

# Fixed, because the batch size changes the last bits of float32 features.
_BATCH = 500


class FeatureExtractor(Protocol):
    """Maps images to feature vectors, between which distances of image sets are computed.

    Attributes:
        name: Suffix of the names of its values.
        unit: Unit of squared distances between its features.
        sha256: Identity of the extractor; values are comparable only if it is equal.
    """

    @property
    def unit(self) -> str:
        """See above."""
        ...

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def sha256(self) -> str:
        """See above."""
        ...

    def features(self, x: Tensor) -> Tensor:
        """Features (N, d), float32 on the CPU, of images (N, C, H, W) rounded to 8 bits."""
        ...

    def classify(self, features: Tensor) -> Tensor:
        """Class logits (N, K) of features (N, d)."""
        ...


@dataclass(frozen=True)
class MissingExtractor:
    """Replaces a missing extractor; all values that need it are null.

    Attributes:
        name: Suffix of the names of these values.
        reason: The `reason` of these values.
        unit: Unit of these values (default `raw`).
    """

    name: str
    reason: str
    unit: str = "raw"


class Classifier(nn.Module):
    """Convolution, GELU and pooling blocks, a hidden layer, and a linear layer to the classes.

    Two blocks for images up to 40 pixels, three above 40, four above 80, so that the hidden layer
    gets a small feature map. Each block doubles the channels and halves the sides.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], num_classes: int, width: int, num_features: int
    ) -> None:
        super().__init__()
        channels, height, width_px = image_shape
        side = max(height, width_px)
        num_blocks = 2 + (side > 40) + (side > 80)
        layers: list[nn.Module] = []
        # skip_init: `initialise` draws the weights, so the global random state stays unused.
        for i in range(num_blocks):
            out = width * 2**i
            layers += [
                skip_init(nn.Conv2d, channels, out, 3, padding=1),
                nn.GELU(),
                nn.MaxPool2d(2),
            ]
            channels = out
        flat = channels * (height // 2**num_blocks) * (width_px // 2**num_blocks)
        self.body = nn.Sequential(
            *layers, nn.Flatten(), skip_init(nn.Linear, flat, num_features), nn.GELU()
        )
        self.head = skip_init(nn.Linear, num_features, num_classes)
        # channels_last makes pooling 2 times and a training 1.4 times as fast.
        for module in self.body:
            if isinstance(module, nn.Conv2d):
                module.weight.data = module.weight.contiguous(memory_format=torch.channels_last)

    def initialise(self, rng: torch.Generator) -> None:
        """Draws all weights and biases from U(-1, 1) / sqrt(fan in)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.weight, -bound, bound, generator=rng)
                nn.init.uniform_(module.get_parameter("bias"), -bound, bound, generator=rng)

    def forward(self, x: Tensor) -> Tensor:
        """Class logits (N, K) of images (N, C, H, W) in [0, 1]."""
        logits: Tensor = self.head(self.body(x))
        return logits


class Extractor:
    """A trained classifier with a feature scale, in evaluation mode on the CPU.

    Attributes:
        name: `classifier`, the suffix of the names of its values.
        unit: Unit of squared distances between scaled features.
        classifier: The network.
        image_shape: (C, H, W) of accepted images.
        num_classes: Number of classes K.
        width: Channels of the first block.
        num_features: Number of features d.
        scale: Factor of the features.
        sha256: Identity of the extractor; values are comparable only if it is equal.
    """

    name = EXTRACTOR_NAME
    unit = "percent of real feature variance"

    def __init__(
        self,
        classifier: Classifier,
        *,
        image_shape: tuple[int, int, int],
        num_classes: int,
        width: int,
        num_features: int,
        scale: float,
    ) -> None:
        self.classifier = classifier.eval().requires_grad_(False)
        self.image_shape = image_shape
        self.num_classes = num_classes
        self.width = width
        self.num_features = num_features
        self.scale = scale
        self.sha256 = identity(classifier.state_dict(), scale)

    def features(self, x: Tensor) -> Tensor:
        """Features of images.

        Args:
            x: (N, C, H, W) in [0, 1], rounded to 8 bits.

        Returns:
            (N, d) float32.
        """
        if tuple(x.shape[1:]) != self.image_shape:
            raise ValueError(
                f"the extractor takes images of shape {self.image_shape}, got {tuple(x.shape[1:])}"
            )
        with torch.no_grad():
            parts = [self.classifier.body(batch) for batch in x.to("cpu").split(_BATCH)]
        return self.scale * torch.cat(parts)

    def classify(self, features: Tensor) -> Tensor:
        """Class logits (N, K) of features (N, d)."""
        with torch.no_grad():
            logits: Tensor = self.classifier.head(features / self.scale)
        return logits

    def logits(self, x: Tensor) -> Tensor:
        """Class logits (N, K) of images (N, C, H, W)."""
        return self.classify(self.features(x))


def identity(state: Mapping[str, Tensor], scale: float) -> str:
    """SHA-256 of weights, scale and preprocessing version.

    It depends on the numbers only, not on the file that stores them.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(little.tobytes())
    digest.update(f"scale {float(scale).hex()} preprocessing {PREPROCESSING_VERSION}".encode())
    return digest.hexdigest()

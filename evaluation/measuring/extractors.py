"""The feature extractor: a small classifier whose last hidden layer is what FID and KID look at.

GELU and no batch norm on purpose: dead ReLUs make the covariance singular, and batch norm leaves
inputs off the data's manifold unbounded. One constant scale makes the total variance of the train
features 100, so that a Frechet distance reads as percent of the real feature variance.
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
    """Maps images to the vectors that distances of image sets are measured between.

    Attributes:
        name: The suffix of the values that it makes.
        unit: Of squared distances between its features.
        sha256: Its identity: two values compare only where it is equal.
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
        """(N, C, H, W) in [0, 1], already rounded to 8 bits, to (N, d) float32 on the CPU."""
        ...

    def classify(self, features: Tensor) -> Tensor:
        """(N, d) features to class logits (N, K)."""
        ...


@dataclass(frozen=True)
class MissingExtractor:
    """Stands where an extractor would: what is measured with it is null.

    Attributes:
        name: The suffix of the values that it would make.
        reason: Why it is missing, the `reason` of those values.
    """

    name: str
    reason: str
    unit: str = "raw"


class Classifier(nn.Module):
    """Convolution, GELU and pooling blocks, a hidden layer, and a linear layer to the classes.

    Two blocks for images up to 40 pixels, one more each above 40 and above 80, so that the hidden
    layer sees a small map. Each block doubles the channels and halves the sides.
    """

    def __init__(
        self, image_shape: tuple[int, int, int], num_classes: int, width: int, num_features: int
    ) -> None:
        super().__init__()
        channels, height, width_px = image_shape
        side = max(height, width_px)
        num_blocks = 2 + (side > 40) + (side > 80)
        layers: list[nn.Module] = []
        # skip_init: the weights are drawn by `initialise`, not from the global random state.
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
        # Pooling is twice as fast so, a training 1.4 times.
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
        """(N, C, H, W) in [0, 1] to logits (N, K)."""
        logits: Tensor = self.head(self.body(x))
        return logits


class Extractor:
    """A trained classifier with its scale; always in evaluation mode, on the CPU.

    Attributes:
        name: `classifier`, the suffix of the values that it makes.
        unit: What its scale makes of squared distances.
        classifier: The network.
        image_shape: (C, H, W) that it accepts.
        num_classes: K.
        width: Channels of the first block.
        num_features: d.
        scale: What the features are multiplied with.
        sha256: Its identity: two values compare only where it is equal.
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
            x: (N, C, H, W) in [0, 1], already rounded to 8 bits.

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
        """(N, d) features to class logits (N, K)."""
        with torch.no_grad():
            logits: Tensor = self.classifier.head(features / self.scale)
        return logits

    def logits(self, x: Tensor) -> Tensor:
        """(N, C, H, W) images to class logits (N, K)."""
        return self.classify(self.features(x))


def identity(state: Mapping[str, Tensor], scale: float) -> str:
    """SHA-256 of weights, scale and preprocessing version; equal for equal numbers.

    Not of the file: the same tensors saved under two names give two different files.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        array = tensor.detach().cpu().contiguous().numpy()
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(little.tobytes())
    digest.update(f"scale {float(scale).hex()} preprocessing {PREPROCESSING_VERSION}".encode())
    return digest.hexdigest()

"""What the metrics of one model share: samples, features, reconstructions, each computed once."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.features import Extractor
from evaluation.images import quantise
from evaluation.protocols import LikelihoodBound, Reconstructor, Sampler, is_conditional


class UnavailableError(Exception):
    """A metric has no value; the message is the `reason` of its record."""


@dataclass(frozen=True, eq=False)
class RealImages:
    """Real images and where they come from.

    Attributes:
        images: (N, C, H, W) in [0, 1], from uint8, in random order.
        labels: (N,) int64 classes from 0; None where the data has none.
        features: (N, d) of the extractor; None to have them extracted where they are needed.
        dataset: The data set's name.
        split: `train`, `valid` or `test`.
        sha256: Of the split's pixels.
    """

    images: Tensor
    labels: Tensor | None
    features: Tensor | None
    dataset: str
    split: str
    sha256: str

    def first(self, n: int) -> "RealImages":
        """The first n images."""
        labels = None if self.labels is None else self.labels[:n]
        features = None if self.features is None else self.features[:n]
        return replace(self, images=self.images[:n], labels=labels, features=features)


@dataclass(frozen=True)
class Seeds:
    """Where a value's randomness comes from.

    Attributes:
        train: Of the training; None for a fixed set of images.
        sample: Of the latents, for samples and for posterior draws.
        metric: Of the metric's own draws (permutations, bootstrap).
    """

    train: int | None
    sample: int
    metric: int


@dataclass(frozen=True, eq=False)
class Context:
    """One model before its judges.

    Every property is computed on first use, in batches, and kept. What cannot be computed raises
    `UnavailableError` with the reason, never a NaN.

    A conditional model draws its samples for the labels of the reference images, in their order:
    its generated set has the class counts of the reference set.

    Attributes:
        model: Anything; what it can do is told by the protocols.
        reference: The real images that it is compared with; as many are generated.
        train: The real images that it was trained on.
        extractor: The feature extractor, or None where the data has no labels.
        seeds: The seeds.
        batch_size: Images per call of the model; part of what determines the samples.
    """

    model: object
    reference: RealImages
    train: RealImages
    extractor: Extractor | None
    seeds: Seeds
    batch_size: int

    @property
    def num(self) -> int:
        """The number of reference images, which is the number of generated ones."""
        return len(self.reference.images)

    @property
    def sampled(self) -> Tensor | None:
        """The samples as they came, (num, C, H, W); None where the model draws none."""
        unlabelled = is_conditional(self.model) and self.reference.labels is None
        if unlabelled or not isinstance(self.model, Sampler) or not self.num:
            return None
        return self._raw_samples

    @property
    def samples(self) -> Tensor:
        """(num, C, H, W) generated images, rounded to 8 bits."""
        if self.num < 2:
            raise UnavailableError("too_few_samples")
        return _checked(self._raw_samples, "non_finite_samples")

    @cached_property
    def sample_features(self) -> Tensor:
        """(num, d) features of `samples`."""
        return self._need_extractor().features(self.samples)

    @property
    def sample_logits(self) -> Tensor:
        """(num, K) class logits of `samples`."""
        return self._need_extractor().classify(self.sample_features)

    @cached_property
    def reference_features(self) -> Tensor:
        """(num, d) features of the reference images."""
        extractor = self._need_extractor()
        if self.reference.features is not None:
            return self.reference.features
        return extractor.features(self.reference.images)

    @property
    def reference_logits(self) -> Tensor:
        """(num, K) class logits of the reference images."""
        return self._need_extractor().classify(self.reference_features)

    @property
    def reconstructions(self) -> Tensor:
        """(num, C, H, W) reconstructions of the reference images, rounded to 8 bits."""
        if not self.num:
            raise UnavailableError("too_few_samples")
        return _checked(self._raw_reconstructions, "non_finite_reconstructions")

    @property
    def rate_distortion(self) -> tuple[Tensor, Tensor]:
        """Rate and distortion of the reference images, each (num,) float64 nats per image."""
        if not self.num:
            raise UnavailableError("too_few_samples")
        rate, distortion = self._raw_rate_distortion
        if not (rate + distortion).isfinite().all():
            raise UnavailableError("non_finite_likelihood")
        return rate, distortion

    def batches(
        self, images: Tensor, labels: Tensor | None
    ) -> Iterator[tuple[Tensor, dict[str, Any]]]:
        """Batches of images on the model's device, each with what `told` says of it.

        Args:
            images: (N, C, H, W).
            labels: (N,), or None.
        """
        for start in range(0, len(images), self.batch_size):
            part = slice(start, start + self.batch_size)
            yield images[part].to(_device(self.model)), self.told(labels, part)

    def told(self, labels: Tensor | None, part: slice = slice(None)) -> dict[str, Any]:
        """What the model is told beside the images: `labels` if it is conditional, else nothing."""
        if not is_conditional(self.model):
            return {}
        if labels is None:
            raise UnavailableError("no_labels")
        return {"labels": labels[part].to(_device(self.model))}

    @cached_property
    def _raw_samples(self) -> Tensor:
        assert isinstance(self.model, Sampler)
        rng = torch.Generator().manual_seed(self.seeds.sample)
        drawn: list[Tensor] = []
        with judged(self.model):
            for start in range(0, self.num, self.batch_size):
                n = min(self.batch_size, self.num - start)
                told = self.told(self.reference.labels, slice(start, start + n))
                batch = self.model.sample(n, rng, **told).to("cpu", torch.float32)
                expected = (n, *self.reference.images.shape[1:])
                if batch.shape != expected:
                    raise ValueError(
                        f"{type(self.model).__name__}.sample({n}) returned shape "
                        f"{tuple(batch.shape)}, expected {tuple(expected)}"
                    )
                drawn.append(batch)
        return torch.cat(drawn)

    @cached_property
    def _raw_reconstructions(self) -> Tensor:
        assert isinstance(self.model, Reconstructor)
        with judged(self.model):
            made = [
                self.model.reconstruct(x, **told).to("cpu", torch.float32)
                for x, told in self.batches(self.reference.images, self.reference.labels)
            ]
        return torch.cat(made)

    @cached_property
    def _raw_rate_distortion(self) -> tuple[Tensor, Tensor]:
        assert isinstance(self.model, LikelihoodBound)
        rng = torch.Generator().manual_seed(self.seeds.sample)
        images, told = self.reference.images, self.told(self.reference.labels)
        with judged(self.model):
            pair = self.model.rate_distortion(images.to(_device(self.model)), rng, **told)
        rate, distortion = (part.to("cpu", torch.float64) for part in pair)
        return rate, distortion

    def _need_extractor(self) -> Extractor:
        if self.extractor is None:
            raise UnavailableError("no_extractor")
        return self.extractor


@contextlib.contextmanager
def judged(model: object) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every submodule's mode is as it was."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    if isinstance(model, nn.Module):
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.training = training


def _device(model: object) -> torch.device:
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def _checked(images: Tensor, reason: str) -> Tensor:
    if not images.isfinite().all():
        raise UnavailableError(reason)
    return quantise(images)

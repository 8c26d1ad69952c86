"""What the metrics of one model share: samples, features, reconstructions, each computed once."""

import contextlib
import hashlib
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.measuring.images import quantise, to_uint8
from evaluation.measuring.protocols import (
    Encoder,
    Labelled,
    LikelihoodBound,
    Reconstructor,
    Sampler,
    is_conditional,
)

_T = TypeVar("_T")

#: How far samples may leave [0, 1]: half an 8-bit level, which rounding takes to the border anyway.
#: It leaves room for the rounding of what a model computes, not for another range.
_SLACK = 0.5 / 255


class UnavailableError(Exception):
    """A metric has no value; the message is the `reason` of its record."""


@dataclass(frozen=True, eq=False)
class RealImages:
    """Real images and where they come from.

    Attributes:
        images: (N, C, H, W) in [0, 1], from uint8, in random order.
        labels: (N,) int64 classes from 0; None where the data has none.
        features: (N, d) by the `sha256` of the extractor; others are extracted when needed.
        dataset: The data set's name.
        split: `train`, `valid` or `test`.
        sha256: Of the split's pixels.

    Raises:
        ValueError: There is not one label from 0 for each image.
    """

    images: Tensor
    labels: Tensor | None
    features: Mapping[str, Tensor]
    dataset: str
    split: str
    sha256: str

    def __post_init__(self) -> None:
        """Labels index classes everywhere: -1 for an unknown one would fail deep in a metric."""
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
        """Images (N, C, H, W) in [0, 1] with the hash of their pixels, rounded to 8 bits.

        They should be in random order: of a larger set the first ones are taken.

        Raises:
            ValueError: A pixel is outside [0, 1], NaN or infinite, or no float, or there is not
                one label from 0 for each image.
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
    """One model before its judges, seen by one extractor with one set of samples.

    Every property is computed on first use, in batches, and kept for all views of the model
    (`view`). What cannot be computed raises `UnavailableError` with the reason, never a NaN.

    A conditional model draws its samples for the labels of the reference images, in their order:
    its generated set has the class counts of the reference set.

    Attributes:
        model: Anything; what it can do is told by the protocols.
        reference: The real images that it is compared with; as many are generated.
        train: The real images that it was trained on.
        valid: Real images of neither, which choices are made on; None where there are none.
        extractor: The feature extractor, or why there is none.
        seeds: The seeds.
        batch_size: Images per call of the model; part of what determines the samples.
    """

    model: object
    reference: RealImages
    train: RealImages
    valid: RealImages | None
    extractor: FeatureExtractor | MissingExtractor
    seeds: Seeds
    batch_size: int
    _made: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def view(self, extractor: FeatureExtractor | MissingExtractor, sample_seed: int) -> "Context":
        """The same model seen by another extractor or with other samples."""
        seeds = replace(self.seeds, sample=sample_seed)
        return replace(self, extractor=extractor, seeds=seeds)

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

    @property
    def sample_labels(self) -> Tensor:
        """(num,) the classes that the samples were drawn for, or have."""
        if isinstance(self.model, Labelled):
            labels = self.model.image_labels
        elif is_conditional(self.model):
            labels = self.reference.labels
        else:
            raise UnavailableError("not_conditional")
        if labels is None:
            raise UnavailableError("no_labels")
        return labels[: self.num]

    @property
    def strata(self) -> Tensor | None:
        """(num,) the classes that samples are exchangeable within; None where they all are."""
        return self.reference.labels if is_conditional(self.model) else None

    @property
    def sample_features(self) -> Tensor:
        """(num, d) features of `samples`."""
        extractor = self._need_extractor()
        key = ("features", extractor.sha256, self.seeds.sample)
        return self.once(key, lambda: _finite(extractor.features(self.samples)))

    @property
    def sample_logits(self) -> Tensor:
        """(num, K) class logits of `samples`."""
        return self._need_extractor().classify(self.sample_features)

    @property
    def reference_features(self) -> Tensor:
        """(num, d) features of the reference images."""
        return self.real_features(self.reference)

    @property
    def reference_logits(self) -> Tensor:
        """(num, K) class logits of the reference images."""
        return self._need_extractor().classify(self.reference_features)

    def real_features(self, real: RealImages) -> Tensor:
        """(N, d) features of real images, as they were stored or made now."""
        extractor = self._need_extractor()
        stored = real.features.get(extractor.sha256)

        def make() -> Tensor:
            return _finite(extractor.features(real.images) if stored is None else stored)

        key = ("features", extractor.sha256, real.split, real.sha256, len(real.images))
        return self.once(key, make)

    @property
    def reconstructions(self) -> Tensor:
        """(num, C, H, W) reconstructions of the reference images, rounded to 8 bits."""
        if not self.num:
            raise UnavailableError("too_few_samples")
        raw = self.once("reconstructions", self._reconstruct)
        return _checked(raw, "non_finite_reconstructions")

    @property
    def rate_distortion(self) -> tuple[Tensor, Tensor]:
        """Rate and distortion of the reference images, each (num,) float64 nats per image."""
        if not self.num:
            raise UnavailableError("too_few_samples")
        key = ("rate and distortion", self.seeds.sample)
        rate, distortion = self.once(key, self._score)
        if not (rate + distortion).isfinite().all():
            raise UnavailableError("non_finite_likelihood")
        return rate, distortion

    def posterior(self, real: RealImages) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation (N, d) of q(z | x), float64, of real images.

        The deviation is None for a deterministic encoder.
        """
        if not len(real.images):
            raise UnavailableError("too_few_samples")
        key = ("posterior", real.split, real.sha256, len(real.images), self.seeds.sample)
        mean, std = self.once(key, lambda: self._encode(real))
        if not mean.isfinite().all() or (std is not None and not std.isfinite().all()):
            raise UnavailableError("non_finite_latents")
        return mean, std

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
            yield images[part].to(device_of(self.model)), self.told(labels, part)

    def told(self, labels: Tensor | None, part: slice = slice(None)) -> dict[str, Any]:
        """What the model is told beside the images: `labels` if it is conditional, else nothing."""
        if not is_conditional(self.model):
            return {}
        if labels is None:
            raise UnavailableError("no_labels")
        return {"labels": labels[part].to(device_of(self.model))}

    @property
    def _raw_samples(self) -> Tensor:
        return self.once(("samples", self.seeds.sample), self._draw)

    def once(self, key: Hashable, make: Callable[[], _T]) -> _T:
        """What `make` returns, made once for all views of the model.

        Args:
            key: Names it, with all of what it depends on that views differ in.
            make: Called on first use.
        """
        if key not in self._made:
            self._made[key] = make()
        made: _T = self._made[key]
        return made

    def _draw(self) -> Tensor:
        assert isinstance(self.model, Sampler)
        rng = torch.Generator().manual_seed(self.seeds.sample)
        drawn: list[Tensor] = []
        with judged(self.model):
            for start in range(0, self.num, self.batch_size):
                n = min(self.batch_size, self.num - start)
                told = self.told(self.reference.labels, slice(start, start + n))
                batch = self.model.sample(n, rng, **told)
                returned = f"{type(self.model).__name__}.sample({n}) returned"
                expected = (n, *self.reference.images.shape[1:])
                if batch.shape != expected:
                    raise ValueError(
                        f"{returned} shape {tuple(batch.shape)}, expected {tuple(expected)}"
                    )
                _check_range(batch, returned)
                drawn.append(batch.to("cpu", torch.float32))
        return torch.cat(drawn)

    def _reconstruct(self) -> Tensor:
        assert isinstance(self.model, Reconstructor)
        with judged(self.model):
            made = [
                self.model.reconstruct(x, **told).to("cpu", torch.float32)
                for x, told in self.batches(self.reference.images, self.reference.labels)
            ]
        return torch.cat(made)

    def _score(self) -> tuple[Tensor, Tensor]:
        assert isinstance(self.model, LikelihoodBound)
        rng = torch.Generator().manual_seed(self.seeds.sample)
        images, told = self.reference.images, self.told(self.reference.labels)
        with judged(self.model):
            pair = self.model.rate_distortion(images.to(device_of(self.model)), rng, **told)
        rate, distortion = (part.to("cpu", torch.float64) for part in pair)
        return rate, distortion

    def _encode(self, real: RealImages) -> tuple[Tensor, Tensor | None]:
        assert isinstance(self.model, Encoder)
        rng = torch.Generator().manual_seed(self.seeds.sample)
        with judged(self.model):
            pairs = [
                self.model.latent_posterior(x, rng, **told)
                for x, told in self.batches(real.images, real.labels)
            ]
        means, stds = zip(*pairs, strict=True)
        mean = torch.cat(means).to("cpu", torch.float64)
        spread = [std for std in stds if std is not None]
        return mean, torch.cat(spread).to("cpu", torch.float64) if spread else None

    def _need_extractor(self) -> FeatureExtractor:
        if isinstance(self.extractor, MissingExtractor):
            raise UnavailableError(self.extractor.reason)
        return self.extractor


def check_labels(labels: Tensor | None, num: int) -> None:
    """Refuses labels that are not (num,) integers from 0; None, for no labels, is fine.

    Raises:
        ValueError: They are not.
    """
    if labels is None:
        return
    if labels.shape != (num,):
        raise ValueError(f"{num} images, but labels of shape {tuple(labels.shape)}")
    if labels.is_floating_point() or (labels < 0).any():
        raise ValueError(f"labels are integers from 0, got {labels.dtype} from {labels.min()}")


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


def device_of(model: object) -> torch.device:
    """Where a model computes; the CPU for one without parameters."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def _finite(features: Tensor) -> Tensor:
    if not features.isfinite().all():
        raise UnavailableError("non_finite_features")
    return features


def _check_range(images: Tensor, returned: str) -> None:
    """Images in bytes or in [-1, 1] would be clamped, and scored as a bad model's."""
    finite = images[images.isfinite()]  # what is not finite is a null with its own reason
    if not images.is_floating_point() or ((finite < -_SLACK) | (finite > 1 + _SLACK)).any():
        raise ValueError(
            f"{returned} {images.dtype} in [{finite.min():.4g}, {finite.max():.4g}], "
            "expected floats in [0, 1]"
        )


def _checked(images: Tensor, reason: str) -> Tensor:
    if not images.isfinite().all():
        raise UnavailableError(reason)
    return quantise(images)

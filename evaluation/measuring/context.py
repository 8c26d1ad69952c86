"""What the metrics of one model share: samples, features, reconstructions, each computed once."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from torch import Tensor

from evaluation.measuring import model_calls
from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.measuring.images import quantise
from evaluation.measuring.protocols import Labelled, Sampler, is_conditional
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError

_T = TypeVar("_T")


@dataclass(frozen=True)
class Seeds:
    """The seeds that a value depends on.

    Attributes:
        train: Seed of the training; None for a fixed set of images.
        sample: Seed of the latents, for samples and for posterior draws.
        metric: Seed of the metric's own draws (permutations, bootstrap).
    """

    train: int | None
    sample: int
    metric: int


@dataclass(frozen=True, eq=False)
class Context:
    """One model under evaluation, with one extractor and one set of samples.

    Every property is computed on first use, in batches, and cached for all views of the model
    (`view`). A property that cannot be computed raises `UnavailableError` with the reason; none
    returns NaN.

    A conditional model draws its samples for the labels of the reference images, in their order:
    the generated set has the class counts of the reference set.

    Attributes:
        model: Any object; the protocols define its capabilities.
        reference: The real images to compare with; the number of generated images is the same.
        train: The real images that the model was trained on.
        valid: Real images outside `train` and `reference`, for choices; None if there are none.
        extractor: The feature extractor, or the reason why there is none.
        seeds: The seeds.
        batch_size: Images per call of the model; the samples depend on it.
    """

    model: object
    reference: RealImages
    train: RealImages
    valid: RealImages | None
    extractor: FeatureExtractor | MissingExtractor
    seeds: Seeds
    batch_size: int
    _cache: dict[Hashable, Any] = field(default_factory=dict, repr=False)

    def view(self, extractor: FeatureExtractor | MissingExtractor, sample_seed: int) -> "Context":
        """The same model and cache with another extractor or another set of samples."""
        seeds = replace(self.seeds, sample=sample_seed)
        return replace(self, extractor=extractor, seeds=seeds)

    def of(self, model: object) -> "Context":
        """The context of another model: same images, extractor and seeds, and an empty cache."""
        return replace(self, model=model, _cache={})

    @property
    def num(self) -> int:
        """The number of reference images and of generated images."""
        return len(self.reference.images)

    @property
    def sampled(self) -> Tensor | None:
        """(num, C, H, W) samples before rounding; None if the model draws none."""
        unlabelled = is_conditional(self.model) and self.reference.labels is None
        if unlabelled or not isinstance(self.model, Sampler) or not self.num:
            return None
        return self._raw_samples

    @property
    def samples(self) -> Tensor:
        """(num, C, H, W) generated images, rounded to 8 bits."""
        if self.num < 2:
            raise UnavailableError("too_few_samples")
        return _rounded(self._raw_samples, "non_finite_samples")

    @property
    def sample_labels(self) -> Tensor:
        """(num,) classes of the samples: those requested from the model, or those of the images."""
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
        """(num,) classes within which samples are exchangeable; None if all samples are."""
        return self.reference.labels if is_conditional(self.model) else None

    @property
    def sample_features(self) -> Tensor:
        """(num, d) features of `samples`."""
        extractor = self.require_extractor()
        key = ("features", extractor.sha256, self.seeds.sample)
        return self.cached(key, lambda: _finite(extractor.features(self.samples)))

    @property
    def sample_logits(self) -> Tensor:
        """(num, K) class logits of `samples`."""
        return self.require_extractor().classify(self.sample_features)

    @property
    def reference_features(self) -> Tensor:
        """(num, d) features of the reference images."""
        return self.real_features(self.reference)

    @property
    def reference_logits(self) -> Tensor:
        """(num, K) class logits of the reference images."""
        return self.require_extractor().classify(self.reference_features)

    def real_features(self, real: RealImages) -> Tensor:
        """(N, d) features of real images: the stored ones, else computed now."""
        extractor = self.require_extractor()
        stored = real.features.get(extractor.sha256)

        def compute() -> Tensor:
            return _finite(extractor.features(real.images) if stored is None else stored)

        key = ("features", extractor.sha256, real.split, real.sha256, len(real.images))
        return self.cached(key, compute)

    @property
    def reconstructions(self) -> Tensor:
        """(num, C, H, W) reconstructions of the reference images, rounded to 8 bits."""
        if not self.num:
            raise UnavailableError("too_few_samples")
        raw = self.cached(
            "reconstructions",
            lambda: model_calls.reconstruct(self.model, self.reference, self.batch_size),
        )
        return _rounded(raw, "non_finite_reconstructions")

    @property
    def rate_distortion(self) -> tuple[Tensor, Tensor]:
        """Rate and distortion of the reference images, each (num,) float64 nats per image."""
        if not self.num:
            raise UnavailableError("too_few_samples")
        seed = self.seeds.sample
        rate, distortion = self.cached(
            ("rate and distortion", seed),
            lambda: model_calls.rate_and_distortion(self.model, self.reference, seed),
        )
        if not (rate + distortion).isfinite().all():
            raise UnavailableError("non_finite_likelihood")
        return rate, distortion

    def posterior(self, real: RealImages) -> tuple[Tensor, Tensor | None]:
        """Mean and standard deviation (N, d) of q(z | x), float64, of real images.

        The deviation is None for a deterministic encoder.
        """
        if not len(real.images):
            raise UnavailableError("too_few_samples")
        seed = self.seeds.sample
        mean, std = self.cached(
            ("posterior", real.split, real.sha256, len(real.images), seed),
            lambda: model_calls.encode(self.model, real, seed, self.batch_size),
        )
        if not mean.isfinite().all() or (std is not None and not std.isfinite().all()):
            raise UnavailableError("non_finite_latents")
        return mean, std

    def cached(self, key: Hashable, compute: Callable[[], _T]) -> _T:
        """The result of `compute`, computed once for all views of the model.

        Args:
            key: Name of the result, with every property of the view that the result depends on.
            compute: Called on first use.
        """
        if key not in self._cache:
            self._cache[key] = compute()
        result: _T = self._cache[key]
        return result

    @property
    def _raw_samples(self) -> Tensor:
        seed = self.seeds.sample
        return self.cached(
            ("samples", seed),
            lambda: model_calls.draw_samples(self.model, self.reference, seed, self.batch_size),
        )

    def require_extractor(self) -> FeatureExtractor:
        """The extractor.

        Raises:
            UnavailableError: There is no extractor.
        """
        if isinstance(self.extractor, MissingExtractor):
            raise UnavailableError(self.extractor.reason)
        return self.extractor


def _finite(features: Tensor) -> Tensor:
    if not features.isfinite().all():
        raise UnavailableError("non_finite_features")
    return features


def _rounded(images: Tensor, reason: str) -> Tensor:
    if not images.isfinite().all():
        raise UnavailableError(reason)
    return quantise(images)

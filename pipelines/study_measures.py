"""What a study measures of a trained model, beside the metrics of `evaluation`.

Everything is measured against one split of real images, and every value has a name of its own:
`nll_200` is the bound from 200 draws, `fid_gmm_10` the distance of samples from a mixture of ten
components.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from evaluation import metrics
from evaluation.measuring.context import Seeds
from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.measuring.real_images import RealImages
from evaluation.runner import Settings, evaluate
from genmodels.base.model import GenerativeModel, Images
from genmodels.base.seeding import generator
from genmodels.base.vae import VAEBase
from genmodels.build import build
from genmodels.objectives.total_correlation import decompose, stratified_log_weights
from pipelines.data.prepared import Real
from pipelines.settings.sections import Evaluate, Name, Section, Seed

#: The key of `samplers` for the standard normal.
STANDARD_NORMAL = 0


class Bound(Section):
    """The importance-weighted bound of the likelihood, as `nll_<draws>`.

    Attributes:
        num_importance: K, draws per image.
        num_images: Of the split that is measured on, the first ones.
    """

    num_importance: Annotated[int, Field(ge=1)]
    num_images: Annotated[int, Field(ge=1)]


class Measures(Section):
    """What is measured of each model.

    Attributes:
        metrics: Files of evaluation/metrics/.
        bounds: Of the likelihood; their numbers of draws differ.
        codes_at_once: Codes over which mutual information, total correlation and dimension-wise KL
            are estimated at a time; null to leave them out.
        samplers: Components of Gaussian mixtures fitted to the training codes after the training,
            each the source of the samples of one `fid_gmm_<components>`; 0 is N(0, I), without a
            fit, `fid_standard_normal`.
        max_samples: At most so many samples and real images.
        sample_seed: Of latents, and of posterior draws.
        metric_seed: Of a metric's own draws.
    """

    metrics: list[Name]
    bounds: list[Bound]
    codes_at_once: Annotated[int, Field(ge=2)] | None
    samplers: list[Annotated[int, Field(ge=0)]]
    max_samples: Annotated[int, Field(ge=2, le=10_000)]
    sample_seed: Seed
    metric_seed: Seed

    @classmethod
    def of_pipeline(cls, metrics: Sequence[str], evaluate: Evaluate) -> "Measures":
        """Metrics alone, with the sizes and seeds of the stage `evaluate`."""
        return cls(
            metrics=list(metrics),
            bounds=[],
            codes_at_once=None,
            samplers=[],
            max_samples=evaluate.max_samples,
            sample_seed=evaluate.sample_seed,
            metric_seed=evaluate.metric_seed,
        )

    @property
    def need_features(self) -> bool:
        """Whether an extractor has to be there."""
        specs = [spec for name in self.metrics for spec in metrics.load_metric(name).values]
        return bool(self.samplers) or any(spec.uses_extractor for spec in specs)


Progress = Callable[[str], None]


def measure(
    model: GenerativeModel,
    entry: Mapping[str, Any],
    measures: Measures,
    real: Real,
    extractors: Sequence[FeatureExtractor | MissingExtractor],
    seed: int,
    progress: Progress,
) -> dict[str, float | None]:
    """All values of one model.

    Args:
        model: In evaluation mode.
        entry: Its settings.
        measures: What is asked for.
        real: The images to compare with, and those that it was trained on.
        extractors: For the distances.
        seed: The training seed.
        progress: Called with the name of what is being measured.

    Returns:
        By name; None where the model has no such value.
    """
    judge = _Judge(measures, real, extractors, seed)
    values = judge.metrics(model, measures.metrics, progress)
    for bound in measures.bounds:
        name = f"nll_{bound.num_importance}"
        progress(name)
        values[name] = _nll(model, bound, real.reference, measures.sample_seed)
    if measures.codes_at_once is not None and isinstance(model, VAEBase):
        progress("total_correlation")
        values |= _decomposed(model, real, measures.codes_at_once, measures.sample_seed)
    for components in measures.samplers:
        name = f"fid_gmm_{components}" if components else "fid_standard_normal"
        progress(name)
        sampler = _resampled(model, entry, components, real.train, seed)
        values[name] = judge.metrics(sampler, ["fid"], lambda _: None).get("fid_classifier")
    return values


class _Judge:
    """The metrics of `evaluation` with all but the model settled."""

    def __init__(
        self,
        measures: Measures,
        real: Real,
        extractors: Sequence[FeatureExtractor | MissingExtractor],
        seed: int,
    ) -> None:
        self.real, self.extractors = real, extractors
        seeds = Seeds(seed, measures.sample_seed, measures.metric_seed)
        self.settings = Settings(seeds, measures.max_samples)

    def metrics(
        self, model: object, names: list[str], progress: Progress
    ) -> dict[str, float | None]:
        evaluation = evaluate(
            model,
            names,
            reference=self.real.reference,
            train=self.real.train,
            extractors=self.extractors,
            settings=self.settings,
            progress=progress,
        )
        return {record.name: record.value for record in evaluation.records}


def _on_device(images: RealImages, model: GenerativeModel, num: int) -> Images:
    first = images.first(num)
    labels = (
        first.labels.to(model.device) if model.conditional and first.labels is not None else None
    )
    return Images(first.images.to(model.device), labels)


def _nll(model: GenerativeModel, bound: Bound, test: RealImages, seed: int) -> float | None:
    if not isinstance(model, VAEBase):
        return None
    x, y = _on_device(test, model, bound.num_images)
    rng = generator(seed, "nll")
    return -model.log_likelihood_bound(x, bound.num_importance, rng, y).mean().item()


def _decomposed(model: VAEBase, real: Real, at_once: int, seed: int) -> dict[str, float | None]:
    """The three parts of the rate over held-out codes, q(z) being that of the training images.

    The estimate is biased where codes are few, and cannot see a mutual information above the log of
    the number of training images. `gaussian_total_correlation` is what a normal distribution with
    the covariance of the codes would have: blind to all but linear dependence, without that limit.
    """
    reference, num_training_images = real.reference, len(real.train.images)
    x, y = _on_device(reference, model, len(reference.images))
    terms = model.score(x, y, generator(seed, "codes"))
    log_weights = stratified_log_weights(at_once, num_training_images, x.device)
    sums: dict[str, list[Tensor]] = {}
    for start in range(0, len(x) - at_once + 1, at_once):
        part = slice(start, start + at_once)
        z = terms.z[part]
        log_prior = model.prior_log_prob(z)
        split = decompose(terms.mean[part], terms.logvar[part], z, log_prior, log_weights)
        for name, value in split._asdict().items():
            sums.setdefault(name, []).append(value.double().mean())
    found = {name: torch.stack(values).mean().item() for name, values in sums.items()}
    return {**found, "gaussian_total_correlation": gaussian_total_correlation(terms.z)}


def gaussian_total_correlation(z: Tensor) -> float:
    """The total correlation of a normal distribution with the covariance of codes (N, d), nats.

    As in disentanglement_lib (Locatello et al. 2019, arXiv 1811.12359).
    """
    return -0.5 * torch.linalg.slogdet(torch.corrcoef(z.double().T)).logabsdet.item()


class _StandardNormal:
    """A model whose latents come from N(0, I), whatever its own sampler is."""

    conditional = False

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        z = GenerativeModel.sample_latent(self.model, n, rng)
        return self.model.decode(z)


def _resampled(
    model: GenerativeModel,
    entry: Mapping[str, Any],
    components: int,
    train: RealImages,
    seed: int,
) -> GenerativeModel | _StandardNormal:
    """The same networks with another source of latents."""
    if components == STANDARD_NORMAL:
        return _StandardNormal(model)
    settings = {**entry, "gmm_components": components}
    if "sampler" in settings:
        settings["sampler"] = "gmm"
    other = build(settings, model.shape, model.num_classes).to(model.device).eval()
    state = model.state_dict()
    trained = {key: value for key, value in state.items() if not key.startswith("mixture.")}
    other.load_state_dict(other.state_dict() | trained)
    images = _on_device(train, model, len(train.images))
    other.fit_sampler(images, generator(seed, "fit_sampler", device=model.device))
    return other

"""Every value with a direction is better for a good model than for a bad one."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from evaluation import metrics as registry
from evaluation.measuring.context import Seeds
from evaluation.measuring.images import quantise
from evaluation.measuring.metric import Metric, ValueSpec
from evaluation.measuring.protocols import Conditional
from evaluation.measuring.real_images import RealImages
from evaluation.metrics.discriminator import METRIC as DISCRIMINATOR
from evaluation.runner import Settings, evaluate

NUM = 150
PATTERNS = torch.rand((4, 1, 12, 12), generator=torch.Generator().manual_seed(99))


def drawn(labels: Tensor, rng: torch.Generator) -> Tensor:
    """Images (N, 1, 12, 12) of the classes: noise around one of four patterns."""
    return quantise(
        0.7 * PATTERNS[labels] + 0.3 * torch.rand(len(labels), 1, 12, 12, generator=rng)
    )


def real(split: str, seed: int) -> RealImages:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (NUM,), generator=rng)
    return RealImages(drawn(labels, rng), labels, {}, "toy", split, f"{seed:064x}")


TEST, TRAIN, VALID = real("test", 1), real("train", 2), real("valid", 3)


def pattern_shares(x: Tensor) -> Tensor:
    """(N, 4) inner product of each image with each centred pattern."""
    centred = (PATTERNS - PATTERNS.mean(0)).flatten(1)
    return (x - 0.5).flatten(1) @ centred.T


class Matched:
    """An extractor whose features are the shares of the four patterns."""

    name, unit, sha256 = "matched", "raw", "9" * 64

    def features(self, x: Tensor) -> Tensor:
        return pattern_shares(x)

    def classify(self, features: Tensor) -> Tensor:
        return features


@dataclass
class Model:
    """A model that is good or bad in every capability that a metric uses."""

    good: bool
    observation = "bernoulli_binary"
    unit_normal_prior = True
    probabilistic = True

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        if self.good:
            return drawn(torch.randint(4, (n,), generator=rng), rng)
        return torch.rand(n, 1, 12, 12, generator=rng)

    def reconstruct(self, x: Tensor) -> Tensor:
        return (0.95 if self.good else 0.5) * x

    def rate_distortion(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        nats = torch.randn(len(x), generator=rng) + (10 if self.good else 20)
        return nats, 5 * nats

    def importance_log_weights(
        self, x: Tensor, num_importance: int, rng: torch.Generator
    ) -> Iterator[Tensor]:
        yield torch.randn(num_importance, len(x), generator=rng) - (10 if self.good else 20)

    def with_normal_codes(self) -> "Model":
        return self

    def with_mixture(self, num_components: int, x: Tensor, seed: int) -> "Model":
        return self

    def latent_posterior(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        noise = torch.randn(len(x), 2, generator=rng)
        if self.good:  # one latent dimension is the class
            noise[:, 0] = pattern_shares(x).argmax(1)
        return noise, torch.ones_like(noise)

    def discriminate(self, x: Tensor) -> Tensor:
        """0, which is calibrated for good samples, or always real."""
        return torch.full((len(x),), 0.0 if self.good else 5.0)


class ClassConditional(Model):
    """Draws images of the requested classes or, if it is bad, of other classes."""

    conditional = True

    def sample(self, n: int, rng: torch.Generator, labels: Tensor) -> Tensor:
        return drawn(labels if self.good else (labels + 1) % 4, rng)


class Copying(Model):
    """Draws new images or, if it is bad, copies of the training images."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return super().sample(n, rng) if self.good else TRAIN.images[:n]


def values(model: object, metric: str) -> dict[str, float | None]:
    records = evaluate(
        model,
        [metric],
        reference=TEST,
        train=TRAIN,
        valid=VALID,
        extractors=[Matched()],
        settings=Settings(Seeds(train=0, sample=1, metric=2), NUM),
    ).records
    return {record.name: record.value for record in records}


def kind_of(metric: Metric, spec: ValueSpec) -> Callable[[bool], Model]:
    if spec.order == "novelty":
        return Copying
    return ClassConditional if Conditional in metric.requires else Model


DIRECTED = [
    (metric, spec)
    for metric in map(registry.load_metric, registry.available())
    for spec in metric.values
    if spec.higher_is_better is not None
]


def test_there_are_directed_values() -> None:
    assert {spec.name for _, spec in DIRECTED} >= {"elbo", "psnr", "fid_{extractor}"}


@pytest.mark.parametrize(("metric", "spec"), DIRECTED, ids=[spec.name for _, spec in DIRECTED])
def test_a_bad_model_is_worse_than_a_good_one(metric: Metric, spec: ValueSpec) -> None:
    kind, name = kind_of(metric, spec), spec.name.format(extractor="matched")
    good, bad = (values(kind(good), metric.name)[name] for good in (True, False))
    assert good != bad
    assert (bad < good) == spec.higher_is_better


class OverfittedDiscriminator(Model):
    """A discriminator that recognises its training images, and real images by their brightness."""

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return 0.5 * super().sample(n, rng)

    def discriminate(self, x: Tensor) -> Tensor:
        known = torch.cdist(x.flatten(1), TRAIN.images.flatten(1)).amin(1) < 0.1
        return x.flatten(1).mean(1) - 0.5 + 0.3 * known


def test_an_overfitted_discriminator_is_detected() -> None:
    measured = values(OverfittedDiscriminator(good=True), DISCRIMINATOR.name)
    assert measured["disc_auroc"] > 0.9  # test images above generated ones
    assert measured["disc_membership_auroc"] > 0.9  # training images above test images
    assert measured["disc_gap"] > 1
    assert measured["disc_acc_real_train"] > 0.9 > measured["disc_acc_real_test"]
    assert measured["disc_acc_fake"] > 0.9

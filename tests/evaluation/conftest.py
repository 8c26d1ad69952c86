"""Untrained models and an untrained extractor for the tests of the metrics."""

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from evaluation.measuring.context import Context, Seeds
from evaluation.measuring.extractors import Classifier, Extractor
from evaluation.measuring.images import quantise
from evaluation.measuring.real_images import RealImages

SHAPE = (1, 12, 12)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def pictures(n: int, seed: int, classes: int = 4) -> Tensor:
    """Noise around one of four patterns or fewer, as 8-bit images."""
    rng = torch.Generator().manual_seed(seed)
    patterns = torch.rand((4, *SHAPE), generator=torch.Generator().manual_seed(99))
    which = torch.randint(classes, (n,), generator=rng)
    return quantise(0.5 * patterns[which] + 0.3 * torch.rand((n, *SHAPE), generator=rng))


def classes(n: int, seed: int) -> Tensor:
    """(n,) labels 0 to 3."""
    return torch.randint(4, (n,), generator=torch.Generator().manual_seed(seed))


def new_extractor(seed: int) -> Extractor:
    network = Classifier(SHAPE, 4, 4, 8)
    network.initialise(torch.Generator().manual_seed(seed))
    return Extractor(network, image_shape=SHAPE, num_classes=4, width=4, num_features=8, scale=10.0)


@pytest.fixture
def extractor() -> Extractor:
    return new_extractor(1)


@pytest.fixture
def make_extractor():
    return new_extractor


@pytest.fixture
def reference() -> RealImages:
    return RealImages(pictures(40, 1), classes(40, 1), {}, "toy", "test", "ab" * 32)


@pytest.fixture
def train() -> RealImages:
    return RealImages(pictures(60, 2), classes(60, 2), {}, "toy", "train", "cd" * 32)


@pytest.fixture
def valid() -> RealImages:
    return RealImages(pictures(50, 3), classes(50, 3), {}, "toy", "valid", "ef" * 32)


class Everything(nn.Module):
    """A model that implements every protocol, with dropout that must be in evaluation mode."""

    probabilistic = True
    unit_normal_prior = True

    def __init__(self, observation: str = "bernoulli_binary") -> None:
        super().__init__()
        self.observation = observation
        self.weight = nn.Parameter(torch.tensor(0.9))
        self.noise = nn.Dropout(0.05)  # in train mode it changes the samples

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        return self.noise(self.weight * torch.rand((n, *SHAPE), generator=rng))

    def reconstruct(self, x: Tensor) -> Tensor:
        return self.noise(self.weight * x)

    def rate_distortion(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        z = torch.randn(len(x), generator=rng)
        return z.square(), 10 + x.flatten(1).sum(1) + z

    def importance_log_weights(
        self, x: Tensor, num_importance: int, rng: torch.Generator
    ) -> Iterator[Tensor]:
        for _ in range(num_importance):
            yield torch.randn((1, len(x)), generator=rng) - self.noise(x).flatten(1).sum(1)

    def latent_posterior(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor | None]:
        means = self.noise(x).flatten(1)[:, :3] - 0.5
        return means, 0.5 + means.square()

    def posterior_codes(self, x: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        mean = self.noise(x).flatten(1)[:, :3] - 0.5
        return (
            mean,
            mean - 1,
            mean + (0.5 * (mean - 1)).exp() * torch.randn(mean.shape, generator=rng),
        )

    def prior_log_prob(self, z: Tensor) -> Tensor:
        return -0.5 * (z.square() + math.log(2 * math.pi)).sum(1)

    def with_normal_codes(self) -> "Everything":
        return self

    def with_mixture(self, num_components: int, x: Tensor, seed: int) -> "Everything":
        assert num_components >= 1
        assert len(x)
        return self

    def discriminate(self, x: Tensor) -> Tensor:
        return self.noise(x).flatten(1).mean(1, keepdim=True) - 0.4


class Conditional(Everything):
    """The conditional version of `Everything`; records the labels of each call."""

    conditional = True

    def __init__(self, observation: str = "bernoulli_binary") -> None:
        super().__init__(observation)
        self.received_labels: dict[str, list[Tensor]] = {}

    def sample(self, n: int, rng: torch.Generator, labels: Tensor) -> Tensor:
        self._record("sample", n, labels)
        return super().sample(n, rng)

    def reconstruct(self, x: Tensor, labels: Tensor) -> Tensor:
        self._record("reconstruct", len(x), labels)
        return super().reconstruct(x)

    def rate_distortion(
        self, x: Tensor, rng: torch.Generator, labels: Tensor
    ) -> tuple[Tensor, Tensor]:
        self._record("rate_distortion", len(x), labels)
        return super().rate_distortion(x, rng)

    def importance_log_weights(
        self, x: Tensor, num_importance: int, rng: torch.Generator, labels: Tensor
    ) -> Iterator[Tensor]:
        self._record("importance_log_weights", len(x), labels)
        return super().importance_log_weights(x, num_importance, rng)

    def latent_posterior(
        self, x: Tensor, rng: torch.Generator, labels: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        self._record("latent_posterior", len(x), labels)
        return super().latent_posterior(x, rng)

    def posterior_codes(
        self, x: Tensor, rng: torch.Generator, labels: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        self._record("posterior_codes", len(x), labels)
        return super().posterior_codes(x, rng)

    def with_mixture(
        self, num_components: int, x: Tensor, seed: int, labels: Tensor
    ) -> "Conditional":
        self._record("with_mixture", len(x), labels)
        return self

    def discriminate(self, x: Tensor, labels: Tensor) -> Tensor:
        self._record("discriminate", len(x), labels)
        return super().discriminate(x)

    def _record(self, method: str, n: int, labels: Tensor) -> None:
        assert labels.shape == (n,)
        assert labels.dtype == torch.int64
        self.received_labels.setdefault(method, []).append(labels)


@pytest.fixture
def make_conditional():
    return Conditional


@pytest.fixture
def model() -> Everything:
    return Everything()


@pytest.fixture
def make_model():
    return Everything


@pytest.fixture
def make_pictures():
    return pictures


@pytest.fixture
def make_context(extractor, reference, train, valid):
    def make(model: object, **changed) -> Context:
        arguments = {
            "reference": reference,
            "train": train,
            "valid": valid,
            "extractor": extractor,
            "seeds": Seeds(train=0, sample=1, metric=2),
            "batch_size": 16,
        }
        return Context(model, **(arguments | changed))

    return make

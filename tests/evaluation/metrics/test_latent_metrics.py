"""Latents of known content: what the metrics of an encoder say of them, and when nothing."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from evaluation.measuring.metric import Measurement
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError
from evaluation.metrics import active_units, kl_per_dim, linear_probe, mig_class, rate
from evaluation.metrics.kl_per_dim import kl_to_unit_normal
from evaluation.metrics.linear_probe import probe
from evaluation.metrics.mig_class import corrected_information, equal_width_bins, mutual_information
from tests.evaluation.metrics.linear_gaussian import LinearGaussian

CLASSES = 10


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64)


@dataclass(frozen=True)
class Reads:
    """An encoder whose mean lies in the pixels: what is written there is what it says."""

    std: float | None = 1.0
    unit_normal_prior: bool = True
    conditional: bool = False

    def latent_posterior(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        mean = x.flatten(1)
        return mean, None if self.std is None else torch.full_like(mean, self.std)


def holding(latents: Tensor, labels: Tensor | None = None, split: str = "test") -> RealImages:
    """Images (N, 1, 1, d) that hold latents (N, d)."""
    return RealImages(latents[:, None, None], labels, {}, "toy", split, split)


@pytest.fixture
def measure(make_context):
    def run(module, latents: Tensor, labels: Tensor | None = None, **changed) -> Measurement:
        model = changed.pop("model", Reads())
        context = make_context(model, reference=holding(latents, labels), **changed)
        (measured,) = module.METRIC.compute(context).values()
        return measured if isinstance(measured, Measurement) else Measurement(measured)

    return run


# Active units.


def test_active_units_are_the_rows_of_a_linear_encoder_with_variance(measure) -> None:
    rows = torch.tensor([0.0, 0.05, 0.09, 0.12, 1.0], dtype=torch.float64)
    directions, _ = torch.linalg.qr(normal(6, 6))
    encoder = rows[:, None] * directions[:5]
    pixels = normal(5000, 6, seed=1)
    measured = measure(active_units, pixels @ encoder.T)
    assert measured.value == 2  # variances 0, 0.0025, 0.0081, 0.0144 and 1
    assert measured.params == {"threshold": 0.01, "latent_dim": 5}


def test_the_variance_of_active_units_is_the_unbiased_one() -> None:
    # 2 * 0.08^2 = 0.0128; divided by the number of images it would be 0.0064.
    assert active_units.active_units(torch.tensor([[0.08], [-0.08]])) == 1


def test_a_collapsed_posterior_has_no_active_unit_and_no_divergence(measure) -> None:
    nothing = torch.zeros(50, 4)
    assert measure(active_units, nothing).value == 0
    measured = measure(kl_per_dim, nothing)
    assert (measured.value, measured.params["sum"]) == (0, 0)
    assert measured.params["kl_per_dim"] == [0, 0, 0, 0]


@pytest.mark.parametrize("module", [active_units, kl_per_dim])
@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Reads(std=None), "deterministic_encoder"),
        (Reads(std=None, unit_normal_prior=False), "deterministic_encoder"),
        (Reads(unit_normal_prior=False), "no_unit_normal_prior"),
    ],
)
def test_without_a_posterior_beside_a_unit_prior_there_is_no_scale(
    measure, module, model: Reads, reason: str
) -> None:
    with pytest.raises(UnavailableError, match=f"^{reason}$"):
        measure(module, normal(20, 3), model=model)


# Divergence of each dimension.


def test_the_divergence_is_the_mean_of_the_log_ratio_over_draws() -> None:
    mean = torch.tensor([0.0, 1.5, -0.3, 2.0], dtype=torch.float64)
    std = torch.tensor([1.0, 0.2, 1.7, 0.01], dtype=torch.float64)
    z = mean + std * normal(100_000, 4)
    ratio = Normal(mean, std).log_prob(z) - Normal(0.0, 1.0).log_prob(z)
    error = ratio.std(0) / math.sqrt(len(z))
    assert ((kl_to_unit_normal(mean, std) - ratio.mean(0)).abs() <= 4 * error).all()
    assert kl_to_unit_normal(mean, std)[0] == 0


def test_the_divergences_of_the_dimensions_sum_up_to_the_rate(make_context) -> None:
    model = LinearGaussian(shift=0.4, stretch=0.8)
    context = make_context(model, reference=model.draw(100))
    measured = kl_per_dim.METRIC.compute(context)["kl_per_dim_max"]
    total = rate.METRIC.compute(context)["rate"].value
    assert measured.params["sum"] == pytest.approx(total, rel=1e-10)
    assert sum(measured.params["kl_per_dim"]) == pytest.approx(total, rel=1e-10)


def test_the_dimension_that_carries_most_comes_first(measure) -> None:
    latents = torch.tensor([0.5, 3.0, 0.0, -1.0]).expand(10, 4)
    measured = measure(kl_per_dim, latents)
    assert measured.params["dimensions"] == [1, 3, 0, 2]
    assert measured.params["kl_per_dim"] == [4.5, 0.5, 0.125, 0]
    assert measured.value == 4.5


# Mutual information gap.


@pytest.fixture
def labelled():
    """Latents of noise, with the class copied into the first dimensions asked for."""

    def make(n: int, copies: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
        labels = torch.randint(CLASSES, (n,), generator=generator(1))
        latents = normal(n, 5)
        latents[:, :copies] = labels[:, None] + noise * latents[:, :copies]
        return latents, labels

    return make


def test_a_class_in_one_dimension_is_a_gap_and_in_two_is_none(measure, labelled) -> None:
    assert 0.9 <= measure(mig_class, *labelled(1000, copies=1)).value <= 1
    assert 0 <= measure(mig_class, *labelled(1000, copies=2)).value <= 0.1
    assert 0 <= measure(mig_class, *labelled(1000, copies=0)).value <= 0.02


def test_latents_of_zeros_have_no_gap(measure, labelled) -> None:
    latents, labels = labelled(300, copies=0)
    measured = measure(mig_class, torch.zeros_like(latents), labels)
    assert (measured.value, measured.params["first"], measured.params["second"]) == (0, 0, 0)


def test_noise_on_the_dimension_that_tells_the_class_closes_the_gap(measure, labelled) -> None:
    gaps = [measure(mig_class, *labelled(1000, 1, noise)).value for noise in (0.0, 0.5, 1.5, 5.0)]
    assert gaps == sorted(set(gaps), reverse=True)
    assert gaps[-1] < 0.1


def test_the_information_of_independent_data_is_its_bias_and_corrected_none() -> None:
    labels = torch.randint(CLASSES, (1000,), generator=generator(1))
    bins = torch.randint(20, (1000, 50), generator=generator(2))
    plug_in = mutual_information(bins, labels)
    assert plug_in.mean().item() == pytest.approx(19 * 9 / 2000, rel=0.05)
    corrected = corrected_information(bins, labels, generator())
    # What is left of a value below 0 is 0, so the mean is a little above.
    assert corrected.mean().item() < plug_in.std().item()
    assert corrected.min() == 0


def test_the_information_is_that_of_scikit_learn_and_the_bins_those_of_numpy() -> None:
    from sklearn.metrics import mutual_info_score

    labels = torch.randint(4, (300,), generator=generator(1))
    latents = normal(300, 3) + labels[:, None] * torch.tensor([0.0, 0.7, 3.0])
    bins = equal_width_bins(latents)
    for j, found in enumerate(mutual_information(bins, labels).tolist()):
        # As in disentanglement_lib, which counts from 1.
        edges = np.histogram(latents[:, j].numpy(), 20)[1][:-1]
        peer = np.digitize(latents[:, j].numpy(), edges)
        assert (bins[:, j].numpy() + 1 == peer).all()
        assert found == pytest.approx(mutual_info_score(peer, labels.numpy()), rel=1e-12)


def test_the_gap_is_in_units_of_the_entropy_of_the_class(measure, labelled) -> None:
    latents, labels = labelled(2000, copies=1)
    params = measure(mig_class, latents, labels).params
    shares = torch.bincount(labels) / 2000
    entropy = torch.distributions.Categorical(shares).entropy().item()
    assert params["class_entropy"] == pytest.approx(entropy, rel=1e-6)
    assert params["dimensions"][0] == 0
    assert (params["bins"], params["permutations"]) == (20, 20)


@pytest.mark.parametrize(
    ("n", "d", "classes", "reason"),
    [(1, 3, 4, "too_few_samples"), (20, 1, 4, "one_latent_dimension"), (20, 3, 1, "one_class")],
)
def test_a_gap_that_is_not_defined_is_null(
    measure, n: int, d: int, classes: int, reason: str
) -> None:
    with pytest.raises(UnavailableError, match=f"^{reason}$"):
        measure(mig_class, normal(n, d), torch.arange(n) % classes)


# Linear probe.


def one_hot(n: int, seed: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    labels = torch.randint(CLASSES, (n,), generator=generator(seed))
    clean = torch.nn.functional.one_hot(labels, CLASSES).double()
    return clean + noise * normal(n, CLASSES, seed), labels


@pytest.fixture
def probed(measure):
    """The probe of three sets of latents and labels: train, valid, test."""

    def run(train, valid, test) -> Measurement:
        return measure(
            linear_probe,
            *test,
            train=holding(*train, split="train"),
            valid=holding(*valid, split="valid"),
        )

    return run


def test_one_hot_labels_are_told_without_a_mistake(probed) -> None:
    measured = probed(one_hot(300, 1), one_hot(100, 2), one_hot(200, 3))
    assert measured.value == 1
    assert measured.params == {
        "train_images": 300,
        "valid_images": 100,
        "C": 0.01,
        "valid_accuracy": 1.0,
    }
    assert measured.interval["high"] == pytest.approx(1)
    assert measured.interval["low"] < 1


def test_permuted_labels_are_told_by_chance(probed) -> None:
    def permuted(n: int, seed: int) -> tuple[Tensor, Tensor]:
        latents, labels = one_hot(n, seed)
        return latents, labels[torch.randperm(n, generator=generator(seed + 10))]

    n = 2000
    measured = probed(permuted(500, 1), permuted(300, 2), permuted(n, 3))
    error = math.sqrt(0.1 * 0.9 / n)
    assert measured.value == pytest.approx(1 / CLASSES, abs=4 * error)


def test_noise_on_the_latents_lowers_the_accuracy(probed) -> None:
    ramp = [
        probed(one_hot(400, 1, s), one_hot(200, 2, s), one_hot(500, 3, s)).value
        for s in (0.0, 0.4, 0.8, 1.6)
    ]
    assert ramp == sorted(set(ramp), reverse=True)


def test_the_probe_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def scaled(n: int, seed: int) -> tuple[Tensor, Tensor]:
        latents, labels = one_hot(n, seed, noise=0.6)
        return 3 * latents * torch.arange(1, CLASSES + 1) - 5, labels

    train, valid, test = scaled(150, 1), scaled(300, 2), scaled(300, 3)
    correct, chosen = probe(train, valid, test)
    peers = {}
    for c in (0.01, 0.1, 1, 10):
        peer = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
        peers[c] = peer.fit(train[0].numpy(), train[1].numpy())
    scores = {c: peer.score(valid[0].numpy(), valid[1].numpy()) for c, peer in peers.items()}
    assert chosen["C"] == max(scores, key=scores.get)
    assert chosen["valid_accuracy"] == pytest.approx(max(scores.values()), rel=1e-12)
    assert len(set(scores.values())) > 1
    predicted = peers[chosen["C"]].predict(test[0].numpy())
    assert (correct.numpy() == (predicted == test[1].numpy())).all()


def test_a_dimension_that_never_moved_in_training_is_left_alone(probed) -> None:
    def with_constant(n: int, seed: int) -> tuple[Tensor, Tensor]:
        latents, labels = one_hot(n, seed)
        return torch.cat([latents, torch.full((n, 1), 7.0)], 1), labels

    measured = probed(with_constant(300, 1), with_constant(100, 2), with_constant(200, 3))
    assert measured.value == 1


def test_large_data_sets_are_fitted_by_their_first_images(probed, monkeypatch) -> None:
    monkeypatch.setattr(linear_probe, "MAX_TRAIN", 250)
    latents, labels = one_hot(500, 1)
    labels[250:] = 0  # would teach nonsense
    measured = probed((latents, labels), one_hot(100, 2), one_hot(200, 3))
    assert measured.value == 1
    assert measured.params["train_images"] == 250


def test_without_validation_images_nothing_can_be_chosen(measure) -> None:
    with pytest.raises(UnavailableError, match=r"^no_valid_images$"):
        measure(linear_probe, *one_hot(20, 1), valid=None)


def test_a_probe_of_one_class_is_null(probed) -> None:
    latents, labels = one_hot(50, 1)
    with pytest.raises(UnavailableError, match=r"^one_class$"):
        probed((latents, torch.zeros_like(labels)), one_hot(20, 2), one_hot(20, 3))


# Labels.


@pytest.mark.parametrize("module", [linear_probe, mig_class])
def test_an_encoder_that_is_told_the_class_is_not_asked_for_it(measure, module) -> None:
    sets = {"train": holding(*one_hot(50, 1)), "valid": holding(*one_hot(30, 2))}
    with pytest.raises(UnavailableError, match=r"^label_is_given$"):
        measure(module, *one_hot(20, 3), model=Reads(conditional=True), **sets)


@pytest.mark.parametrize("module", [linear_probe, mig_class])
def test_images_without_labels_have_no_class_to_tell(measure, module) -> None:
    with pytest.raises(UnavailableError, match=r"^no_labels$"):
        measure(module, normal(20, 3), None, train=holding(normal(50, 3), None, "train"))


@pytest.mark.parametrize("module", [linear_probe, mig_class])
def test_codes_without_a_posterior_are_asked_for_the_class_all_the_same(measure, module) -> None:
    sets = {"train": holding(*one_hot(50, 1)), "valid": holding(*one_hot(30, 2))}
    assert measure(module, *one_hot(40, 3), model=Reads(std=None), **sets).value is not None

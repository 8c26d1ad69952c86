import numpy as np
import pytest
import torch
from torch import Tensor

from evaluation.measuring.records import UnavailableError
from evaluation.metrics import mig_class
from evaluation.metrics.mig_class import corrected_information, equal_width_bins, mutual_information
from tests.evaluation.metrics.latents import CLASSES, generator, normal


@pytest.fixture
def labelled():
    """Latents of noise with the class copied into the first `copies` dimensions."""

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


def test_noise_on_the_dimension_of_the_class_closes_the_gap(measure, labelled) -> None:
    gaps = [measure(mig_class, *labelled(1000, 1, noise)).value for noise in (0.0, 0.5, 1.5, 5.0)]
    assert gaps == sorted(set(gaps), reverse=True)
    assert gaps[-1] < 0.1


def test_the_information_of_independent_data_is_the_bias_and_is_corrected_to_zero() -> None:
    labels = torch.randint(CLASSES, (1000,), generator=generator(1))
    bins = torch.randint(20, (1000, 50), generator=generator(2))
    plug_in = mutual_information(bins, labels)
    assert plug_in.mean().item() == pytest.approx(19 * 9 / 2000, rel=0.05)
    corrected = corrected_information(bins, labels, generator())
    # Negative values are set to 0, so the mean is slightly above 0.
    assert corrected.mean().item() < plug_in.std().item()
    assert corrected.min() == 0


def test_the_information_is_that_of_scikit_learn_and_the_bins_those_of_numpy() -> None:
    from sklearn.metrics import mutual_info_score

    labels = torch.randint(4, (300,), generator=generator(1))
    latents = normal(300, 3) + labels[:, None] * torch.tensor([0.0, 0.7, 3.0])
    bins = equal_width_bins(latents)
    for j, information in enumerate(mutual_information(bins, labels).tolist()):
        # disentanglement_lib counts bins from 1.
        edges = np.histogram(latents[:, j].numpy(), 20)[1][:-1]
        peer = np.digitize(latents[:, j].numpy(), edges)
        assert (bins[:, j].numpy() + 1 == peer).all()
        assert information == pytest.approx(mutual_info_score(peer, labels.numpy()), rel=1e-12)


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

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from evaluation.measuring.metric import Measurement
from evaluation.measuring.records import UnavailableError
from evaluation.metrics.discriminator import (
    METRIC,
    auroc,
    calibration_error,
    gap,
    probability_values,
    reliability,
)

CRITIC_VALUES = {"disc_auroc", "disc_gap", "disc_membership_auroc"}


def scores(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_auroc_counts_ties_as_half() -> None:
    # Six pairs: 3 > 1, 3 > 2, 2 > 1 win, 2 = 2 is half, 1 = 1 is half, 1 < 2 loses.
    assert auroc(scores(3, 2, 1), scores(1, 2)) == pytest.approx((3 + 1) / 6, rel=1e-12)


def test_auroc_is_that_of_scikit_learn_and_ignores_increasing_maps(rng) -> None:
    real = torch.randn(300, generator=rng, dtype=torch.float64).mul(4).round() / 4 + 0.5
    fake = torch.randn(200, generator=rng, dtype=torch.float64).mul(4).round() / 4
    value = auroc(real, fake)
    labels = [1] * 300 + [0] * 200
    assert value == pytest.approx(roc_auc_score(labels, torch.cat([real, fake])), rel=1e-14)
    for increasing in (lambda s: 100 * s, torch.exp, lambda s: 3 * s - 7):
        assert auroc(increasing(real), increasing(fake)) == value


def test_auroc_of_one_class_is_unavailable() -> None:
    with pytest.raises(UnavailableError, match="one_class"):
        auroc(scores(1, 2), scores())


def test_the_optimal_discriminator_of_two_gaussians(rng) -> None:
    n = 200_000
    real = 1 + torch.randn(n, generator=rng, dtype=torch.float64)
    fake = torch.randn(n, generator=rng, dtype=torch.float64)
    values = probability_values(real - 0.5, real - 0.5, fake - 0.5)
    # Twice the balanced log-loss is 2 ln 2 - 2 JSD.
    assert 2 * values["disc_logloss"] == pytest.approx(1.16345, abs=0.006)
    assert values["disc_brier"] == pytest.approx(0.19899, abs=0.002)
    assert values["disc_ece"].value < 0.005


def test_a_discriminator_that_knows_nothing() -> None:
    none = torch.zeros(40, dtype=torch.float64)
    values = probability_values(none, none, none)
    assert values["disc_logloss"] == pytest.approx(math.log(2), rel=1e-12)
    assert values["disc_brier"] == pytest.approx(0.25, rel=1e-12)
    assert values["disc_ece"].value == pytest.approx(0, abs=1e-12)
    assert values["disc_acc"] == 0.5
    assert auroc(none, none) == 0.5


def test_calibration_error_is_that_of_the_positive_class() -> None:
    honest = scores(*[0.3] * 10)
    assert calibration_error(honest, scores(*[1] * 3, *[0] * 7)) == pytest.approx(0, abs=1e-6)
    unsure = scores(*[0.2] * 10, *[0.8] * 10)
    is_real = scores(*[1] * 4, *[0] * 6, *[1] * 10)
    assert calibration_error(unsure, is_real) == pytest.approx(0.2, abs=1e-6)


def test_certainty_falls_into_the_last_bin_and_bins_do_not_cancel() -> None:
    assert calibration_error(scores(0.9, 1.0), scores(1, 0)) == pytest.approx(0.55, abs=1e-12)


def test_calibration_error_is_that_of_torchmetrics(rng) -> None:
    from torchmetrics.functional.classification import binary_calibration_error

    p = torch.rand(500, generator=rng, dtype=torch.float64)
    is_real = (torch.rand(500, generator=rng) < 0.6).long()
    expected = binary_calibration_error(p, is_real, n_bins=15, norm="l1").item()
    assert calibration_error(p, is_real) == pytest.approx(expected, abs=1e-6)


def test_the_reliability_diagram_is_that_of_scikit_learn(rng) -> None:
    from sklearn.calibration import calibration_curve

    p = torch.rand(500, generator=rng, dtype=torch.float64) ** 3  # and so with empty bins
    is_real = (torch.rand(500, generator=rng) < 0.6).double()
    p = p[(p < 0.4) | (p > 0.6)]
    is_real = is_real[: len(p)]
    real, told = calibration_curve(is_real.numpy(), p.numpy(), n_bins=15)
    found = torch.tensor(reliability(p, is_real))
    assert found[:, 0].numpy() == pytest.approx(told)
    assert found[:, 1].numpy() == pytest.approx(real)
    assert found[:, 2].sum() == len(p)
    error = (found[:, 2] * (found[:, 0] - found[:, 1]).abs()).sum() / len(p)
    assert error.item() == pytest.approx(calibration_error(p, is_real), abs=1e-6)


def test_equal_sets_have_no_gap_and_constant_scores_have_no_spread(rng) -> None:
    same = torch.randn(30, generator=rng)
    assert gap(same, same) == 0
    assert gap(torch.ones(5), torch.ones(5)) == 0
    apart = gap(torch.ones(5), torch.zeros(5))
    assert isinstance(apart, Measurement)
    assert apart.reason == "constant_scores"


def test_the_gap_is_in_units_of_the_pooled_deviation() -> None:
    assert gap(scores(1, 3), scores(0, 2)) == pytest.approx(1 / math.sqrt(2), rel=1e-12)


def test_train_images_as_test_images_show_no_memorisation(make_context, model, train) -> None:
    values = METRIC.compute(make_context(model, reference=train.first(40)))
    assert values["disc_gap"].value == 0
    assert values["disc_membership_auroc"].value == 0.5


def test_a_critic_gets_the_values_of_its_ranks_only_whatever_its_scale(
    make_context, make_model
) -> None:
    class Critic(make_model):
        probabilistic = False
        scale, shift = 1.0, 0.0

        def discriminate(self, x):
            return self.scale * super().discriminate(x) + self.shift

    critic, other = Critic(), Critic()
    other.scale, other.shift = 100.0, -7.0
    values = METRIC.compute(make_context(critic))
    moved = METRIC.compute(make_context(other))
    assert set(values) == {spec.name for spec in METRIC.values}
    for name, value in values.items():
        if name in CRITIC_VALUES:
            assert moved[name].value == pytest.approx(value.value, rel=1e-4)
        else:
            assert value.reason == "not_supported"


def test_fewer_train_than_test_images_make_all_sides_smaller(make_context, model, train) -> None:
    values = METRIC.compute(make_context(model, train=train.first(10)))
    assert (values["disc_acc_real_train"].value * 10) % 1 == 0
    assert {value.params["images_a_side"] for value in values.values()} == {10}


def test_scores_that_are_not_finite_are_unavailable(make_context, make_model) -> None:
    class Broken(make_model):
        def discriminate(self, x):
            return torch.full((len(x),), torch.nan)

    with pytest.raises(UnavailableError, match="non_finite_scores"):
        METRIC.compute(make_context(Broken()))


def test_real_images_are_scored_once_for_all_sets_of_samples(make_model, make_context) -> None:
    class Counting(make_model):
        scored = 0

        def discriminate(self, x):
            self.scored += len(x)
            return super().discriminate(x)

    model = Counting()
    context = make_context(model)
    for seed in (1, 2, 3):
        METRIC.compute(context.view(context.extractor, seed))
    assert model.scored == 40 + 40 + 3 * 40  # train and test once, each set of samples

"""Valid and contradictory settings of kind `gan`."""

import pytest
from pydantic import ValidationError

from tests.genmodels.models.gans import (
    BATCH_NORM,
    gan,
    penalised,
    turn,
)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (penalised("r1", discriminator_norm="batch"), "per-image gradient does not exist"),
        (penalised("r1_r2", discriminator_norm="batch"), "per-image gradient does not exist"),
        ({"penalty_weight": 1.0}, "needs a penalty_weight of 0"),
        (penalised("r1", 0.0), "needs a penalty_weight of above 0"),
        ({"penalty_weight_end": 0.1}, "set penalty_weight_end: 1"),
        ({"loss": "wasserstein"}, "has no lower bound"),
        ({"loss": "wasserstein", "discriminator_norm": "batch"}, "has no lower bound"),
        (
            {"loss": "wasserstein", "penalty_weight_end": 0.0}
            | penalised("gradient_penalty", 10.0),
            "has no lower bound",
        ),
        ({"loss": "hinge", "weight_clip": 0.01}, "cannot reach the logits"),
        (
            {"loss": "wasserstein", "weight_clip": 0.1} | penalised("r1"),
            "both bound",
        ),
        (
            {"loss": "wasserstein", "weight_clip": 0.1, "discriminator_norm": "spectral"},
            "both bound",
        ),
        ({"architecture": "rnn", "generator_norm": "batch"}, "'rnn' has no normalisation"),
        ({"architecture": "rnn", "discriminator_norm": "spectral"}, "'rnn' has no normalisation"),
        ({"generator_norm": "spectral"}, "'none' or 'batch'"),
        ({"loss": "vanilla"}, "non_saturating"),
        ({"adam_beta2": 1.0}, "less than 1"),
        ({"adam_beta2_end": 1.0}, "less than 1"),
    ],
)
def test_contradictory_settings_are_rejected(changes, message):
    with pytest.raises(ValidationError, match=message):
        gan(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "wasserstein", "weight_clip": 0.01} | BATCH_NORM,  # as published
        {"loss": "wasserstein", "discriminator_norm": "spectral"},
        {"loss": "wasserstein"} | penalised("r1"),
        {"loss": "relativistic"} | BATCH_NORM,
        {"discriminator_norm": "spectral"} | penalised("r1_r2"),
        {"loss": "hinge"} | penalised("gradient_penalty"),
        {"architecture": "rnn"} | penalised("r1"),
    ],
)
def test_valid_combinations_train(changes, images):
    terms = turn(gan(**changes), images[:16])
    assert terms["loss"].isfinite()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"loss": "minimax"}, True),
        (penalised("r1"), True),
        (BATCH_NORM, False),
        ({"augmentation": "diffaugment"}, False),
        ({"loss": "least_squares"}, False),
        ({"loss": "hinge"}, False),
        ({"loss": "relativistic"}, False),
    ],
)
def test_only_logistic_losses_without_batch_norm_and_augmentation_are_probabilistic(
    changes, expected
):
    assert gan(**changes).probabilistic == expected

import math

import pytest
import torch

from evaluation.measuring.intervals import bootstrap_mean


def test_the_interval_of_a_mean_is_the_normal_one(rng) -> None:
    values = torch.randn(2000, generator=rng, dtype=torch.float64)
    interval = bootstrap_mean(values, seed=0)
    half = 1.96 * values.std().item() / math.sqrt(2000)
    assert interval["low"] == pytest.approx(values.mean().item() - half, abs=0.1 * half)
    assert interval["high"] == pytest.approx(values.mean().item() + half, abs=0.1 * half)


def test_it_repeats_with_its_seed_and_changes_with_it(rng) -> None:
    values = torch.randn(50, generator=rng, dtype=torch.float64)
    assert bootstrap_mean(values, seed=3) == bootstrap_mean(values, seed=3)
    assert bootstrap_mean(values, seed=3) != bootstrap_mean(values, seed=4)


def test_one_value_has_no_interval() -> None:
    assert bootstrap_mean(torch.ones(1, dtype=torch.float64), seed=0) is None

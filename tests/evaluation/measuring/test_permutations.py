import math

import pytest
import torch

from evaluation.measuring.overlap import overlap
from evaluation.measuring.permutations import random_order
from evaluation.metrics.kid import permutation_p_value
from evaluation.metrics.nearest_neighbour import permutation_test


def test_an_order_holds_every_place_once(rng) -> None:
    assert random_order(50, rng).sort().values.tolist() == list(range(50))


def test_within_classes_every_element_stays_at_a_place_of_its_class(rng) -> None:
    classes = torch.randint(4, (200,), generator=rng)
    order = random_order(200, rng, classes)
    assert order.sort().values.tolist() == list(range(200))
    assert torch.equal(classes[order], classes)
    assert not torch.equal(order, torch.arange(200))


def test_within_classes_all_orders_are_equally_likely(rng) -> None:
    classes = torch.tensor([0, 1, 0, 1, 0])
    counts = torch.zeros(5, 5)
    for _ in range(3000):
        counts[torch.arange(5), random_order(5, rng, classes)] += 1
    share = counts / 3000
    error = 4 * math.sqrt(1 / 3 * 2 / 3 / 3000)
    assert share[0, [0, 2, 4]].tolist() == pytest.approx([1 / 3] * 3, abs=error)
    assert share[1, [1, 3]].tolist() == pytest.approx([1 / 2] * 2, abs=4 * math.sqrt(0.25 / 3000))


def conditional_sets(rng: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Real images of far-apart classes, and a perfect model's, drawn for the same classes."""
    classes = torch.randint(3, (60,), generator=rng)
    real, generated = (
        8.0 * torch.eye(3)[classes] + torch.randn(60, 3, generator=rng) for _ in range(2)
    )
    return real.double(), generated.double(), classes


def test_a_perfect_conditional_model_has_even_p_values_within_classes_only(rng) -> None:
    within, across, neighbours = [], [], []
    for seed in range(60):
        real, generated, classes = conditional_sets(rng)
        both = classes.repeat(2)
        within.append(permutation_p_value(real, generated, seed, 99, both))
        across.append(permutation_p_value(real, generated, seed, 99))
        tested = permutation_test(overlap(real, generated), seed, both)
        neighbours.append(tested["nn1_{extractor}"]["p_value"])
    error = 4 / math.sqrt(12 * 60)
    for values in (within, neighbours):
        assert torch.tensor(values).mean().item() == pytest.approx(0.5, abs=error)
    # Dealt across classes, the labels take equal class counts for an agreement of the images.
    assert torch.tensor(across).mean().item() > 0.5 + error

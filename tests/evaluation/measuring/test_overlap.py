"""The overlap of two sets against all distances, on points that are hard for the fast formula."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from evaluation.measuring import overlap as overlap_module
from evaluation.measuring.overlap import NEIGHBOURS, overlap, overlap_of
from evaluation.measuring.records import UnavailableError
from tests.evaluation.measuring.hard_points import K, differences, distances_to_others


@dataclass(frozen=True)
class Brute:
    """All distances of two sets by differences of coordinates."""

    across: Tensor
    own_x: Tensor
    own_y: Tensor

    @staticmethod
    def of(x: Tensor, y: Tensor) -> "Brute":
        return Brute(differences(x, y), distances_to_others(x), distances_to_others(y))


def test_the_overlap_equals_that_of_all_distances(sides, chunked) -> None:
    x, y = sides
    sets, brute = overlap(x, y, K), Brute.of(x, y)
    own_x, own_y = (own.sort(dim=1).values[:, :K] for own in (brute.own_x, brute.own_y))
    assert torch.equal(sets.reference.own, own_x)
    assert torch.equal(sets.generated.own, own_y)
    assert torch.equal(sets.reference.own_index, brute.own_x.argmin(1))
    assert torch.equal(sets.generated.own_index, brute.own_y.argmin(1))
    for k in range(K):
        in_reference = (brute.across < own_x[:, k, None]).sum(0)
        in_generated = (brute.across < own_y[:, k]).sum(1)
        assert torch.equal(sets.generated.containing[:, k], in_reference)
        assert torch.equal(sets.reference.containing[:, k], in_generated)


def test_the_nearest_point_of_the_other_set_is_exact_within_reach(sides, chunked) -> None:
    x, y = sides
    sets, brute = overlap(x, y, K), Brute.of(x, y)
    reach = torch.maximum(sets.reference.own[:, -1:], sets.generated.own[:, -1])
    within = brute.across.where(brute.across <= reach, torch.inf)
    for side, distances in ((sets.reference, within), (sets.generated, within.T)):
        assert torch.equal(side.across, distances.min(1).values)
        near = side.across.isfinite()
        assert torch.equal(side.across_index[near], distances.min(1).indices[near])


def test_a_small_set_has_fewer_neighbours() -> None:
    x = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    assert overlap(x, x[:3] + 1).neighbours == 2
    assert overlap(x[:2], x + 1).neighbours == 1
    assert overlap(x, x + 1).neighbours == NEIGHBOURS


def test_the_overlap_of_a_model_is_computed_once_for_each_set_of_samples(
    make_context, model, monkeypatch
) -> None:
    calls = []
    monkeypatch.setattr(
        overlap_module, "overlap", lambda *sets: calls.append(sets) or overlap(*sets)
    )
    context = make_context(model)
    first = overlap_of(context)
    assert overlap_of(context.view(context.extractor, context.seeds.sample)) is first
    assert len(calls) == 1
    other = overlap_of(context.view(context.extractor, context.seeds.sample + 1))
    assert not torch.equal(other.generated.own, first.generated.own)
    assert torch.equal(calls[0][0], context.reference_features)


def test_one_image_is_too_few(make_context, model, reference) -> None:
    with pytest.raises(UnavailableError, match="too_few_samples"):
        overlap_of(make_context(model, reference=reference.first(1)))

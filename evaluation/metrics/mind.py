"""Sliced Wasserstein distance of features (arXiv 2605.06797): distributions beyond their moments.

3 d times the mean, over random unit directions, of the squared 2-Wasserstein distance of the two
projections; a shift by mu gives about 3 |mu|^2. The bias is proportional to 1 / n like that of the
Frechet distance, and the value scales with the square of the features. Values at different n or of
different extractors are not comparable.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Sampler

NAME = "mind_{extractor}"
DIRECTIONS = 1000
# Directions per step: projections of 10,000 rows on all 1,000 would take 80 MB per set.
_CHUNK = 100
# Rows converted to float64 at a time.
_ROWS = 8192


def sliced_distance(
    reference: Tensor, generated: Tensor, seed: int, directions: int = DIRECTIONS
) -> float:
    """3 d E_u W_2^2(u.x, u.y) over seeded directions u on the unit sphere.

    Args:
        reference: (N, d).
        generated: (M, d); min(N, M) rows of the larger set are used, drawn with the seed.
        seed: Seed of the directions and of these rows.
        directions: Number of directions (default 1,000).
    """
    rng = torch.Generator().manual_seed(seed)
    d = reference.shape[1]
    drawn = torch.randn(directions, d, generator=rng, dtype=torch.float64)
    units = drawn / drawn.norm(dim=1, keepdim=True)
    size = min(len(reference), len(generated))
    x, y = (
        features
        if len(features) == size
        else features[torch.randperm(len(features), generator=rng)[:size]]
        for features in (reference.cpu(), generated.cpu())
    )
    # In one dimension the optimal coupling pairs the sorted values.
    means = [
        (_sorted_projections(chunk, x) - _sorted_projections(chunk, y)).square().mean(1)
        for chunk in units.split(_CHUNK)
    ]
    return 3 * d * torch.cat(means).mean().item()


def _sorted_projections(units: Tensor, points: Tensor) -> Tensor:
    parts = [units @ rows.double().T for rows in points.split(_ROWS)]
    return torch.cat(parts, 1).sort(1).values


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated = context.sample_features
    value = sliced_distance(context.reference_features, generated, context.seeds.metric)
    return {NAME: Measurement(value, {"directions": DIRECTIONS})}


METRIC = Metric("mind", (Sampler,), (ValueSpec(NAME, "raw", False, 0.0),), _compute)

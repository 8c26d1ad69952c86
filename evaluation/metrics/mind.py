"""Sliced Wasserstein distance of features (arXiv 2605.06797): whole projections, no moments only.

3 d times the mean, over random unit directions, of the squared 2-Wasserstein distance of the two
projections, so that a shift by mu costs about 3 |mu|^2. Its bias falls as 1 / n like that of the
Frechet distance, and it scales with the square of the features: values at another n or of another
extractor are another metric.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Sampler

NAME = "mind_{extractor}"
DIRECTIONS = 1000
# Projections of so many directions at once: 10,000 rows of 1,000 would be 80 MB a side.
_CHUNK = 100
# So many features at a time are float64.
_ROWS = 8192


def sliced_distance(
    reference: Tensor, generated: Tensor, seed: int, directions: int = DIRECTIONS
) -> float:
    """3 d E_u W_2^2(u.x, u.y) over seeded directions u on the unit sphere.

    Args:
        reference: (N, d).
        generated: (M, d); of the larger set min(N, M) seeded rows are used.
        seed: Of the directions and of those rows.
        directions: Number of directions.
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
    # Sorted values of two projections are coupled best in their order.
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

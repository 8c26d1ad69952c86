"""Exact nearest neighbours of two sets of points, in float64, with one chunk in memory at a time.

Differences of coordinates are exact but slow; |x|^2 + |y|^2 - 2 x.y is fast, but its rounding gives
a point a distance to itself. So the fast formula only selects candidates: in single precision it
gives lower bounds of all distances, and the candidates that could be among the nearest are measured
by differences. The bounds hold for any order of summation, so no result depends on them: the
distance of a point to its copies is exactly 0, and equal distances are equal to the bit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

# Bounds per chunk: 8 MB, which stay in the processor's cache between two passes.
_CHUNK = 2**21
# Candidates beyond the k nearest; with 8, the bounds are rarely too loose to decide.
_SPARE = 8
# Points converted to float64 at a time.
_ROWS = 4096
# Share of the pairs of a chunk above which measuring the whole chunk is faster than single pairs.
_DENSE = 0.05


def nearest(
    queries: Tensor, keys: Tensor, k: int = 1, exclude: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k nearest keys of each query; ties go to the lowest index.

    Args:
        queries: (N, d), finite.
        keys: (M, d), finite.
        k: From 1 (default) to the number of keys.
        exclude: (N,) index of one key to skip for each query, such as the query itself.

    Returns:
        Distances (N, k) float64, ascending, and indices (N, k).
    """
    available = len(keys) - (exclude is not None)
    if not 1 <= k <= available:
        raise ValueError(f"k = {k} neighbours, expected 1 to {available}")
    x, y = queries.cpu(), keys.cpu()
    distances = torch.empty(len(x), k, dtype=torch.float64)
    indices = torch.empty(len(x), k, dtype=torch.int64)
    lower_bounds = LowerBounds.of(x, y)
    for rows, bounds in lower_bounds.chunks():
        skipped = None if exclude is None else exclude[rows, None]
        if skipped is not None:
            bounds.scatter_(1, skipped, torch.inf)
        near, index, certain = _nearest_candidates(x[rows], y, bounds, k, lower_bounds.scale)
        if not certain.all():
            uncertain = ~certain
            every = _distances(x[rows][uncertain], y)
            if skipped is not None:
                every.scatter_(1, skipped[uncertain], torch.inf)
            near[uncertain], index[uncertain] = _smallest(every, k)
        distances[rows], indices[rows] = near, index
    return distances, indices


@dataclass(frozen=True, eq=False)
class LowerBounds:
    """Lower bounds of all distances between two sets, squared and in units of `scale`.

    Points are centred, which leaves distances unchanged, and divided by their largest coordinate,
    which prevents overflow. The error of the formula is then below (d + 16) eps (|x|^2 + |y|^2):
    d eps / 2 for the sum of products, a few eps for the rounding of points, norms and sums. Twice
    that error is subtracted, because the compared distances are rounded, too.
    """

    x: Tensor
    y: Tensor
    lower_x: Tensor
    lower_y: Tensor
    scale: float

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Self:
        """The bounds between the queries x (N, d) and the keys y (M, d), in float32 if possible."""
        # torch can be set to compute float32 products in lower precision: the bounds would fail.
        precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
        dtype = torch.float32 if precision in {"none", "ieee"} else torch.float64
        limits = torch.finfo(dtype)
        slack = 2 * (x.shape[1] + 16) * limits.eps
        centre = y.mean(0, dtype=torch.float64)

        def centred(points: Tensor) -> Iterator[Tensor]:
            return (rows.double() - centre for rows in points.split(_ROWS))

        scale = max(rows.abs().max().item() for side in (x, y) for rows in centred(side)) or 1.0

        def scaled(points: Tensor) -> tuple[Tensor, Tensor]:
            rounded, lower = points.new_empty(points.shape, dtype=dtype), []
            for rows, target in zip(centred(points), rounded.split(_ROWS), strict=True):
                target.copy_(rows.div_(scale))
                # The last term: the relative rounding error of subnormal numbers is larger.
                least = rows.square().sum(1) * (1 - slack) - rows.shape[1] * limits.tiny
                lower.append(least.to(dtype))
            return rounded, torch.cat(lower)

        keys = scaled(y)
        queries = keys if x is y else scaled(x)
        return cls(queries[0], keys[0], queries[1], keys[1], scale)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of the rows of x, each with its bounds (rows, M)."""
        size = max(1, _CHUNK // len(self.y))
        for start in range(0, len(self.x), size):
            rows = slice(start, min(start + size, len(self.x)))
            bounds = torch.addmm(self.lower_y, self.x[rows], self.y.T, alpha=-2)
            yield rows, bounds.add_(self.lower_x[rows, None])


def _nearest_candidates(
    x: Tensor, y: Tensor, bounds: Tensor, k: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The k nearest of the keys with the lowest bounds: distances, indices, and certainty.

    A query is certain if no other key can be as near.
    """
    lowest = bounds.topk(min(k + _SPARE, len(y)), largest=False)
    # Sorted by index, so that the stable sort below keeps ties in this order.
    candidates = lowest.indices.sort().values
    rows = torch.arange(len(x)).repeat_interleave(candidates.shape[1])
    distances = _pairwise(x, y, rows, candidates.flatten()).view_as(candidates)
    distances[bounds.gather(1, candidates).isposinf()] = torch.inf
    distances, order = distances.sort(stable=True)
    kth = (distances[:, k - 1] / scale).square()
    certain = kth < lowest.values[:, -1]
    if candidates.shape[1] == len(y):
        certain = torch.ones_like(certain)
    return distances[:, :k], candidates.gather(1, order)[:, :k], certain


def _smallest(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of each row and their indices, lowest first at ties; overwrites the rows."""
    values, indices = [], []
    for _ in range(k):
        value, index = distances.min(1)  # the first of several
        distances.scatter_(1, index[:, None], torch.inf)
        values.append(value)
        indices.append(index)
    return torch.stack(values, 1), torch.stack(indices, 1)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, M) float64 distances by differences of coordinates."""
    parts = [_exact(x.double(), columns.double()) for columns in y.split(_ROWS)]
    return torch.cat(parts, 1)


def _exact(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _pairwise(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """(P,) distances of the pairs x[i], y[j]; equal to those of `_distances` to the bit."""
    return _exact(x[i, None].double(), y[j, None].double()).flatten()


def distances_of_pairs(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """(P,) float64 distances of the pairs x[i], y[j]."""
    if len(i) > _DENSE * len(x) * len(y):
        return _distances(x, y)[i, j]
    return _pairwise(x, y, i, j)

"""Exact nearest neighbours of two sets of points, in float64, a chunk of it in memory at a time.

Differences of coordinates are exact but slow; |x|^2 + |y|^2 - 2 x.y is fast, and its rounding
moves a point away from itself. So the fast formula only proposes: in single precision it gives
lower bounds of all distances, and what could be among the nearest by them is measured by
differences. The bounds hold for any order of summation, hence no result depends on them: a point
is at distance exactly 0 from its copies, and equal distances are equal bits.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.extractors import MissingExtractor

#: Radii up to the distance to this neighbour are known of every point: what coverage looks at.
NEIGHBOURS = 5

# Bounds at a time: 8 MB, which stay in the cache from one pass over them to the next.
_CHUNK = 2**21
# Proposed beyond the k nearest, so that the bounds seldom leave a doubt.
_SPARE = 8
# Points that are float64 at a time.
_ROWS = 4096
# Of all pairs of a chunk; beyond it measuring the whole chunk is faster than picking pairs.
_DENSE = 0.05


@dataclass(frozen=True, eq=False)
class Side:
    """What the points of one set know about their neighbours.

    Attributes:
        own: (N, K) distances to the nearest other points of the same set, ascending.
        own_index: (N,) the nearest of these.
        across: (N,) distance to the nearest point of the other set; infinite where no point of it
            is within the K-th own distance of either.
        across_index: (N,) which it is; meaningless where it is infinitely far.
        containing: (N, K) in how many balls of the other set the point lies, of radius the first,
            second, ... K-th own distance of their centres; the border is outside.
    """

    own: Tensor
    own_index: Tensor
    across: Tensor
    across_index: Tensor
    containing: Tensor

    def __len__(self) -> int:
        return len(self.own)

    def covers_nothing(self, k: int) -> bool:
        """Whether all balls of the k-th radius are without radius: not even a centre is inside."""
        return not (self.own[:, k - 1] > 0).any()


@dataclass(frozen=True, eq=False)
class Overlap:
    """Two sets as neighbours of each other."""

    reference: Side
    generated: Side

    @property
    def neighbours(self) -> int:
        """K: how many neighbours are known of each point."""
        return self.reference.own.shape[1]


def nearest(
    queries: Tensor, keys: Tensor, k: int = 1, exclude: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The k nearest keys of each query; of equally near ones those of the lowest index.

    Args:
        queries: (N, d), finite.
        keys: (M, d), finite.
        k: At least 1, at most as many as there are keys.
        exclude: (N,) for each query one key that does not count, such as itself.

    Returns:
        Distances (N, k) float64, ascending, and indices (N, k).
    """
    available = len(keys) - (exclude is not None)
    if not 1 <= k <= available:
        raise ValueError(f"{k} neighbours asked for, there are {available}")
    x, y = queries.cpu(), keys.cpu()
    distances = torch.empty(len(x), k, dtype=torch.float64)
    indices = torch.empty(len(x), k, dtype=torch.int64)
    screen = _Screen.of(x, y)
    for rows, bounds in screen.chunks():
        left_out = None if exclude is None else exclude[rows, None]
        if left_out is not None:
            bounds.scatter_(1, left_out, torch.inf)
        found, which, certain = _propose(x[rows], y, bounds, k, screen.scale)
        if not certain.all():
            doubtful = ~certain
            every = _distances(x[rows][doubtful], y)
            if left_out is not None:
                every.scatter_(1, left_out[doubtful], torch.inf)
            found[doubtful], which[doubtful] = _smallest(every, k)
        distances[rows], indices[rows] = found, which
    return distances, indices


def overlap(reference: Tensor, generated: Tensor, k: int = NEIGHBOURS) -> Overlap:
    """All that metrics of neighbours need of two sets: one search in each and one across.

    Args:
        reference: (N, d), N >= 2, finite.
        generated: (M, d), M >= 2, finite.
        k: Neighbours to know of each point; fewer where a set has no more.
    """
    x, y = reference.cpu(), generated.cpu()
    k = min(k, len(x) - 1, len(y) - 1)
    own_x, index_x = nearest(x, x, k, torch.arange(len(x)))
    own_y, index_y = nearest(y, y, k, torch.arange(len(y)))
    side_x = Side(own_x, index_x[:, 0], *_nothing(len(x), k))
    side_y = Side(own_y, index_y[:, 0], *_nothing(len(y), k))
    screen = _Screen.of(y, x)
    reach_x, reach_y = ((own[:, -1] / screen.scale).square() for own in (own_x, own_y))
    for rows, bounds in screen.chunks():
        reach = torch.maximum(reach_x, reach_y[rows, None])
        i, j = (bounds <= reach).nonzero(as_tuple=True)
        distances = _pair_distances(y[rows], x, i, j)
        i = i + rows.start
        within = distances <= torch.maximum(own_x[j, -1], own_y[i, -1])
        i, j, distances = i[within], j[within], distances[within]
        _enter(side_y, i, j, distances, own_x)
        _enter(side_x, j, i, distances, own_y)
    return Overlap(side_x, side_y)


def overlap_of(context: Context) -> Overlap:
    """The overlap of the features of the reference and of the generated images, computed once."""
    generated, reference = context.sample_features, context.reference_features
    assert not isinstance(context.extractor, MissingExtractor)  # it would have no features
    key = ("neighbours", context.extractor.sha256, context.seeds.sample)
    return context.once(key, lambda: overlap(reference, generated))


@dataclass(frozen=True, eq=False)
class _Screen:
    """Lower bounds of all distances of two sets, squared and in units of `scale`.

    Points are centred, which no distance notices, and divided by their largest coordinate, so that
    nothing overflows. Then the formula is off by less than (d + 16) eps (|x|^2 + |y|^2): d eps / 2
    for the sum of products, a few eps for rounding points, norms and sums. Twice that is taken off:
    what the bounds are compared with is rounded, too.
    """

    x: Tensor
    y: Tensor
    lower_x: Tensor
    lower_y: Tensor
    scale: float

    @classmethod
    def of(cls, x: Tensor, y: Tensor) -> Self:
        # The products of single precision may be set to something less, which breaks the bounds.
        precision = torch.backends.mkldnn.matmul.fp32_precision  # type: ignore[attr-defined]
        dtype = torch.float32 if precision in {"none", "ieee"} else torch.float64
        limits = torch.finfo(dtype)
        slack = 2 * (x.shape[1] + 16) * limits.eps
        centre = y.mean(0, dtype=torch.float64)

        def centred(points: Tensor) -> Iterator[Tensor]:
            return (rows.double() - centre for rows in points.split(_ROWS))

        scale = max(rows.abs().max().item() for side in (x, y) for rows in centred(side)) or 1.0

        def screened(points: Tensor) -> tuple[Tensor, Tensor]:
            rounded, lower = points.new_empty(points.shape, dtype=dtype), []
            for rows, target in zip(centred(points), rounded.split(_ROWS), strict=True):
                target.copy_(rows.div_(scale))
                # The last term: what is too small for `dtype` is rounded by more than its share.
                least = rows.square().sum(1) * (1 - slack) - rows.shape[1] * limits.tiny
                lower.append(least.to(dtype))
            return rounded, torch.cat(lower)

        keys = screened(y)
        queries = keys if x is y else screened(x)
        return cls(queries[0], keys[0], queries[1], keys[1], scale)

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """Slices of x, each with its bounds (rows, M)."""
        size = max(1, _CHUNK // len(self.y))
        for start in range(0, len(self.x), size):
            rows = slice(start, min(start + size, len(self.x)))
            bounds = torch.addmm(self.lower_y, self.x[rows], self.y.T, alpha=-2)
            yield rows, bounds.add_(self.lower_x[rows, None])


def _propose(
    x: Tensor, y: Tensor, bounds: Tensor, k: int, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The k nearest among the keys of the lowest bounds, and whether no other can be as near."""
    lowest = bounds.topk(min(k + _SPARE, len(y)), largest=False)
    # By index first: the stable sort then gives equally near keys in this order.
    which = lowest.indices.sort().values
    rows = torch.arange(len(x)).repeat_interleave(which.shape[1])
    distances = _picked(x, y, rows, which.flatten()).view_as(which)
    distances[bounds.gather(1, which).isposinf()] = torch.inf
    distances, order = distances.sort(stable=True)
    kth = (distances[:, k - 1] / scale).square()
    certain = kth < lowest.values[:, -1]
    if which.shape[1] == len(y):
        certain = torch.ones_like(certain)
    return distances[:, :k], which.gather(1, order)[:, :k], certain


def _smallest(distances: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k smallest of each row with the lowest indices; overwrites them."""
    values, indices = [], []
    for _ in range(k):
        value, index = distances.min(1)  # the first of several
        distances.scatter_(1, index[:, None], torch.inf)
        values.append(value)
        indices.append(index)
    return torch.stack(values, 1), torch.stack(indices, 1)


def _distances(x: Tensor, y: Tensor) -> Tensor:
    """(N, M) distances by differences of coordinates, float64."""
    parts = [_exact(x.double(), columns.double()) for columns in y.split(_ROWS)]
    return torch.cat(parts, 1)


def _exact(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x, y, compute_mode="donot_use_mm_for_euclid_dist")


def _picked(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """(P,) distances of the pairs x[i], y[j], in the same bits as in the whole matrix."""
    return _exact(x[i, None].double(), y[j, None].double()).flatten()


def _pair_distances(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """As `_picked`, by whichever way is faster."""
    if len(i) > _DENSE * len(x) * len(y):
        return _distances(x, y)[i, j]
    return _picked(x, y, i, j)


def _nothing(n: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """The fields `across`, `across_index` and `containing` of a side that met nobody yet."""
    across = torch.full((n,), torch.inf, dtype=torch.float64)
    nobody = torch.zeros(n, dtype=torch.int64)
    return across, nobody, torch.zeros(n, k, dtype=torch.int64)


def _enter(side: Side, points: Tensor, others: Tensor, distances: Tensor, radii: Tensor) -> None:
    """Counts pairs of a point and a point of the other set, whose balls have `radii` (M, K)."""
    n = len(side)
    for k in range(radii.shape[1]):
        inside = points[distances < radii[others, k]]
        side.containing[:, k] += inside.bincount(minlength=n)
    closest = torch.full_like(side.across, torch.inf)
    closest.scatter_reduce_(0, points, distances, "amin")
    at = distances == closest[points]
    first = torch.full_like(side.across_index, len(radii))
    first.scatter_reduce_(0, points[at], others[at], "amin")
    # Of equally near ones the first, which came with an earlier chunk.
    nearer = closest < side.across
    side.across[nearer], side.across_index[nearer] = closest[nearer], first[nearer]

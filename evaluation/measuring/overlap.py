"""Two sets of points as neighbours of each other: nearest distances and balls around the points.

The metrics of precision, recall, density, coverage and 1-NN accuracy share one search.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.extractors import MissingExtractor
from evaluation.measuring.neighbours import LowerBounds, distances_of_pairs, nearest

#: Neighbours of each point whose distances are stored; coverage needs the fifth.
NEIGHBOURS = 5


@dataclass(frozen=True, eq=False)
class Side:
    """The neighbours of the points of one set.

    Attributes:
        own: (N, K) distances to the nearest other points of the same set, ascending.
        own_index: (N,) index of the nearest other point of the same set.
        across: (N,) distance to the nearest point of the other set; infinite if every pair is
            farther apart than the K-th own distance of both of its points.
        across_index: (N,) index of that point; undefined where `across` is infinite.
        containing: (N, K) number of balls of the other set that contain the point. Column k has
            the balls whose radius is the (k + 1)-th own distance of their centre, without border.
    """

    own: Tensor
    own_index: Tensor
    across: Tensor
    across_index: Tensor
    containing: Tensor

    def __len__(self) -> int:
        return len(self.own)

    def all_balls_empty(self, k: int) -> bool:
        """Whether the k-th radius of all balls is 0, so that no ball contains even its centre."""
        return not (self.own[:, k - 1] > 0).any()


@dataclass(frozen=True, eq=False)
class Overlap:
    """Two sets as neighbours of each other."""

    reference: Side
    generated: Side

    @property
    def neighbours(self) -> int:
        """K, the number of neighbours stored for each point."""
        return self.reference.own.shape[1]


def overlap(reference: Tensor, generated: Tensor, k: int = NEIGHBOURS) -> Overlap:
    """Searches neighbours within each of two sets and between them.

    Args:
        reference: (N, d), N >= 2, finite.
        generated: (M, d), M >= 2, finite.
        k: Neighbours of each point (default 5); at most the size of the smaller set minus 1.
    """
    x, y = reference.cpu(), generated.cpu()
    k = min(k, len(x) - 1, len(y) - 1)
    own_x, index_x = nearest(x, x, k, torch.arange(len(x)))
    own_y, index_y = nearest(y, y, k, torch.arange(len(y)))
    side_x = Side(own_x, index_x[:, 0], *_no_neighbours(len(x), k))
    side_y = Side(own_y, index_y[:, 0], *_no_neighbours(len(y), k))
    lower_bounds = LowerBounds.of(y, x)
    reach_x, reach_y = ((own[:, -1] / lower_bounds.scale).square() for own in (own_x, own_y))
    for rows, bounds in lower_bounds.chunks():
        reach = torch.maximum(reach_x, reach_y[rows, None])
        i, j = (bounds <= reach).nonzero(as_tuple=True)
        distances = distances_of_pairs(y[rows], x, i, j)
        i = i + rows.start
        within = distances <= torch.maximum(own_x[j, -1], own_y[i, -1])
        i, j, distances = i[within], j[within], distances[within]
        _add_pairs(side_y, i, j, distances, own_x)
        _add_pairs(side_x, j, i, distances, own_y)
    return Overlap(side_x, side_y)


def overlap_of(context: Context) -> Overlap:
    """The overlap of the reference features and the generated features, computed once."""
    generated, reference = context.sample_features, context.reference_features
    assert not isinstance(context.extractor, MissingExtractor)  # the line above has raised
    key = ("neighbours", context.extractor.sha256, context.seeds.sample)
    return context.cached(key, lambda: overlap(reference, generated))


def _no_neighbours(n: int, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Initial `across`, `across_index` and `containing` of a side, before any pair is added."""
    across = torch.full((n,), torch.inf, dtype=torch.float64)
    indices = torch.zeros(n, dtype=torch.int64)
    return across, indices, torch.zeros(n, k, dtype=torch.int64)


def _add_pairs(
    side: Side, points: Tensor, others: Tensor, distances: Tensor, radii: Tensor
) -> None:
    """Adds pairs of a point and a point of the other set, whose balls have `radii` (M, K)."""
    n = len(side)
    for k in range(radii.shape[1]):
        inside = points[distances < radii[others, k]]
        side.containing[:, k] += inside.bincount(minlength=n)
    closest = torch.full_like(side.across, torch.inf)
    closest.scatter_reduce_(0, points, distances, "amin")
    at = distances == closest[points]
    first = torch.full_like(side.across_index, len(radii))
    first.scatter_reduce_(0, points[at], others[at], "amin")
    # Strict: of equally near points the one of the earlier chunk stays.
    nearer = closest < side.across
    side.across[nearer], side.across_index[nearer] = closest[nearer], first[nearer]

"""Whether generated images are copies of training images: distances to the train set.

Everything is relative to real images that were held out from training, of the same data: they, too,
lie close to the train set, and how close decides what is suspicious. No one number separates copies
from images that are merely smooth or alike (Stein et al. 2023): read all of them, in pixels and in
features, each beside the same value of held-out images.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from evaluation.measuring.context import UnavailableError
from evaluation.measuring.metric import Measurement, ValueSpec, failure
from evaluation.measuring.neighbours import nearest

CELLS = 5
#: A cell with fewer generated points says nothing.
MIN_GENERATED = 20
#: The share of held-out points that counts as suspiciously close to the train set.
CLOSE = 0.01
PAIRS = 16


@dataclass(frozen=True, eq=False)
class Found:
    """Where points lie in the train set.

    Attributes:
        distance: (N,) to the nearest train point, float64.
        spacing: (N,) of that train point to the nearest other train point.
        cell: (N,) the cell of the train set that the point is in.
    """

    distance: Tensor
    spacing: Tensor
    cell: Tensor

    def halves(self) -> tuple["Found", "Found"]:
        """The first and the second half of the points."""
        half = len(self.distance) // 2
        first, second = (
            Found(self.distance[rows], self.spacing[rows], self.cell[rows])
            for rows in (slice(half), slice(half, None))
        )
        return first, second


@dataclass(frozen=True, eq=False)
class Baseline:
    """A train set and the held-out points that generated ones are compared with.

    Attributes:
        train: (N, d) float64.
        centres: (k, d) of its cells.
        held_out: Where the held-out points lie in it.
    """

    train: Tensor
    centres: Tensor
    held_out: Found


@dataclass(frozen=True, eq=False)
class Pairs:
    """The generated images nearest to the train set, by their distance.

    Attributes:
        generated: (P,) their indices.
        train: (P,) the index of the nearest train image of each.
        distance: (P,) ascending, float64.
    """

    generated: Tensor
    train: Tensor
    distance: Tensor


def specs(suffix: str) -> tuple[ValueSpec, ...]:
    """The values in the space that a suffix names."""
    return (
        ValueSpec(f"ct_{suffix}", "z", None, 0.0),
        ValueSpec(f"authpct_{suffix}", "fraction", None),
        ValueSpec(f"copy_share_{suffix}", "fraction", False, order="novelty"),
    )


def baseline(train: Tensor, held_out: Tensor, seed: int) -> Baseline:
    """Cuts a train set into cells and finds the held-out points in it.

    Args:
        train: (N, ...).
        held_out: (M, ...), M >= 2, in random order.
        seed: Of the cells.

    Raises:
        UnavailableError: There are fewer than two train points.
    """
    if len(train) < 2:
        raise UnavailableError("too_few_train_images")
    points = _flat(train)
    centres = _cell_centres(points, seed)
    return Baseline(points, centres, _find(_flat(held_out), points, centres))


def measure(generated: Tensor, known: Baseline, suffix: str) -> dict[str, float | Measurement]:
    """The values (see `specs`) of generated points (M, ...).

    Where a value compares with held-out points, that of the held-out points themselves is one half
    of them beside the other. Where the held-out points are train points themselves, there is
    nothing to compare with: copies would be as far from the train set as they are, a perfect score.
    """
    fake, real = _find(_flat(generated), known.train, known.centres), known.held_out
    share = copy_share(fake.distance, real.distance)
    ct, authentic, close = (spec.name for spec in specs(suffix))
    if share is None:
        return {
            ct: failure("held_out_copies"),
            authentic: Measurement(authentic_share(fake)),
            close: failure("held_out_copies", quantile=CLOSE),
        }
    first, second = real.halves()
    average, used = cell_average(fake, real)
    in_cells = {
        "cell_average": average,
        "held_out_cell_average": cell_average(first, second)[0],
        "cells_used": used,
    }
    shared = {"held_out": copy_share(first.distance, second.distance), "quantile": CLOSE}
    return {
        ct: Measurement(
            rank_z(fake.distance, real.distance),
            {"held_out": rank_z(first.distance, second.distance), **in_cells},
        ),
        authentic: Measurement(authentic_share(fake), {"held_out": authentic_share(real)}),
        close: Measurement(share, shared),
    }


def rank_z(fake: Tensor, held_out: Tensor) -> float:
    """Z score of a rank-sum test of distances to the train set (Z_U of Meehan et al. 2020).

    (U - n m / 2) / sqrt(n m (n + m + 1) / 12), U the pairs in which the generated point is farther
    from the train set than the held-out one, ties counted half. Below -3 the generated points copy,
    above 3 they miss the data; the least value is -sqrt(3 n m / (n + m + 1)).

    Args:
        fake: (m,) distances of the generated points.
        held_out: (n,) distances of the held-out points.
    """
    n, m = len(held_out), len(fake)
    ordered = held_out.sort().values
    nearer, not_farther = (
        torch.searchsorted(ordered, fake, right=right).sum().item() for right in (False, True)
    )
    u = (nearer + not_farther) / 2
    return (u - n * m / 2) / math.sqrt(n * m * (n + m + 1) / 12)


def cell_average(fake: Found, held_out: Found) -> tuple[float | None, int]:
    """`rank_z` within each cell, averaged by the cells' shares of held-out points (C_T in full).

    A model that copies in one region and misses the data in another may have a global score of 0.
    Distances are to the whole train set, also across the border of a cell.

    Returns:
        The average, None where every cell has too few points, and how many cells it is of.
    """
    total, points, used = 0.0, 0, 0
    for cell in range(CELLS):
        fakes, real = (side.distance[side.cell == cell] for side in (fake, held_out))
        if len(fakes) >= MIN_GENERATED and len(real):
            total += len(real) * rank_z(fakes, real)
            points += len(real)
            used += 1
    return total / points if points else None, used


def authentic_share(found: Found) -> float:
    """The share of points farther from their train point than its nearest train neighbour is.

    AuthPct of Alaa et al. 2022. Copies have 0; not 0.5 for perfect samples, but what held-out
    points have.
    """
    return (found.distance > found.spacing).double().mean().item()


def copy_share(fake: Tensor, held_out: Tensor) -> float | None:
    """The share of distances (m,) below the 1 % quantile of the held-out distances (n,).

    None where the quantile is 0, below which no copy is.
    """
    limit = torch.quantile(held_out, CLOSE)
    return (fake < limit).double().mean().item() if limit > 0 else None


def nearest_pairs(generated: Tensor, train: Tensor, count: int = PAIRS) -> Pairs:
    """The generated points (M, ...) nearest to the train set (N, ...), at most `count` of them."""
    distance, index = (found[:, 0] for found in nearest(_flat(generated), _flat(train)))
    first = distance.sort(stable=True).indices[:count]
    return Pairs(first, index[first], distance[first])


def _flat(points: Tensor) -> Tensor:
    return points.flatten(1).to("cpu", torch.float64)


def _find(points: Tensor, train: Tensor, centres: Tensor) -> Found:
    distance, index = (found[:, 0] for found in nearest(points, train))
    # Only of train points that are nearest to something: all of them would take far longer.
    asked, position = index.unique(return_inverse=True)
    spacing = nearest(train[asked], train, exclude=asked)[0][:, 0]
    return Found(distance, spacing[position], nearest(points, centres)[1][:, 0])


def _cell_centres(train: Tensor, seed: int) -> Tensor:
    """(k, d) centres of k-means cells."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  (a second of start-up, needed here only)
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    cells = KMeans(min(CELLS, len(train)), n_init=1, random_state=seed % 2**32)
    # One thread: the order in which threads add up a centre changes its last bits. The warning says
    # that there are fewer different points than cells; the same centre twice does no harm.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        cells.fit(train.numpy())
    return torch.from_numpy(cells.cluster_centers_).to(torch.float64)

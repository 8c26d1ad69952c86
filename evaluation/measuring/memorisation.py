"""Copies of training images among the generated ones, by distances to the train set.

Held-out real images of the same data are the baseline, because they are close to the train set,
too. No single number separates copies from images that are only smooth or similar (Stein et al.
2023): read all values, in pixels and in features, next to the same values of held-out images.
"""

import math
import warnings
from dataclasses import dataclass

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from evaluation.measuring.metric import Measurement, ValueSpec, failure
from evaluation.measuring.neighbours import nearest
from evaluation.measuring.records import UnavailableError

#: Cells of the train set (k-means clusters) for `cell_average`.
CELLS = 5
#: Smallest number of generated points in a cell that `cell_average` uses.
MIN_GENERATED = 20
#: Share of the held-out points, the nearest ones, whose distance counts as suspiciously close.
CLOSE = 0.01
#: Number of image pairs that `nearest_pairs` returns by default.
PAIRS = 16


@dataclass(frozen=True, eq=False)
class TrainDistances:
    """Distances of points to the train set.

    Attributes:
        distance: (N,) distance to the nearest train point, float64.
        spacing: (N,) distance from that train point to its nearest other train point.
        cell: (N,) index of the cell of the train set that contains the point.
    """

    distance: Tensor
    spacing: Tensor
    cell: Tensor

    def halves(self) -> tuple["TrainDistances", "TrainDistances"]:
        """The first and the second half of the points."""
        half = len(self.distance) // 2
        first, second = (
            TrainDistances(self.distance[rows], self.spacing[rows], self.cell[rows])
            for rows in (slice(half), slice(half, None))
        )
        return first, second


@dataclass(frozen=True, eq=False)
class Baseline:
    """A train set and the distances of held-out points, the baseline of generated points.

    Attributes:
        train: (N, d) float64 train points.
        centres: (k, d) centres of the cells of the train set.
        held_out: The distances of the held-out points to the train set.
    """

    train: Tensor
    centres: Tensor
    held_out: TrainDistances


@dataclass(frozen=True, eq=False)
class Pairs:
    """The generated images nearest to the train set, sorted by distance.

    Attributes:
        generated: (P,) indices of the generated images.
        train: (P,) index of the nearest train image of each.
        distance: (P,) float64 distances, ascending.
    """

    generated: Tensor
    train: Tensor
    distance: Tensor


def specs(suffix: str) -> tuple[ValueSpec, ...]:
    """The values of one space; `suffix` is `pixel` or the placeholder of the extractor's name."""
    return (
        ValueSpec(f"ct_{suffix}", "z", None, 0.0),
        ValueSpec(f"authpct_{suffix}", "fraction", None),
        ValueSpec(f"copy_share_{suffix}", "fraction", False, order="novelty"),
    )


def baseline(train: Tensor, held_out: Tensor, seed: int) -> Baseline:
    """Divides a train set into cells and measures the distances of held-out points to it.

    Args:
        train: (N, ...) train points.
        held_out: (M, ...) held-out points, M >= 2, in random order.
        seed: Seed of the k-means cells.

    Raises:
        UnavailableError: There are fewer than two train points.
    """
    if len(train) < 2:
        raise UnavailableError("too_few_train_images")
    points = _flat(train)
    centres = _cell_centres(points, seed)
    return Baseline(points, centres, _train_distances(_flat(held_out), points, centres))


def measure(generated: Tensor, known: Baseline, suffix: str) -> dict[str, float | Measurement]:
    """The values (see `specs`) of generated points (M, ...).

    For values relative to held-out points, `held_out` in `params` compares the first half of the
    held-out points with the second. If the held-out points are copies of train points, these values
    are null: copies would be as near as the baseline and get a perfect score.
    """
    fake = _train_distances(_flat(generated), known.train, known.centres)
    real = known.held_out
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

    (U - n m / 2) / sqrt(n m (n + m + 1) / 12), with U the number of pairs in which the generated
    point is farther from the train set than the held-out point; ties count half. Below -3: copies
    of training images; above 3: images far from the data. Minimum: -sqrt(3 n m / (n + m + 1)).

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


def cell_average(fake: TrainDistances, held_out: TrainDistances) -> tuple[float | None, int]:
    """The mean of `rank_z` over cells, weighted by their held-out points (the full C_T).

    A model that copies in one region and misses the data in another can have a global score of 0.
    Distances are measured to the whole train set, also across the border of a cell.

    Returns:
        The mean, None if every cell has too few points; and the number of cells used.
    """
    total, points, used = 0.0, 0, 0
    for cell in range(CELLS):
        fakes, real = (side.distance[side.cell == cell] for side in (fake, held_out))
        if len(fakes) >= MIN_GENERATED and len(real):
            total += len(real) * rank_z(fakes, real)
            points += len(real)
            used += 1
    return total / points if points else None, used


def authentic_share(points: TrainDistances) -> float:
    """The share of points farther from their train point than that is from its nearest train point.

    AuthPct of Alaa et al. 2022. Copies have 0. Perfect samples have the value of held-out points,
    which is not 0.5.
    """
    return (points.distance > points.spacing).double().mean().item()


def copy_share(fake: Tensor, held_out: Tensor) -> float | None:
    """The share of distances (m,) below the 1 % quantile of the held-out distances (n,).

    None if the quantile is 0, because no distance is below 0.
    """
    limit = torch.quantile(held_out, CLOSE)
    return (fake < limit).double().mean().item() if limit > 0 else None


def nearest_pairs(generated: Tensor, train: Tensor, count: int = PAIRS) -> Pairs:
    """The generated points (M, ...) nearest to the train set (N, ...), at most `count` of them."""
    distance, index = (column[:, 0] for column in nearest(_flat(generated), _flat(train)))
    first = distance.sort(stable=True).indices[:count]
    return Pairs(first, index[first], distance[first])


def _flat(points: Tensor) -> Tensor:
    return points.flatten(1).to("cpu", torch.float64)


def _train_distances(points: Tensor, train: Tensor, centres: Tensor) -> TrainDistances:
    distance, index = (column[:, 0] for column in nearest(points, train))
    # Only for train points that are the nearest of some point: all of them would take far longer.
    used, position = index.unique(return_inverse=True)
    spacing = nearest(train[used], train, exclude=used)[0][:, 0]
    return TrainDistances(distance, spacing[position], nearest(points, centres)[1][:, 0])


def _cell_centres(train: Tensor, seed: int) -> Tensor:
    """(k, d) centres of k-means cells, k = min(CELLS, N)."""
    from sklearn.cluster import KMeans  # noqa: PLC0415  (takes a second to import)
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415

    cells = KMeans(min(CELLS, len(train)), n_init=1, random_state=seed % 2**32)
    # One thread: the order in which threads sum up a centre changes its last bits. The warning
    # reports fewer distinct points than cells; a duplicate centre is harmless.
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        cells.fit(train.numpy())
    return torch.from_numpy(cells.cluster_centers_).to(torch.float64)

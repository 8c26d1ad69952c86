"""Placement of the names of points without overlap with marks or other names."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import numpy.typing as npt

Box = tuple[float, float, float, float]  # left, bottom, right, top

#: Width of a letter and height of a line, in font sizes.
LETTER, LINE = 0.56, 1.15
#: Distances of a name from its mark, in font sizes; the nearest free place is used.
RINGS = (0.0, 1.2, 2.4, 3.6, 4.8, 6.0)


def places(
    points: npt.NDArray[np.float64],
    names: Sequence[str],
    size: float,
    gap: float,
    least: float = 0.0,
) -> list[tuple[float, float, bool]]:
    """Offsets of the names in order: each name gets the nearest free place.

    Args:
        points: (N, 2) positions of the marks; all lengths have the same unit.
        names: One name per point.
        size: Font size.
        gap: Distance from the centre of a mark to its name.
        least: Smallest distance of a name above or below its mark, in font sizes (default 0).

    Returns:
        For each name its offset in x and y from its mark, and whether the name ends at that point
        (True) or starts there. The name is vertically centred on it.
    """
    marks = [_box(x - gap / 2, y, gap, gap) for x, y in points]
    occupied: list[Box] = []
    offsets = []
    for index, ((x, y), name) in enumerate(zip(points, names, strict=True)):
        width, height = LETTER * size * len(name), LINE * size
        best: tuple[float, float, float, bool] | None = None
        for ring, to_left, up in product(RINGS, (False, True), (1, -1)):
            shift = up * max(ring, least) * size
            # A name above or below its mark can be nearer.
            aside = gap if ring < 1 else 0.3 * gap
            left = x - aside - width if to_left else x + aside
            box = _box(left, y + shift, width, height)
            others = [*occupied, *(mark for i, mark in enumerate(marks) if i != index)]
            cost = sum(_overlap(box, other) for other in others) + 0.02 * ring * width * height
            if best is None or cost < best[0]:
                best = (cost, -aside if to_left else aside, shift, to_left)
        assert best is not None
        _, aside, shift, to_left = best
        occupied.append(_box(x + aside - (width if to_left else 0), y + shift, width, height))
        offsets.append((aside, shift, to_left))
    return offsets


def _box(left: float, middle: float, width: float, height: float) -> Box:
    return left, middle - height / 2, left + width, middle + height / 2


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, width) * max(0.0, height)

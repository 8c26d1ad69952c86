"""What training seeds can tell apart: intervals, pairwise tests, groups, and how many would do.

The training seed is the source of variance that counts: retraining moves a distance several times
as much as fresh samples do. So a model's values are one per training seed, each a mean over its
sets of samples, and nothing here looks inside them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, stdev

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Pair:
    """Two models under one metric.

    Attributes:
        models: Their names, the better mean first.
        difference: Of the means, at least 0.
        p: Welch's t test, two-sided.
        adjusted: p after Holm's correction over all testable pairs.
        testable: Whether so few seeds could reach the level at all, among so many pairs.
    """

    models: tuple[str, str]
    difference: float
    p: float
    adjusted: float
    testable: bool

    @property
    def apart(self) -> bool:
        """Whether the seeds tell them apart."""
        return self.testable and self.adjusted < LEVEL


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Student's interval of the mean over training seeds; None below two values.

    Args:
        values: One a training seed.
        level: The share of such intervals that miss the mean.
    """
    if len(values) < 2:
        return None
    return interval_from_moments(fmean(values), stdev(values), len(values), level)


def interval_from_moments(
    mean: float, sd: float, n: int, level: float = LEVEL
) -> tuple[float, float]:
    """Student's interval from a mean, a standard deviation (ddof=1) and a count of at least 2."""
    from scipy import stats  # noqa: PLC0415  (a second of start-up that not every stage needs)

    half = float(stats.t.ppf(1 - level / 2, n - 1)) * sd / math.sqrt(n)
    return mean - half, mean + half


def is_testable(n: int, m: int, comparisons: int) -> bool:
    """Whether any data of n and m seeds can reach the level at Holm's hardest step.

    The exact permutation test is the yardstick: its smallest p is 2 / C(n + m, n), whatever the
    data. Three seeds against three reach 0.1 and no less; five against five carry 6 comparisons.
    """
    return min(n, m) >= 2 and 2 / math.comb(n + m, n) <= LEVEL / comparisons


def pairs(values: Mapping[str, Sequence[float]], higher_is_better: bool) -> list[Pair]:
    """All pairs of models with at least two values each, Welch's test, Holm's correction.

    Args:
        values: By model one value a training seed.
        higher_is_better: The metric's direction.
    """
    sign = -1 if higher_is_better else 1
    ranked = sorted(
        (name for name, found in values.items() if len(found) >= 2),
        key=lambda name: sign * fmean(values[name]),
    )
    both = list(combinations(ranked, 2))
    able = [is_testable(len(values[a]), len(values[b]), len(both)) for a, b in both]
    tested = [welch(values[a], values[b]) for a, b in both]
    corrected = iter(holm([p for p, can in zip(tested, able, strict=True) if can]))
    return [
        Pair(
            (a, b),
            abs(fmean(values[a]) - fmean(values[b])),
            p,
            next(corrected) if can else 1.0,
            can,
        )
        for (a, b), p, can in zip(both, tested, able, strict=True)
    ]


def welch(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p of Welch's t test, of at least two values each."""
    if not stdev(one) and not stdev(other):  # equal, or different beyond doubt
        return float(one[0] == other[0])
    from scipy import stats  # noqa: PLC0415  (see interval)

    # From the moments: from the values, scipy warns about every nearly constant sample.
    moments = [(fmean(side), stdev(side), len(side)) for side in (one, other)]
    return float(stats.ttest_ind_from_stats(*moments[0], *moments[1], equal_var=False).pvalue)


def permutation(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p of the permutation test of the means: a check on Welch, which assumes normality.

    Exact up to 10,000 ways to deal the values to the two sides, then from as many random ones.
    """
    from scipy import stats  # noqa: PLC0415  (see interval)

    found = stats.permutation_test(
        (one, other),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        n_resamples=10_000,
        vectorized=True,
        rng=0,
    )
    return float(found.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): valid under any dependence, never above 1."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def groups(ranked: Sequence[str], compared: Iterable[Pair]) -> dict[str, str]:
    """Letters: two models that share one are not told apart (Piepho 2004, insert and absorb).

    Args:
        ranked: The models from best to worst.
        compared: All of their pairs.

    Returns:
        For each model its letters, `a` for the group of the best.
    """
    columns = [set(ranked)]
    for pair in compared:
        if not pair.apart:
            continue
        for column in [c for c in columns if set(pair.models) <= c]:
            columns.remove(column)
            columns += [column - {name} for name in pair.models]
        columns = [c for c in columns if not any(c < other for other in columns)]
        columns = [c for i, c in enumerate(columns) if c not in columns[:i]]
    places = {name: place for place, name in enumerate(ranked)}
    columns.sort(key=lambda column: sorted(places[name] for name in column))
    return {
        name: "".join(chr(ord("a") + i) for i, column in enumerate(columns) if name in column)
        for name in ranked
    }


def seeds_needed(one: Sequence[float], other: Sequence[float], comparisons: int) -> int | None:
    """Training seeds a side with which a true difference of this size would be found.

    With probability 0.8, by a two-sided t test at 0.05 / comparisons (Holm's hardest step), if the
    observed means and pooled deviation are the true ones: of so few seeds an estimate only.

    Args:
        one: Values of one model, at least two.
        other: Of the other, at least two.
        comparisons: Pairs that are compared.

    Returns:
        None where more than 1,000 would be needed, as of equal means.
    """
    from scipy import stats  # noqa: PLC0415  (see interval)

    spread = math.sqrt((stdev(one) ** 2 + stdev(other) ** 2) / 2)
    difference = abs(fmean(one) - fmean(other))
    if not difference:
        return None
    fewest = next(n for n in range(2, MOST_SEEDS) if is_testable(n, n, comparisons))
    if not spread:
        return fewest

    def power(n: int) -> float:
        shift = difference / (spread * math.sqrt(2 / n))
        limit = stats.t.ppf(1 - LEVEL / comparisons / 2, 2 * n - 2)
        return float(stats.nct.sf(limit, 2 * n - 2, shift))

    low, high = fewest, MOST_SEEDS
    if power(high) < POWER:
        return None
    while low < high:  # the power grows with n
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle + 1, high)
    return low

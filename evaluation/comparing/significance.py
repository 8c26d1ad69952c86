"""The one rule for "is A better than B?": Welch's t-test over training seeds, Holm-corrected.

The report, `compare`, the comparison with another commit and the verdict of a study all call
`differences`, and print what `Difference` says.

The training seed is the source of variance that counts: retraining changes a distance several
times as much as fresh samples do. So each model has one value per training seed, the mean over its
sets of samples.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean, stdev
from typing import Literal

LEVEL = 0.05
POWER = 0.8
MOST_SEEDS = 1000

Verdict = Literal["better", "worse", "different", "not distinguishable", "not testable"]
_OPPOSITE: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Sample:
    """The values of one model under one metric, as moments over its training seeds.

    Attributes:
        mean: Mean.
        sd: Standard deviation (ddof=1); None below two values.
        n: Number of training seeds with a value, at least 1.
    """

    mean: float
    sd: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Sample":
        """The moments of at least one value."""
        return cls(fmean(values), stdev(values) if len(values) > 1 else None, len(values))

    def interval(self, level: float = LEVEL) -> tuple[float, float] | None:
        """Student's interval of the mean over training seeds; None below two values.

        Args:
            level: The share of such intervals that miss the mean.
        """
        if self.sd is None:
            return None
        from scipy import stats  # noqa: PLC0415  (a second of start-up that few stages need)

        half = float(stats.t.ppf(1 - level / 2, self.n - 1)) * self.sd / math.sqrt(self.n)
        return self.mean - half, self.mean + half


@dataclass(frozen=True)
class Difference:
    """How a model differs from a baseline under one metric.

    Attributes:
        verdict: On the model. `different` is a significant difference under a metric without a
            direction. `not testable` means that no data of this few seeds can be significant.
        value: Mean of the model minus mean of the baseline.
        p: Welch's, two-sided, Holm-adjusted over the tested pairs; None if not testable.
        unadjusted: Welch's p before the adjustment; None if a side has fewer than two seeds.
        seeds: Training seeds of the side that has fewer.
        num_pairs: Pairs that are compared together and have two seeds a side.
        num_tested: How many of these are testable.
    """

    verdict: Verdict
    value: float
    p: float | None
    unadjusted: float | None
    seeds: int
    num_pairs: int
    num_tested: int

    @property
    def is_testable(self) -> bool:
        """Whether any data of this many seeds can be significant."""
        return self.verdict != "not testable"

    @property
    def is_significant(self) -> bool:
        """Whether the seeds distinguish the two."""
        return self.verdict in {"better", "worse", "different"}

    def reversed(self) -> "Difference":
        """The same difference, with the baseline as the model."""
        verdict = _OPPOSITE.get(self.verdict, self.verdict)
        return replace(self, verdict=verdict, value=-self.value)

    def short(self) -> str:
        """The verdict for a table cell: `better, p 0.012`, `not testable`."""
        return self.verdict if self.p is None else f"{self.verdict}, p {self.p:.2g}"

    def sentence(self, model: str, baseline: str) -> str:
        """The verdict in words, without a full stop.

        Args:
            model: Name of the model.
            baseline: Name of the baseline.
        """
        if self.p is None:
            among = f" among {self.num_pairs} pairs" if self.num_pairs > 1 else ""
            return (
                f"The difference between {model} and {baseline} is not testable with "
                f"{_count(self.seeds, 'seed')}{among}"
            )
        claim = {
            "better": f"{model} is better than {baseline}",
            "worse": f"{model} is worse than {baseline}",
            "different": f"{model} and {baseline} differ",
        }.get(self.verdict, f"{model} and {baseline} are not distinguishable")
        p = f"p = {self.p:.2g}"
        if self.num_tested > 1:
            corrected = f"after Holm's correction over {self.num_tested} pairs"
            p = f"{p} {corrected}, {self.unadjusted:.2g} before"
        return f"{claim} (Welch's t-test: {p})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"


def differences(
    pairs: Sequence[tuple[Sample, Sample]], higher_is_better: bool | None
) -> list[Difference]:
    """Compares each model with its baseline under one metric.

    Args:
        pairs: Model and baseline of every comparison that is read together: Holm's correction runs
            over those of them that are testable.
        higher_is_better: The metric's direction; None for a diagnostic without one.

    Returns:
        One difference per pair, in the same order.
    """
    able = [(one, other) for one, other in pairs if min(one.n, other.n) >= 2]
    tested = [pair for pair in able if is_testable(pair[0].n, pair[1].n, len(able))]
    # Equal pairs have equal p values, before the correction and after it.
    adjusted = dict(zip(tested, holm([welch(*pair) for pair in tested]), strict=True))

    def difference(model: Sample, baseline: Sample) -> Difference:
        value = model.mean - baseline.mean
        p = adjusted.get((model, baseline))
        verdict: Verdict = "not distinguishable"
        if p is None:
            verdict = "not testable"
        elif p < LEVEL and higher_is_better is None:
            verdict = "different"
        elif p < LEVEL:
            verdict = "better" if (value > 0) == higher_is_better else "worse"
        seeds = min(model.n, baseline.n)
        unadjusted = welch(model, baseline) if seeds >= 2 else None
        return Difference(verdict, value, p, unadjusted, seeds, len(able), len(tested))

    return [difference(*pair) for pair in pairs]


def all_pairs(
    values: Mapping[str, Sequence[float]], higher_is_better: bool | None
) -> dict[tuple[str, str], Difference]:
    """Compares every two models that have at least two values each.

    Args:
        values: For each model one value per training seed.
        higher_is_better: The metric's direction; None for a diagnostic without one.

    Returns:
        By (model, baseline); the model has the better mean, without a direction the lower one.
    """
    samples = {name: Sample.of(of_model) for name, of_model in values.items() if len(of_model) >= 2}
    sign = -1 if higher_is_better else 1
    ranked = sorted(samples, key=lambda name: sign * samples[name].mean)
    names = list(combinations(ranked, 2))
    compared = differences([(samples[a], samples[b]) for a, b in names], higher_is_better)
    return dict(zip(names, compared, strict=True))


def interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float] | None:
    """Student's interval of the mean of one value per training seed; None below two values."""
    return Sample.of(values).interval(level) if values else None


def is_testable(n: int, m: int, num_pairs: int) -> bool:
    """Whether any data of n and m seeds can reach the level at Holm's hardest step.

    The exact permutation test is the yardstick: its smallest p is 2 / C(n + m, n), whatever the
    data. Three seeds against three reach 0.1 at best; five against five suffice for 6 pairs.
    """
    return min(n, m) >= 2 and 2 / math.comb(n + m, n) <= LEVEL / num_pairs


def welch(one: Sample, other: Sample) -> float:
    """Two-sided p of Welch's t-test, of at least two values each."""
    if not one.sd and not other.sd:  # equal, or different beyond doubt
        return float(one.mean == other.mean)
    from scipy import stats  # noqa: PLC0415  (see Sample.interval)

    # From the moments: from the values, scipy warns about every nearly constant sample.
    sides = (one.mean, one.sd or 0.0, one.n), (other.mean, other.sd or 0.0, other.n)
    return float(stats.ttest_ind_from_stats(*sides[0], *sides[1], equal_var=False).pvalue)


def permutation(one: Sequence[float], other: Sequence[float]) -> float:
    """Two-sided p of the permutation test of the means: a check on Welch, which assumes normality.

    Exact up to 10,000 ways to deal the values to the two sides, then from as many random ones.
    """
    from scipy import stats  # noqa: PLC0415  (see Sample.interval)

    result = stats.permutation_test(
        (one, other),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        n_resamples=10_000,
        vectorized=True,
        rng=0,
    )
    return float(result.pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979): valid under any dependence, never above 1."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def seeds_needed(one: Sample, other: Sample, num_pairs: int) -> int | None:
    """Training seeds per model with which a difference of this size would be detected.

    With probability 0.8, by a two-sided t-test at 0.05 / num_pairs (Holm's hardest step), if the
    observed means and pooled deviation are the true ones: an estimate only, from few seeds.

    Args:
        one: The values of one model, at least two.
        other: The values of the other, at least two.
        num_pairs: Pairs that are compared.

    Returns:
        None where more than 1,000 would be needed, as for equal means.
    """
    from scipy import stats  # noqa: PLC0415  (see Sample.interval)

    spread = math.sqrt(((one.sd or 0) ** 2 + (other.sd or 0) ** 2) / 2)
    difference = abs(one.mean - other.mean)
    if not difference:
        return None
    fewest = next(n for n in range(2, MOST_SEEDS) if is_testable(n, n, num_pairs))
    if not spread:
        return fewest

    def power(n: int) -> float:
        shift = difference / (spread * math.sqrt(2 / n))
        limit = stats.t.ppf(1 - LEVEL / num_pairs / 2, 2 * n - 2)
        return float(stats.nct.sf(limit, 2 * n - 2, shift))

    low, high = fewest, MOST_SEEDS
    if power(high) < POWER:
        return None
    while low < high:  # the power grows with n
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle) >= POWER else (middle + 1, high)
    return low

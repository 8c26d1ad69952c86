"""Shares of correct answers: confidence interval and test against guessing."""

import math
from typing import Any

from evaluation.measuring.intervals import LEVEL


def wilson(share: float, count: float) -> dict[str, Any]:
    """Wilson's interval (1927) of a share of independent trials, within [0, 1].

    Args:
        share: Share of successes, in [0, 1].
        count: Number of trials, or the equivalent number of independent ones; above 0.

    Returns:
        `method`, `level`, `low`, `high` and `count`.
    """
    from scipy import stats  # noqa: PLC0415  (takes a second to import)

    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    shrink = 1 / (1 + z**2 / count)
    centre = shrink * (share + z**2 / (2 * count))
    half = shrink * z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return {
        "method": "binomial (Wilson)",
        "level": LEVEL,
        # Rounding can put a bound beyond 0 or 1, or exclude a share of 0 or 1.
        "low": max(0.0, min(share, centre - half)),
        "high": min(1.0, max(share, centre + half)),
        "count": count,
    }


def coin_p_value(correct: int, count: int) -> float:
    """One-sided exact binomial test: P(at least `correct` of `count` guesses are correct)."""
    from scipy import stats  # noqa: PLC0415  (takes a second to import)

    return float(stats.binomtest(correct, count, 0.5, alternative="greater").pvalue)

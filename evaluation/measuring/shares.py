"""Shares of right answers: their interval, and how likely a coin gives as many."""

import math
from typing import Any

from evaluation.measuring.intervals import LEVEL


def wilson(share: float, count: float) -> dict[str, Any]:
    """Wilson's interval (1927) of a share of independent trials; never outside [0, 1].

    Args:
        share: In [0, 1].
        count: Trials, or how many independent ones they are worth; more than 0.

    Returns:
        `method`, `level`, `low`, `high` and `count`.
    """
    from scipy import stats  # noqa: PLC0415  (a second of start-up)

    z = float(stats.norm.ppf((1 + LEVEL) / 2))
    shrink = 1 / (1 + z**2 / count)
    centre = shrink * (share + z**2 / (2 * count))
    half = shrink * z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return {
        "method": "binomial (Wilson)",
        "level": LEVEL,
        # Rounding may leave out a share of 0 or 1, or lead beyond it.
        "low": max(0.0, min(share, centre - half)),
        "high": min(1.0, max(share, centre + half)),
        "count": count,
    }


def coin_p_value(correct: int, count: int) -> float:
    """P(a fair coin is right at least so often): the exact binomial test, one-sided."""
    from scipy import stats  # noqa: PLC0415  (a second of start-up)

    return float(stats.binomtest(correct, count, 0.5, alternative="greater").pvalue)

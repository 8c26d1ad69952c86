"""Bootstrap over images, valid only for means of per-image values.

Resampling creates duplicates, which bias every statistic of a whole set (FID, KID, coverage): these
get no interval here.
"""

from typing import Any

import torch
from torch import Tensor

LEVEL = 0.95
RESAMPLES = 1000


def bootstrap_mean(values: Tensor, seed: int) -> dict[str, Any] | None:
    """Percentile bootstrap interval of a mean (Efron 1979).

    Args:
        values: (N,) per-image values.
        seed: Seed of the resampling.

    Returns:
        `method`, `level`, `low`, `high`, `resamples`; None for fewer than two values.
    """
    n = len(values)
    if n < 2:
        return None
    rng = torch.Generator().manual_seed(seed)
    # One resample at a time: all 1,000 x 10,000 indices together would take 80 MB.
    means = torch.stack(
        [values[torch.randint(n, (n,), generator=rng)].mean() for _ in range(RESAMPLES)]
    )
    tail = (1 - LEVEL) / 2
    low, high = torch.quantile(means, means.new_tensor([tail, 1 - tail])).tolist()
    return {
        "method": "bootstrap over images",
        "level": LEVEL,
        "low": low,
        "high": high,
        "resamples": RESAMPLES,
    }

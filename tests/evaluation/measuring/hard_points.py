"""Points on which the fast distance formula is inaccurate, and distances by differences."""

import torch
from torch import Tensor

K = 5


def _hard_cases(d: int) -> dict[str, tuple[Tensor, Tensor]]:
    rng = torch.Generator().manual_seed(d)
    x = torch.randn(150, d, generator=rng, dtype=torch.float64)
    y = torch.randn(120, d, generator=rng, dtype=torch.float64)
    with_outlier = torch.cat([1e12 * x[:1], x[1:]])
    order = torch.randperm(len(x), generator=rng)
    grid = [torch.randint(3, (n, d), generator=rng).double() for n in (150, 120)]
    return {
        "plain": (x, y),
        "single precision": (x.float(), y.float()),
        "far from the origin": (x + 1e6, y + 1e6),
        "copies in another order": (x, x[order]),
        "nearly copies": (x, x + 1e-9),
        "ties": (grid[0], grid[1]),
        "an outlier among the queries": (with_outlier, y),
        "an outlier among the keys": (y, with_outlier),
        "all equal": (torch.full((150, d), 0.3), torch.full((120, d), 0.3)),
        "one side all equal": (x, y[:1].expand(120, -1)),
        "huge": (1e60 * x, 1e60 * y),
        "tiny": (1e-60 * x, 1e-60 * y),
        "two scales": (torch.cat([1e-12 * x, x + 3]), torch.cat([1.1e-12 * y, y + 3])),
    }


CASES = {f"{name}, d={d}": sides for d in (1, 3, 40) for name, sides in _hard_cases(d).items()}


def differences(x: Tensor, y: Tensor) -> Tensor:
    return torch.cdist(x.double(), y.double(), compute_mode="donot_use_mm_for_euclid_dist")


def distances_to_others(x: Tensor) -> Tensor:
    return differences(x, x).fill_diagonal_(torch.inf)

"""Coverage of the reported interval of FID-infinity, on Gaussians with known moments.

`python -m tests.bench.fid_infinity` draws both sets 100 times per case, extrapolates, and prints
one line per case: the true value, mean and standard deviation of the estimates, the mean reported
standard error, and the number of 95 % intervals that contain the true value. About a minute on one
idle core.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev

import torch
from torch import Tensor

from evaluation.metrics.fid_infinity import extrapolate

Draw = Callable[[torch.Generator], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """Two distributions with a known distance, and a function that draws n points of each."""

    name: str
    truth: float
    draw: Draw


@dataclass(frozen=True)
class Coverage:
    """The results of repeated draws of one case."""

    case: Case
    values: list[float]
    errors: list[float]
    held: int

    def __str__(self) -> str:
        return (
            f"{self.case.name}: truth {self.case.truth:.3f}, values {fmean(self.values):.3f} +- "
            f"{stdev(self.values):.3f}, stated error {fmean(self.errors):.3f}, interval holds the "
            f"truth in {self.held} of {len(self.values)}"
        )


def gaussians(name: str, n: int, deviations: Tensor, scale: float, shift: float) -> Case:
    """N(0, S) against N(shift, scale^2 S), S diagonal."""
    d = len(deviations)
    truth = d * shift**2 + (1 - scale) ** 2 * deviations.square().sum().item()

    def draw(rng: torch.Generator) -> tuple[Tensor, Tensor]:
        x, y = (
            torch.randn(n, d, generator=rng, dtype=torch.float64) * deviations for _ in range(2)
        )
        return x, scale * y + shift

    return Case(name, truth, draw)


def shared_classes(name: str, n: int, d: int, classes: int) -> Case:
    """The same mixture of unit Gaussians for both sets, with equal classes in each row."""
    centres = 3 * torch.randn(classes, d, generator=torch.Generator().manual_seed(99)).double()

    def draw(rng: torch.Generator) -> tuple[Tensor, Tensor]:
        mean = centres[torch.randint(classes, (n,), generator=rng)]
        x, y = (mean + torch.randn(n, d, generator=rng, dtype=torch.float64) for _ in range(2))
        return x, y

    return Case(name, 0.0, draw)


def falling(d: int, total: float = 100.0) -> Tensor:
    """Standard deviations; the variances decrease as 1 / i and have the given sum."""
    variances = 1 / torch.arange(1, d + 1, dtype=torch.float64)
    return (variances * total / variances.sum()).sqrt()


CASES = (
    gaussians("equal, d 16, n 1000", 1000, torch.ones(16).double(), 1.0, 0.0),
    gaussians("equal, d 64, n 1000", 1000, falling(64), 1.0, 0.0),
    gaussians("shifted, d 64, n 2000", 2000, torch.ones(64).double(), 1.0, math.sqrt(0.32 / 64)),
    gaussians("shifted and narrower, d 64, n 1000", 1000, falling(64), 0.9, 0.1),
    gaussians("far apart, d 64, n 1000", 1000, falling(64), 0.5, 0.5),
    shared_classes("equal mixtures of 10 shared classes, d 16, n 1000", 1000, 16, 10),
)


def cover(case: Case, draws: int) -> Coverage:
    """Draws both sets repeatedly."""
    values, errors, held = [], [], 0
    for seed in range(draws):
        x, y = case.draw(torch.Generator().manual_seed(seed))
        line = extrapolate(x, y, seed)
        interval = line.interval()
        values.append(line.intercept)
        errors.append(line.standard_error)
        held += float(interval["low"]) <= case.truth <= float(interval["high"])
    return Coverage(case, values, errors, held)


def main() -> None:
    """Prints one line per case."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.fid_infinity", description=__doc__)
    parser.add_argument("--draws", type=int, default=100, help="of each case (default: 100)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for case in CASES:
        print(cover(case, arguments.draws), flush=True)


if __name__ == "__main__":
    main()

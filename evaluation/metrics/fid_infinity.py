"""Frechet distance extrapolated to infinitely many images, both sets subsampled at the same n.

The distance of two sets of n images is the true distance plus about c / n, where c depends on the
model. The metric computes distances of random subsets of both sets, fits a line over 1 / n, and
returns its intercept. Chong and Forsyth (2020, arXiv 1911.07023) take subsets of the generated set
only, which keeps the bias of the real set. Negative values are valid, as for every unbiased
estimate of a distance.

A subset has the same rows of both sets. Samples of a conditional model have the classes of the
reference images row by row, so the subsets have equal class counts and the same c as the whole
sets. With independent rows the line would be too steep and the intercept of a perfect model below
0.

The least-squares error of the intercept is invalid, because the subsets share images. The standard
error here adds two variances:

- that of the data: jackknife pseudo-values G F - (G - 1) F_{-g} of G disjoint blocks of rows, whose
  mean is also free of c / n. By Efron and Stein (1981) the expectation of a jackknife variance is
  at least the true variance; for equal distributions, where the distance has no first-order term,
  it is about twice the true variance.
- that of the random subsets, which are independent given the data: the sandwich estimate from the
  residuals (White 1980).

The interval has G - 1 degrees of freedom. `python -m tests.bench.fid_infinity` measures its
coverage.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.intervals import LEVEL
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.moments import frechet_parts
from evaluation.measuring.protocols import Sampler
from evaluation.measuring.records import UnavailableError

NAME = "fid_inf_{extractor}"
#: Different values of n.
POINTS = 15
#: Subsets at each n below N.
DRAWS = 5
#: Blocks of the jackknife.
BLOCKS = 15
#: Smallest number of images per feature; with fewer, the bias is not linear in 1 / n.
IMAGES_PER_FEATURE = 3


@dataclass(frozen=True)
class Extrapolation:
    """The line of the distances over 1 / n.

    Attributes:
        intercept: The distance at infinite n.
        slope: The slope in 1 / n: the bias at n = 1, by the line.
        residual_sd: Standard deviation of the distances around the line, ddof=2.
        standard_error: Standard error of the intercept.
        smallest: The smallest n.
    """

    intercept: float
    slope: float
    residual_sd: float
    standard_error: float
    smallest: int

    def interval(self) -> dict[str, float | str]:
        """Student's interval of the intercept."""
        from scipy import stats  # noqa: PLC0415  (takes a second to import)

        half = float(stats.t.ppf((1 + LEVEL) / 2, BLOCKS - 1)) * self.standard_error
        return {
            "method": "jackknife over blocks and sandwich over draws",
            "level": LEVEL,
            "low": self.intercept - half,
            "high": self.intercept + half,
        }


def extrapolate(reference: Tensor, generated: Tensor, seed: int) -> Extrapolation:
    """Joint FID-infinity: 15 values of n from N / 5 to N, five subsets of both sets at each.

    Args:
        reference: (N, d) features, in random order.
        generated: (N, d) features; of a conditional model with the reference classes row by row.
        seed: Seed of the subsets.

    Raises:
        UnavailableError: The smallest subset has fewer than 3 d rows.
        ValueError: The sets differ in size.
    """
    x, y = reference.cpu(), generated.cpu()
    if x.shape != y.shape:
        raise ValueError(f"both sets must have one shape, got {tuple(x.shape)}, {tuple(y.shape)}")
    num, d = x.shape
    smallest = num // 5
    if smallest < IMAGES_PER_FEATURE * d:
        raise UnavailableError("too_few_for_extrapolation")
    rng = torch.Generator().manual_seed(seed)
    inverse, distances = [], []
    for n in torch.linspace(smallest, num, POINTS).round().long().tolist():
        for _ in range(DRAWS if n < num else 1):
            rows = torch.randperm(num, generator=rng)[:n]
            inverse.append(1 / n)
            distances.append(sum(frechet_parts(x[rows], y[rows])))
    values = torch.tensor(distances, dtype=torch.float64)
    design = torch.tensor([[1.0, part] for part in inverse], dtype=torch.float64)
    solver = torch.linalg.pinv(design)
    intercept, slope = (solver @ values).tolist()
    residuals = values - design @ (solver @ values)
    spread = len(values) / (len(values) - 2)
    of_draws = spread * (solver[0] * residuals).square().sum().item()
    return Extrapolation(
        intercept,
        slope,
        math.sqrt(spread * residuals.square().mean().item()),
        math.sqrt(of_draws + _variance_of_data(x, y, distances[-1])),
        smallest,
    )


def _variance_of_data(x: Tensor, y: Tensor, distance: float) -> float:
    """The jackknife variance of the mean pseudo-value."""
    block = torch.arange(len(x)) * BLOCKS // len(x)
    left_out = [sum(frechet_parts(x[block != g], y[block != g])) for g in range(BLOCKS)]
    pseudo = BLOCKS * distance - (BLOCKS - 1) * torch.tensor(left_out, dtype=torch.float64)
    return pseudo.var().item() / BLOCKS


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated = context.sample_features
    line = extrapolate(context.reference_features, generated, context.seeds.metric)
    params = {
        "slope": line.slope,
        "residual_sd": line.residual_sd,
        "standard_error": line.standard_error,
        "smallest_n": line.smallest,
        "points": POINTS,
        "draws": DRAWS,
        "blocks": BLOCKS,
    }
    return {NAME: Measurement(line.intercept, params, line.interval())}


METRIC = Metric(
    "fid_infinity",
    (Sampler,),
    (ValueSpec(NAME, "{extractor_unit}", False, 0.0),),
    _compute,
)

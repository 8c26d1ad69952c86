"""The project's metrics beside those of other packages, on the same features.

`python -m tests.bench.peers` takes pairs of feature sets (seeded ones, among them some that break
naive formulas, and those of the real test and valid images where stage `features` has run) and
computes FID, KID, class score, precision, recall, density and coverage with the project and with
each peer that is installed. Prints a line a value: the project's, the peer's, their difference, and
where that is above the tolerance its cause. A cause has a condition and a bound: a difference that
none of them covers is marked UNEXPLAINED, and then the command fails.

The features have the digits of float32; the project computes in float64 whatever it gets.
"""

import contextlib
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.metrics.density_coverage import K as K_COVERAGE
from evaluation.metrics.density_coverage import coverage, density
from evaluation.metrics.inception_score import class_score
from evaluation.metrics.kid import kernel_distance
from evaluation.metrics.precision_recall import K as K_PRECISION
from evaluation.metrics.precision_recall import precision, recall
from evaluation.moments import covariance, frechet_parts, total_variance
from evaluation.neighbours import overlap
from pipelines import paths

#: Of the scale of a metric's terms: what float64 leaves.
TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Case:
    """Two sets of features (N, d), float64 with the digits of float32, and what they are like."""

    name: str
    reference: Tensor
    generated: Tensor

    def to(self, dtype: torch.dtype) -> "Case":
        """The same features as another type."""
        return Case(self.name, self.reference.to(dtype), self.generated.to(dtype))

    @cached_property
    def logits(self) -> Tensor:
        """(N, 10) class logits of the generated set."""
        rng = torch.Generator().manual_seed(0)
        weights = torch.randn(self.generated.shape[1], 10, generator=rng)
        spread = self.generated.std(0).square().sum().sqrt()
        return (self.generated @ weights.to(self.generated) / spread).float().to(self.generated)

    @cached_property
    def scales(self) -> Mapping[str, float]:
        """What the terms of a metric are like, of which it is a difference."""
        variance = total_variance(self.reference) + total_variance(self.generated)
        kernel = (self.reference.square().mean(1) + 1).pow(3).mean().item()
        return {"fid": variance, "kid": kernel}

    @cached_property
    def singular(self) -> bool:
        """Whether an eigenvalue of a covariance is under 1e-6 of the largest, or none at all."""
        spectra = (torch.linalg.eigvalsh(covariance(x)) for x in (self.reference, self.generated))
        return any(bool(values[0] < 1e-6 * values[-1]) for values in spectra)

    @cached_property
    def ties(self) -> bool:
        """Whether a point occurs twice, in one set or in both."""
        points = torch.cat([self.reference, self.generated])
        return len(points.unique(dim=0)) < len(points)


Measure = Callable[[Case], Mapping[str, float]]


@dataclass(frozen=True)
class Peer:
    """An implementation by somebody else.

    Attributes:
        name: What the table calls it.
        module: What has to be importable.
        measure: Its values.
        dtype: Of the features that it gets.
    """

    name: str
    module: str
    measure: Measure
    dtype: torch.dtype = torch.float64


@dataclass(frozen=True)
class Cause:
    """Why a peer differs.

    Attributes:
        peers: What the name of the peer starts with.
        metrics: Which values.
        why: In one line.
        holds: Whether the features are such that it applies.
        bound: The largest difference that it explains, of the scale of the metric's terms.
    """

    peers: tuple[str, ...]
    metrics: tuple[str, ...]
    why: str
    holds: Callable[[Case], bool]
    bound: float


def ours(case: Case) -> dict[str, float]:
    """The project's values."""
    sets = overlap(case.reference, case.generated)
    return {
        "fid": sum(frechet_parts(case.reference, case.generated)),
        "kid": kernel_distance(case.reference, case.generated),
        "is": class_score(case.logits),
        "precision": precision(sets),
        "recall": recall(sets),
        "density": density(sets),
        "coverage": coverage(sets),
    }


def torch_fidelity(case: Case) -> dict[str, float]:
    """Its functions of features; KID of the full sets, where they are equally large."""
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    reference, generated = case.reference, case.generated
    one, two = (metric_fid.fid_features_to_statistics(x) for x in (reference, generated))
    covered = metric_prc.prc_features_to_metric(
        generated, reference, prc_neighborhood=K_PRECISION, save_cpu_ram=False, verbose=False
    )
    kid = metric_kid.kid_features_to_metric(
        reference,
        generated,
        kid_subsets=1,
        kid_subset_size=len(reference),
        rng_seed=0,
        verbose=False,
    )
    score = metric_isc.isc_features_to_metric(case.logits, splits=1)
    return {
        "fid": metric_fid.fid_statistics_to_metric(one, two, False)["frechet_inception_distance"],
        "kid": kid["kernel_inception_distance_mean"],
        "is": score["inception_score_mean"],
        "precision": covered["precision"],
        "recall": covered["recall"],
    }


def torch_fidelity_subsets(case: Case) -> dict[str, float]:
    """KID as it comes: the mean over 100 random subsets, here of half of the features each."""
    from torch_fidelity import metric_kid

    found = metric_kid.kid_features_to_metric(
        case.reference,
        case.generated,
        kid_subsets=100,
        kid_subset_size=len(case.reference) // 2,
        rng_seed=0,
        verbose=False,
    )
    return {"kid": found["kernel_inception_distance_mean"]}


class _Handed(nn.Module):
    """An extractor that hands features through."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x


def torchmetrics(case: Case) -> dict[str, float]:
    """Its metrics with an extractor that hands features through; KID by its kernel function."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import poly_mmd

    reference, generated, logits = case.reference, case.generated, case.logits
    fid = FrechetInceptionDistance(feature=_Handed(reference.shape[1]))
    fid.update(reference, real=True)
    fid.update(generated, real=False)
    score = InceptionScore(feature=_Handed(logits.shape[1]), splits=1)
    score.update(logits)
    return {
        "fid": fid.compute().item(),
        "kid": poly_mmd(reference, generated).item(),
        "is": score.compute()[0].item(),
    }


def prdc(case: Case) -> dict[str, float]:
    """All four of its values at the project's numbers of neighbours."""
    from prdc import compute_prdc

    sets = case.reference.numpy(), case.generated.numpy()
    few, many = (compute_prdc(*sets, nearest_k=k) for k in (K_PRECISION, K_COVERAGE))
    return {
        **{name: float(few[name]) for name in ("precision", "recall")},
        **{name: float(many[name]) for name in ("density", "coverage")},
    }


def clean_fid(case: Case) -> dict[str, float]:
    """FID from means and covariances; KID with one subset, which is all of the features."""
    from cleanfid import fid

    one, two = case.reference.numpy(), case.generated.numpy()
    moments = [part for x in (one, two) for part in (x.mean(0), np.cov(x, rowvar=False))]
    return {
        "fid": float(fid.frechet_distance(*moments)),
        "kid": fid.kernel_distance(one, two, num_subsets=1, max_subset_size=len(one)),
    }


PEERS = (
    Peer("torch-fidelity", "torch_fidelity", torch_fidelity),
    Peer("torch-fidelity, float32", "torch_fidelity", torch_fidelity, torch.float32),
    Peer("torch-fidelity, subsets", "torch_fidelity", torch_fidelity_subsets),
    Peer("torchmetrics", "torchmetrics", torchmetrics),
    Peer("torchmetrics, float32", "torchmetrics", torchmetrics, torch.float32),
    Peer("prdc", "prdc", prdc),
    Peer("clean-fid", "cleanfid", clean_fid),
)

CAUSES: tuple[Cause, ...] = ()


def cases() -> list[Case]:
    """Seeded pairs, and the real images' where stage `features` has run."""
    rng = torch.Generator().manual_seed(0)
    n, d = 1000, 64

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    mix = normal(d, d) / d**0.5
    one, two = normal(n, d) @ mix, 1.2 * normal(n, d) @ mix + 0.2
    dead = (torch.arange(d) % 4 > 0).double()
    decades = torch.logspace(0, -4, d, dtype=torch.float64)
    which = torch.randint(n, (n,), generator=rng)
    found = [
        Case("Gaussians", one, two),
        Case("null", one, normal(n, d) @ mix),
        Case("ill-conditioned", normal(n, d) * decades @ mix, 1.2 * normal(n, d) * decades @ mix),
        Case("dead features", one * dead, two * dead),
        Case("40 of 64", one[:40], two[:40]),
        Case("the same set", one[:40], one[:40]),
        Case("copies", one, one[which]),
        Case("far from 0", one + 1000, two + 1000),
    ]
    stored = [paths.FEATURES / "classifier" / f"{split}.pt" for split in ("test", "valid")]
    if all(path.is_file() for path in stored):
        real = [torch.load(path, weights_only=True)["features"] for path in stored]
        found.append(Case("test, valid", *real))
    return [case.to(torch.float32).to(torch.float64) for case in found]


def cause_of(peer: Peer, metric: str, case: Case, difference: float) -> str:
    """Why a peer differs by so much of the scale; UNEXPLAINED where nobody knows."""
    known = [
        cause.why
        for cause in CAUSES
        if peer.name.startswith(cause.peers)
        and metric in cause.metrics
        and cause.holds(case)
        and difference <= cause.bound
    ]
    return known[0] if known else "UNEXPLAINED"


def lines(case: Case, peers: list[Peer]) -> list[str]:
    """A line a value of a peer."""
    values, found = ours(case), []
    for peer in peers:
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                theirs = peer.measure(case.to(peer.dtype))
        except ValueError as error:
            found.append(f"{case.name:16} {peer.name:24} raises {error}")
            continue
        for metric, value in theirs.items():
            scale = case.scales.get(metric, 1.0)
            difference = abs(value - values[metric]) / scale
            why = "" if difference <= TOLERANCE else cause_of(peer, metric, case, difference)
            found.append(
                f"{case.name:16} {peer.name:24} {metric:10} {values[metric]:14.8g} {value:14.8g} "
                f"{difference:8.1e}  {why}"
            )
    return found


def main() -> None:
    """Prints the table; fails where a difference has no known cause."""
    torch.set_num_threads(1)
    here = [peer for peer in PEERS if find_spec(peer.module)]
    for peer in PEERS:
        if peer not in here:
            print(f"{peer.name}: not installed")
    print(f"{'features':16} {'peer':24} {'value':10} {'ours':>14} {'theirs':>14} {'off':>8}  cause")
    unexplained = 0
    for case in cases():
        for line in lines(case, here):
            print(line, flush=True)
            unexplained += "UNEXPLAINED" in line
    sys.exit(f"{unexplained} differences without a known cause" if unexplained else 0)


if __name__ == "__main__":
    main()

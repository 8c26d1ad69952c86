"""The project's metrics compared with those of other packages, on the same features.

`python -m tests.bench.peers` computes FID, KID, class score, precision, recall, density and
coverage with the project and with each installed peer, on pairs of feature sets: about ten seconds.
The pairs are seeded (some are difficult for naive formulas), and those of the real test and valid
images if stage `features` has run. Prints one line per value: the project's value, the peer's
value, the relative difference (to the total variance for FID, to the mean kernel of a point with
itself for KID), and the cause of a difference above the tolerance. A cause has a bound. A
difference without a known cause is marked UNEXPLAINED, and the command fails.

The features have float32 precision; the project always computes in float64.
"""

import contextlib
import io
import math
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from tests.bench.feature_pairs import Pair, pairs
from tests.bench.peer_packages import PEERS, Peer, ours

#: Tolerance relative to the scale of a metric's terms: the rounding error of float64.
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Cause:
    """A known cause of a difference.

    Attributes:
        peers: Start or end of the peer's name.
        metrics: Names of the values.
        why: Explanation in one line.
        bound: Largest explained difference of two sets, relative to the scale.
    """

    peers: tuple[str, ...]
    metrics: tuple[str, ...]
    why: str
    bound: Callable[[Pair], float]

    def explains(self, peer: str, metric: str, pair: Pair, difference: float) -> bool:
        """Whether this cause explains a difference."""
        named = peer.startswith(self.peers) or peer.endswith(self.peers)
        return named and metric in self.metrics and difference <= self.bound(pair)


CAUSES = (
    Cause(
        ("torch-fidelity", "torchmetrics"),
        ("fid",),
        "roots of eigenvalues of S1 S2 that are rounding: a covariance is (nearly) singular",
        lambda pair: 1e-7 if pair.singular else 0.0,
    ),
    Cause(
        ("clean-fid",),
        ("fid",),
        "scipy's sqrtm of S1 S2: a covariance is (nearly) singular",
        lambda pair: 1e-7 if pair.singular else 0.0,
    ),
    Cause(
        ("torch-fidelity",),
        ("precision", "recall"),
        "takes the mean in float32",
        lambda _: 2.0**-24,
    ),
    Cause(
        ("torch-fidelity",),
        ("recall",),
        "the border of a ball is inside (<=), and equal points lie on it",
        lambda pair: pair.border + 2.0**-24 if pair.border else 0.0,
    ),
    Cause(
        ("float32",),
        ("fid", "kid", "is"),
        "computes in the float32 that it gets",
        lambda pair: 2.0**-21 * (1 + pair.offset),
    ),
    Cause(
        ("float32",),
        ("precision", "recall"),
        "distances from |x|^2 + |y|^2 - 2 x.y in float32, far from the origin",
        lambda pair: 1.0 if pair.offset > 100 else 0.0,
    ),
    Cause(
        ("subsets",),
        ("kid",),
        "the mean over random subsets, which moves with their seed and size",
        lambda _: 1e-3,
    ),
    Cause(
        ("torch-fidelity", "torchmetrics"),
        ("is",),
        "a class of probability 0 in all images: 0 log 0 is NaN there",
        lambda pair: math.inf if pair.impossible else 0.0,
    ),
)


def cause_of(peer: str, metric: str, pair: Pair, difference: float) -> str:
    """The cause of a relative difference, or UNEXPLAINED."""
    causes = (cause.why for cause in CAUSES if cause.explains(peer, metric, pair, difference))
    return next(causes, "UNEXPLAINED")


def rows(pair: Pair, peers: list[Peer]) -> Iterator[tuple[str, str]]:
    """One line per value of a peer, with the cause of a difference."""
    values = ours(pair)
    for peer in peers:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = peer.measure(pair.to(peer.dtype))
        for metric, value in theirs.items():
            difference = abs(value - values[metric]) / pair.scales.get(metric, 1.0)
            if math.isnan(difference):
                difference = math.inf
            cause = cause_of(peer.name, metric, pair, difference) if difference > TOLERANCE else ""
            line = (
                f"{pair.name:15} {peer.name:23} {metric:9} {values[metric]:13.7g} {value:13.7g} "
                f"{difference:7.1e}  {cause}"
            )
            yield line, cause


def main() -> None:
    """Prints the table; fails where a difference has no known cause."""
    torch.set_num_threads(1)
    here = [peer for peer in PEERS if find_spec(peer.module)]
    for peer in PEERS:
        if peer not in here:
            print(f"{peer.name}: not installed")
    print(f"{'features':15} {'peer':23} {'value':9} {'ours':>13} {'theirs':>13} {'off':>7}  cause")
    causes: Counter[str] = Counter()
    for pair in pairs():
        for line, cause in rows(pair, here):
            print(line.rstrip(), flush=True)
            causes[cause] += 1
    print(f"\n{causes.pop('', 0)} values agree within {TOLERANCE}; the others:")
    for cause, count in causes.most_common():
        print(f"{count:4} {cause}")
    sys.exit("differences without a known cause" if causes["UNEXPLAINED"] else 0)


if __name__ == "__main__":
    main()

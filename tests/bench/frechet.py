"""Time of the Frechet distance from means and covariances, compared with torchmetrics.

`python -m tests.bench.frechet` computes the statistics of 10,000 seeded features in 2,048
dimensions with standard deviations over two decades, and their distance with `frechet_from_moments`
(pivoted Cholesky, singular values) and with torchmetrics (eigenvalues of the product), in
alternation, in one process with one thread. Prints torchmetrics' time / this project's time, and
the error of both against the distance from the features: for covariances of full rank, and for
singular ones of 1,000 features.
"""

import argparse
from functools import partial

import torch
from torch import Tensor

from evaluation.measuring.moments import covariance, frechet_parts, total_variance
from evaluation.measuring.published_statistics import frechet_from_moments
from tests.bench.turns import milliseconds, ratio, take


def features(n: int, d: int, seed: int) -> Tensor:
    """(n, d) float64, correlated."""
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mix = mix / d**0.5 + torch.eye(d, dtype=torch.float64)
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=rng, dtype=torch.float64)
    return x * torch.logspace(0, -2, d, dtype=torch.float64) @ mix + 0.01 * seed


def main() -> None:
    """Prints two lines per number of features."""
    from torchmetrics.image.fid import _compute_fid  # after evaluation, which patches torchvision

    parser = argparse.ArgumentParser(prog="python -m tests.bench.frechet", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="turns of each (default: 5)")
    parser.add_argument("--dimensions", type=int, default=2048, help="default: 2048")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    d = arguments.dimensions
    for n in (5 * d, d // 2):
        x, y = features(n, d, 1), features(n, d, 2)
        statistics = (x.mean(0), covariance(x), y.mean(0), covariance(y))
        spent = take(
            {
                "torchmetrics": partial(_compute_fid, *statistics),
                "ours": partial(frechet_from_moments, *statistics),
            },
            arguments.rounds,
        )
        exact, scale = sum(frechet_parts(x, y)), total_variance(x)
        theirs = abs(_compute_fid(*statistics).item() - exact) / scale
        ours = abs(sum(frechet_from_moments(*statistics)) - exact) / scale
        print(
            f"{n} features in {d} dimensions: torchmetrics / ours "
            f"{ratio(spent['torchmetrics'], spent['ours'])}; ours {milliseconds(spent['ours'], 1)}"
        )
        print(f"  error / total variance: torchmetrics {theirs:.1e}, ours {ours:.1e}", flush=True)


if __name__ == "__main__":
    main()

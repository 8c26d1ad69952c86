"""Peak memory of distances of two sets of 50,000 x 2,048 float32 features.

`python -m tests.bench.feature_memory` measures the Frechet distance of two tensors in memory
(800 MB) and of two streams of batches, and MIND and the linear classifier of two tensors, each in a
new process with one thread; the limit is 2 GiB. All features in float64 would need 1.6 GB more, and
twice that while they are centred. `all` adds the kernel distance and the nearest neighbours of
precision, recall, density and coverage, whose time is quadratic in the number of images: half an
hour.
"""

import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import torch
from torch import Tensor

from evaluation.measuring.moments import Moments, frechet_parts
from evaluation.measuring.overlap import overlap
from evaluation.metrics.c2st import two_sample_test
from evaluation.metrics.kid import kernel_distance
from evaluation.metrics.mind import sliced_distance
from tests.bench.limits import verdict
from tests.bench.memory import peak

NUM, FEATURES, BATCH = 50_000, 2048, 500
LIMIT = 2 * 2**30


def features(num: int, rng: torch.Generator) -> Tensor:
    """(num, 2048) float32, positive like the features of a network."""
    return torch.rand(num, FEATURES, generator=rng)


def tensors() -> tuple[Tensor, Tensor]:
    """Two sets in memory."""
    rng = generator()
    return features(NUM, rng), features(NUM, rng)


def generator() -> torch.Generator:
    """The generator of the features, in a process with one thread."""
    torch.set_num_threads(1)
    return torch.Generator().manual_seed(0)


def frechet() -> None:
    """The Frechet distance of two tensors."""
    frechet_parts(*tensors())


def frechet_in_batches() -> None:
    """The moments of two streams."""
    rng = generator()
    for _ in range(2):
        moments = Moments(FEATURES)
        for _ in range(NUM // BATCH):
            moments.update(features(BATCH, rng))
        moments.mean_and_root()


def mind() -> None:
    """MIND of two tensors."""
    sliced_distance(*tensors(), seed=0)


def c2st() -> None:
    """The linear classifier (C2ST) of two tensors, on random rows."""
    two_sample_test(*tensors(), seed=0)


def kid() -> None:
    """KID of two tensors."""
    kernel_distance(*tensors())


def neighbours() -> None:
    """The nearest neighbours of two tensors with 16 intrinsic dimensions."""
    rng = generator()
    mixing = torch.randn(16, FEATURES, generator=rng)
    sides = (torch.empty(NUM, FEATURES), torch.empty(NUM, FEATURES))
    for side in sides:
        for rows in side.split(BATCH):
            rows.copy_((torch.randn(BATCH, 16, generator=rng) @ mixing).relu_())
    overlap(*sides)


def main() -> None:
    """Prints one line per computation."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as fresh:
        more = (kid, neighbours) if sys.argv[1:] == ["all"] else ()
        for work in (frechet, frechet_in_batches, mind, c2st, *more):
            start = time.perf_counter()
            peak_bytes = fresh.submit(peak, work).result()
            print(
                f"{work.__name__}: {peak_bytes / 2**30:.2f} GiB of {LIMIT / 2**30:.0f} "
                f"in {time.perf_counter() - start:.0f} s, {verdict(peak_bytes, LIMIT)}",
                flush=True,
            )


if __name__ == "__main__":
    main()

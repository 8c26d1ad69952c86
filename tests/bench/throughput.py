"""Throughput of the loop, compared with a minimal loop: same network, batches, optimiser.

`python -m tests.bench.throughput` trains the selected models of params.yaml (or the models in the
arguments) with both loops, in alternation, a few steps at a time, in one process with one thread,
and prints the ratio of their speeds. Then it repeats the project's loop beside two busy processes,
because the speed must not collapse on an oversubscribed machine. Use the ratios, because absolute
times vary on a shared machine.
"""

import argparse
import itertools
import multiprocessing
import os
import time

import torch

from genmodels.base.model import GenerativeModel, Images
from genmodels.base.seeding import generator
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training.loop import LoopSettings, Trainer
from pipelines.settings import params
from pipelines.training.workers import num_cores
from tests.bench.data import NUM_CLASSES, digits
from tests.bench.turns import Turn, ratio, steps_of, take

STEPS = 5


def model_of(name: str, images: Images) -> GenerativeModel:
    """A model of params.yaml before `initialise`."""
    return build(params.load().models[name], ImageShape(*images.x.shape[1:]), NUM_CLASSES)


def ours(name: str, images: Images) -> Turn:
    """A few steps of the project's loop."""
    settings = LoopSettings(0, "fp32", 1, 1)
    return steps_of(Trainer(model_of(name, images), images, images.at(slice(16)), settings), STEPS)


def bare(name: str, images: Images) -> Turn:
    """A few steps of a minimal loop without checks, EMA and history."""
    model = model_of(name, images)
    model.initialise(generator(0, "weights"), images)
    config = model.config
    optimizers = [
        torch.optim.AdamW(
            phase.parameters, lr=1e-4, betas=config.betas_at(0), weight_decay=0.0, fused=True
        )
        for phase in model.phases()
    ]
    phases = list(zip(model.phases(), optimizers, strict=True))
    rng = torch.Generator().manual_seed(0)
    numbers = itertools.count()
    model.train()

    def update(step: int) -> None:
        for phase, optimizer in phases:
            model.requires_grad_(False)
            for parameter in phase.parameters:
                parameter.requires_grad_(True)
            for _ in range(phase.repeats):
                chosen = torch.randint(len(images.x), (config.batch_size,), generator=rng)
                x, y = images.at(chosen)
                labels = y if model.conditional else None
                optimizer.zero_grad()
                terms = model.training_step(x, labels, phase.name, step, rng)
                terms["loss"].backward(inputs=list(phase.parameters))
                optimizer.step()
                model.after_update(phase.name)

    def turn() -> None:
        for _ in range(STEPS):
            update(next(numbers))

    return turn


def spin() -> None:
    """Keeps one core busy."""
    while True:
        pass


def seconds(turn: Turn, turns: int) -> float:
    """The times of a few turns, in seconds."""
    start = time.perf_counter()
    for _ in range(turns):
        turn()
    return time.perf_counter() - start


def main() -> None:
    """Prints one line per model."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.throughput", description=__doc__)
    parser.add_argument("models", nargs="*", help="of params.yaml (default: the selected ones)")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: 15)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = digits(3000)
    for name in arguments.models or params.load().trained:
        spent = take({"loop": ours(name, images), "bare": bare(name, images)}, arguments.rounds)
        print(f"{name}: loop / bare loop {ratio(spent['bare'], spent['loop'])}", flush=True)
    for threads in (1, num_cores()):
        torch.set_num_threads(threads)
        loop = ours("vae", images)
        loop()
        alone = seconds(loop, arguments.rounds)
        busy = [multiprocessing.Process(target=spin, daemon=True) for _ in range(num_cores())]
        for process in busy:
            process.start()
        beside = seconds(loop, arguments.rounds)
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

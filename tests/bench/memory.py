"""Peak memory of a training on all of MNIST, per model in a new process; the limit is 1.5 GiB.

`GENMODELS_DATA_ROOT=<folder that holds MNIST> python -m tests.bench.memory` prepares the data set
in a temporary folder (torchvision downloads it if it is missing), then trains the selected models
of params.yaml, or the models in the arguments, like stage `train`: data, steps, validation on
12,000 images, checkpoint, snapshots.
"""

import argparse
import multiprocessing
import resource
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch

from pipelines import prepare
from pipelines.settings import params
from pipelines.settings.errors import exit_on_user_error
from pipelines.training.one_run import Training, fit, write_seed
from tests.bench.limits import verdict

LIMIT = 1.5 * 2**30


def prepare_mnist(folder: Path) -> None:
    """Section `prepare` of params.yaml, with another data set."""
    whole = {"dataset": "mnist", "max_images": None}
    prepare.make(params.load().prepare.model_copy(update=whole), folder)


def train(name: str, prepared: Path, folder: Path, steps: int) -> None:
    """One training, like in a worker process of the stage."""
    settings = params.load()
    torch.set_num_threads(settings.train.threads)
    entry = {**settings.models[name], "num_steps": steps}
    checkpoint = folder / "checkpoint.pt"
    training = Training(name, entry, 0, settings.train, prepared, folder, checkpoint, name)
    trainer, _ = fit(training, "cpu", lambda _: None)
    write_seed(folder, training, trainer)


def peak(work: Callable[..., None], *args: Any) -> float:
    """Peak memory in bytes of this process after some work; call it in a new process."""
    work(*args)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


@exit_on_user_error
def main() -> None:
    """Prints one line per model."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.memory", description=__doc__)
    parser.add_argument("models", nargs="*", help="of params.yaml (default: the selected ones)")
    parser.add_argument("--steps", type=int, default=100, help="of each (default: 100)")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as temporary,
        ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as fresh,
    ):
        prepared = Path(temporary, "prepare")
        largest = fresh.submit(peak, prepare_mnist, prepared).result()
        print(f"prepare: {largest / 2**30:.2f} GiB")
        for name in arguments.models or params.load().trained:
            folder = Path(temporary, name)
            folder.mkdir()
            peak_bytes = fresh.submit(peak, train, name, prepared, folder, arguments.steps).result()
            print(f"{name}: {peak_bytes / 2**30:.2f} GiB of {LIMIT / 2**30}", flush=True)
            largest = max(largest, peak_bytes)
    print(f"peak: {largest / 2**30:.2f} GiB, {verdict(largest, LIMIT)}")


if __name__ == "__main__":
    main()

"""Long studies beside the pipeline: many models, some seeds each, resumable.

A study is a list of jobs, one a row and seed. Each runs in a process of its own: it trains, or
takes what has been trained with the same settings, then it measures. A job leaves
`outputs/studies/<study>/<row>/<seed>/`: the files of a training, `trained.json` and `result.json`.

A job is done again where its settings or its data have changed, not where the code has: hours of
work should not be lost to a change that decides nothing. The result holds a hash of the code
instead, and pages say which results another version has made; `--force` does them anew. Where rows
decide something between them, `code_counts`: results of two versions do not compare.
"""

import argparse
import functools
import json
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from genmodels.training.cost import multiply_adds_sample, multiply_adds_train, num_parameters
from genmodels.training.loop import LoopSettings
from pipelines.data.prepared import Prepared
from pipelines.settings import command_line, files, paths
from pipelines.settings.sections import Train
from pipelines.study_measures import Measures, measure
from pipelines.training import fingerprint, workers
from pipelines.training.one_run import Started, Trained, fit, load_images, write_seed
from pipelines.training.weights import read_model

#: Seconds between two lines where there is no terminal.
SECONDS_BETWEEN_LINES = 30.0


@dataclass(frozen=True)
class Job:
    """One row with one seed.

    Attributes:
        study: The study's name, a folder of outputs/studies/.
        row: The row's name.
        seed: The training seed.
        entry: The model's settings, complete.
        train: Section `train`.
        data: What it is trained and measured on.
        measures: What is measured.
        code: Hash of the code that is running, as `code_version` makes it.
        taken: A folder with the same training, done elsewhere; None to train.
        split: What it is measured on: `valid` where the result chooses anything.
        may_diverge: Whether a loss that is not finite is a result, `diverged`, and no error.
        code_counts: Whether what other code has trained is done again.
    """

    study: str
    row: str
    seed: int
    entry: dict[str, Any]
    train: Train
    data: Prepared
    measures: Measures
    code: str
    taken: Path | None = None
    split: Literal["valid", "test"] = "test"
    may_diverge: bool = False
    code_counts: bool = False

    @property
    def folder(self) -> Path:
        """Where its files go."""
        return paths.STUDIES / self.study / self.row / str(self.seed)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.row} seed {self.seed}"

    @functools.cached_property
    def training(self) -> str:
        """Hash of the settings and the data that a training depends on."""
        loop = self.train.model_dump(exclude={"device", "threads"})
        content = self.data.content["splits"]
        data = {split: content[split] for split in ("train", "valid")}
        return fingerprint.digest(
            {"entry": self.entry, "seed": self.seed, "train": loop, "data": data}
        )

    @functools.cached_property
    def settings(self) -> str:
        """Hash of all settings and data that the result depends on."""
        measured: dict[str, Any] = {
            "measures": self.measures.model_dump(),
            "data": self.data.content,
        }
        if self.split != "test":  # left out where it is: results are older than the choice
            measured["split"] = self.split
        return fingerprint.digest({"training": self.training, **measured})

    @property
    def checkpoint(self) -> Path:
        """Its resumable state; of other code it is another one."""
        return paths.CHECKPOINTS / fingerprint.digest([self.training, self.code]) / "checkpoint.pt"

    def result(self) -> dict[str, Any] | None:
        """What it has found, with these settings; None where it is to be done."""
        return self._found("result.json", "settings")

    def trained(self) -> dict[str, Any] | None:
        """What is told of its training, with these settings; None where it is to be done."""
        return self._found("trained.json", "training")

    def _found(self, file: str, key: str) -> dict[str, Any] | None:
        found = _read(self.folder / file)
        if found is None or found[key] != getattr(self, key):
            return None
        return found if found["code"] == self.code or not self.code_counts else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # not there, or not whole: as good as not there
        return None
    return found


def run(
    jobs: Sequence[Job], *, force: bool = False, at_once: int | None = None
) -> dict[str, dict[int, dict[str, Any]]]:
    """Does what is left to do of a study.

    Args:
        jobs: All of it.
        force: Do everything anew.
        at_once: Processes at most; None for as many as there are cores.

    Returns:
        The results by row and seed, those of earlier runs included.

    Raises:
        UserError: A training failed. What is finished is kept, and the rest is resumed next time.
    """
    if force:
        for job in jobs:
            shutil.rmtree(job.folder, ignore_errors=True)
    waiting = [index for index, job in enumerate(jobs) if job.result() is None]
    if waiting:
        train = jobs[0].train
        device = workers.choose_device(train.device)
        with _Board(jobs, waiting) as board:
            workers.run(
                functools.partial(_do, jobs, device),
                waiting,
                device=device,
                threads=train.threads,
                handle=board.handle,
                at_once=at_once,
                label=lambda index: jobs[index].name,
            )
    results: dict[str, dict[int, dict[str, Any]]] = {}
    for job in jobs:
        found = job.result()
        assert found is not None  # it was there or has been made now
        results.setdefault(job.row, {})[job.seed] = found
    return results


def _do(jobs: Sequence[Job], device: str, index: int, send: workers.Send) -> None:
    job = jobs[index]
    identity = {"study": job.study, "row": job.row, "seed": job.seed, "settings": job.settings}
    try:
        found = identity | _measured(job, device, send)
    except FloatingPointError as error:
        if not job.may_diverge:
            raise
        found = identity | {"code": job.code, "values": {}, "diverged": str(error)}
    files.write_json(job.folder / "result.json", found)
    # Only now: until then it may be the only copy of a finished training.
    shutil.rmtree(job.checkpoint.parent, ignore_errors=True)
    send(_Done())


def _measured(job: Job, device: str, send: workers.Send) -> dict[str, Any]:
    """Trains, or takes what is trained, and measures."""
    trained = job.trained() or (_take(job) if job.taken else _train(job, device, send))
    start, cpu = time.monotonic(), time.process_time()
    model = read_model(job.folder, "--force", device)
    extracted = job.data.extracted()
    real = job.data.real(extracted, job.split)
    values = measure(
        model, job.entry, job.measures, real, extracted.extractors, job.seed, _Measuring(send)
    )
    return {
        "code": trained["code"],
        "values": values,
        "observation": getattr(model, "observation", None),
        "family": model.family,
        "cost": {
            "num_parameters": num_parameters(model),
            "multiply_adds_sample": multiply_adds_sample(model),
            "multiply_adds_train": multiply_adds_train(model),
        },
        "timing": trained["timing"],
        "measuring": {
            "seconds": time.monotonic() - start,
            "cpu_seconds": time.process_time() - cpu,
        },
    }


def _train(job: Job, device: str, send: workers.Send) -> dict[str, Any]:
    data = load_images(device, job.data.folder)
    train = job.train
    loop = LoopSettings(job.seed, train.precision, train.num_snapshots, train.snapshot_images)
    trainer, timing = fit(job.entry, data, loop, job.checkpoint, device, send, job.name)
    trained = {"training": job.training, "code": job.code, "timing": timing}
    with files.new_folder(job.folder) as folder:
        write_seed(folder, job.row, job.entry, job.train, trainer)
        files.write_json(folder / "trained.json", trained)
    return trained


def _take(job: Job) -> dict[str, Any]:
    """Copies a training of the pipeline's, which has its timing in a file of its own."""
    assert job.taken is not None
    timings = _read(paths.TIMING / "train" / f"{job.row}.json") or {}
    timing = timings.get(str(job.seed))
    trained = {"training": job.training, "code": job.code, "timing": timing}
    with files.new_folder(job.folder) as folder:
        shutil.copytree(job.taken, folder, dirs_exist_ok=True)
        files.write_json(folder / "trained.json", trained)
    return trained


@dataclass(frozen=True)
class _Measures:
    """A worker has begun to measure this."""

    name: str


@dataclass(frozen=True)
class _Done:
    """A worker has written its result."""


class _Measuring:
    def __init__(self, send: workers.Send) -> None:
        self.send = send

    def __call__(self, name: str) -> None:
        self.send(_Measures(name))


@dataclass
class _Board:
    """The progress of a whole study: one bar in a terminal, a line now and then elsewhere."""

    jobs: Sequence[Job]
    waiting: Iterable[int]
    states: dict[int, str] = field(default_factory=dict)
    done: dict[int, int] = field(default_factory=dict)

    def __enter__(self) -> "_Board":
        self.total = sum(self._steps(index) for index in self.waiting)
        self.left = len(list(self.waiting))
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(
            desc=self.jobs[0].study,
            total=self.total,
            unit="step",
            disable=not self.terminal,
            dynamic_ncols=True,
        )
        self.said = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def _steps(self, index: int) -> int:
        steps: int = self.jobs[index].entry["num_steps"]
        return steps

    def handle(self, index: int, message: Any) -> None:
        """Takes a worker's message."""
        job, steps = self.jobs[index], self._steps(index)
        if isinstance(message, Started):
            self._reach(index, message.step)
            if message.step:
                self._say(f"{job.study}: {job.name}: resumed at step {message.step:,}")
        elif isinstance(message, Trained):
            self._reach(index, message.step)
            percent = 100 * message.step / steps
            self.states[index] = f"{job.name} {percent:.0f} % (loss {message.loss:.4g})"
        elif isinstance(message, _Measures):
            self._reach(index, steps)
            self.states[index] = f"{job.name} {message.name}"
        elif isinstance(message, _Done):
            self._reach(index, steps)
            self.states.pop(index, None)
            self.left -= 1
            self._say(f"{job.study}: {job.name}: done, {self.left} left")
        self._show()

    def _reach(self, index: int, step: int) -> None:
        self.bar.update(step - self.done.get(index, 0))
        self.done[index] = step

    def _show(self) -> None:
        shown = "; ".join(self.states.values())
        if self.terminal:
            self.bar.set_postfix_str(shown, refresh=False)
        elif time.monotonic() - self.said >= SECONDS_BETWEEN_LINES:
            done = sum(self.done.values())
            self._say(f"{self.jobs[0].study}: {100 * done / self.total:.0f} %; {shown}")

    def _say(self, line: str) -> None:
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()
        self.said = time.monotonic()


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of every command that runs a study."""
    cores = "processes at once on a CPU; by default as many as there are cores"
    parser.add_argument("--jobs", type=command_line.whole_number(1), metavar="N", help=cores)
    parser.add_argument("--force", action="store_true", help="do everything anew")

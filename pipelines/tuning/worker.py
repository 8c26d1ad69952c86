"""Workers of a study: processes that take trials until the budget is used up.

One that is killed is replaced and its trial goes on from its checkpoint, where the seeds of a stage
fail together (`training.workers`). One that fails by a mistake of the user's ends the study.
"""

import multiprocessing
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import optuna
import torch
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import Trial, TrialState

from pipelines.settings.errors import UserError
from pipelines.training import workers
from pipelines.tuning import space as tune_space
from pipelines.tuning import storage as tune_storage
from pipelines.tuning.storage import Storage
from pipelines.tuning.study import PRUNED, Study
from pipelines.tuning.trial import Bench, Outcome, Run, Watcher

#: Workers that may be lost to a study before it gives up.
MOST_LOST = 20
#: Attributes that a trial does not share with one of the same settings: it costs nothing.
_OWN = {"owner", "first", "attempt", "is_start", "steps", "seconds", "cpu_seconds"}


@dataclass(frozen=True)
class Begun:
    """A worker has begun a trial."""

    number: int


@dataclass(frozen=True)
class Ended:
    """A worker has ended a trial: number, state, values as far as there are any, and why not."""

    number: int
    state: str
    values: tuple[float, ...]
    reason: str | None


@dataclass(frozen=True)
class _Failed:
    """What stopped a worker, in one line."""

    reason: str


class _Reports(Watcher):
    """Tells Optuna, whose pruner says whether the trial is given up."""

    def __init__(self, storage: Storage, trial: Trial) -> None:
        self.storage, self.trial = storage, trial

    def report(self, value: float, step: int) -> bool:
        self.trial.report(value, step)
        # Asked of every trial: halving compares with what it was asked about before.
        is_behind = self.trial.should_prune()
        complete = sum(trial.state == TrialState.COMPLETE for trial in self.storage.trials)
        return is_behind and complete >= self.storage.study.settings.pruner.startup_trials


def work(
    study: Study,
    url: str,
    device: str,
    deadline: float | None,
    send: workers.Send,
    grace: int = tune_storage.GRACE,
) -> None:
    """Runs trials, one after another, in this process.

    Args:
        study: The study, which is in the storage.
        url: The storage.
        device: `cpu` or `cuda`.
        deadline: The `time.time()` after which no trial is begun; None for none.
        send: Receives `Begun`, `Trained` and `Ended`.
        grace: Seconds after its last heartbeat until a trial is taken for lost.
    """
    storage = tune_storage.join(study, url, grace)
    storage.inner.pruner = _pruner(study)
    bench = Bench.load(study, device)
    while deadline is None or time.time() < deadline:
        trial = storage.next_trial()
        if trial is None:
            break
        send(Begun(trial.number))
        with storage.heartbeat(trial):
            try:
                ended = _one(storage, bench, trial, send)
            except UpdateFinishedTrialError:  # this machine slept, and another one has taken over
                ended = Ended(trial.number, "FAIL", (), "was taken for lost and is tried again")
        send(ended)
    storage.close()


def _pruner(study: Study) -> optuna.pruners.BasePruner:
    """Of the whole study: how many trials come first `_Reports` counts."""
    settings = study.settings
    if settings.pruner.name == "halving":
        first = settings.num_steps // settings.pruner.parts
        return optuna.pruners.SuccessiveHalvingPruner(first, reduction_factor=2)
    if settings.pruner.name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=1)
    return optuna.pruners.NopPruner()


def _one(storage: Storage, bench: Bench, trial: Trial, send: workers.Send) -> Ended:
    study, start = bench.study, time.monotonic()
    first = tune_storage.first_number(trial)
    run, outcome, reason = None, Outcome(), None
    try:
        values = tune_space.suggest(trial, study.settings.space, study.base)
        trial.set_user_attr("settings", values)
        if (same := _same(storage, trial)) is not None:
            return _repeat(storage, trial, same)
        run = Run(bench, study.entry(values), first, _Reports(storage, trial))
        outcome = run.outcome
        run(send)
        reason = outcome.stopped
    except (ValueError, FloatingPointError, RuntimeError, MemoryError) as error:
        reason = _told(error)
    missing = [name for name in study.values if outcome.values.get(name) is None]
    if reason is None and missing:
        reason = f"{missing[0]} has no value"
    excess = outcome.excess(study)
    for name, value in excess.items():
        trial.set_constraint(name, value)
    told = outcome.attributes() | {"reason": reason} if reason else outcome.attributes()
    told["feasible"] = all(value <= 0 for value in excess.values())
    told["seconds"] = {**outcome.seconds, "all": time.monotonic() - start}
    for key, value in told.items():
        trial.set_user_attr(key, value)
    state = TrialState.COMPLETE
    if reason is not None:
        state = TrialState.PRUNED if outcome.stopped else TrialState.FAIL
    found = [float(outcome.values[name] or 0.0) for name in study.values] if not reason else None
    storage.inner.tell(trial, found, state=state, skip_if_finished=True)
    if run is not None:
        shutil.rmtree(run.checkpoint.parent, ignore_errors=True)
    if reason == PRUNED:
        reason = f"after {outcome.steps:,} of {study.settings.num_steps:,} steps"
    return Ended(trial.number, state.name, tuple(found or ()), reason)


def _told(error: Exception) -> str:
    """Why a trial has failed; what no setting of it can have caused is raised again."""
    if isinstance(error, ValueError | FloatingPointError):
        return str(error)
    if not workers.is_out_of_memory(error):
        raise error
    return "out of memory"


def _same(storage: Storage, trial: Trial) -> optuna.trial.FrozenTrial | None:
    """A finished trial of the same settings: a space of choices meets a point again."""
    for other in storage.trials:
        if other.state == TrialState.COMPLETE and other.params == trial.params:
            return other
    return None


def _repeat(storage: Storage, trial: Trial, same: optuna.trial.FrozenTrial) -> Ended:
    """Ends a trial with the values of another one, since equal settings give equal values."""
    for key, value in same.user_attrs.items():
        if key not in _OWN:
            trial.set_user_attr(key, value)
    for key, value in same.constraints.items():
        trial.set_constraint(key, value)
    trial.set_user_attr("same_as", same.number)
    storage.inner.tell(trial, same.values, skip_if_finished=True)
    return Ended(trial.number, "COMPLETE", tuple(same.values), f"as trial {same.number}")


def _process(
    study: Study,
    url: str,
    device: str,
    threads: int,
    deadline: float | None,
    grace: int,
    connection: Connection,
) -> None:
    workers.die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(threads)
    try:
        with tune_storage.lost(url):
            work(study, url, device, deadline, connection.send, grace)
    except UserError as error:
        with suppress(BrokenPipeError):
            connection.send(_Failed(str(error)))
    except Exception:  # a bug of ours: the traceback is worth more here than in the parent
        traceback.print_exc()
        raise SystemExit(1) from None


def run(
    storage: Storage,
    url: str,
    num_workers: int,
    device: str,
    deadline: float | None,
    handle: Callable[[int, Any], None],
) -> None:
    """Runs trials in processes side by side, until the budget or the time is used up.

    Args:
        storage: The study in its storage.
        url: The storage's address.
        num_workers: How many processes; the cores are shared out among them.
        device: `cpu` or `cuda`.
        deadline: The `time.time()` after which no trial is begun; None for none.
        handle: Receives (worker, message).

    Raises:
        UserError: A worker failed, or too many were lost.
    """
    # Spawned: optuna's and torch's threads and connections do not survive a fork.
    context = multiprocessing.get_context("spawn")
    threads = threads_of(num_workers)
    running: dict[Connection, tuple[int, BaseProcess]] = {}

    def start(index: int) -> None:
        ours, theirs = context.Pipe(duplex=False)
        given = (storage.study, url, device, threads, deadline, storage.grace, theirs)
        process = context.Process(target=_process, args=given)
        # Ctrl-C while it still imports would end it with a traceback: it never sees the signal.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()
        running[ours] = (index, process)

    lost = 0
    try:
        for index in range(num_workers):
            start(index)
        while running:
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                index, process = running[connection]
                try:
                    message = connection.recv()
                except (EOFError, OSError):
                    del running[connection]
                    process.join()
                    if process.exitcode:
                        lost += 1
                        _check_ending(process.exitcode, lost)
                        start(index)
                    continue
                if isinstance(message, _Failed):
                    raise UserError(message.reason)
                handle(index, message)
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
        storage.reap()


def threads_of(num_workers: int) -> int:
    """Torch's threads in each of so many workers: two processes of two on two cores collapse."""
    return max(1, workers.num_cores() // num_workers)


def default_workers(device: str) -> int:
    """How many workers share a device: one a core, but one a GPU, whose memory is one trial's."""
    return workers.num_cores() if device == "cpu" else 1


def _check_ending(exitcode: int, lost: int) -> None:
    if exitcode > 0:
        raise UserError(f"a worker ended with exit code {exitcode}; its traceback stands above")
    if lost > MOST_LOST:
        name = signal.Signals(-exitcode).name
        raise UserError(f"{lost} workers were lost, the last by {name}: is there memory enough?")

"""Workers of a study: processes that run trials until none is missing.

A worker that is killed is replaced, and its trial continues from its checkpoint. A worker that
fails ends the study.
"""

import functools
import os
import shutil
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import FrozenTrial, Trial, TrialState

from pipelines.training import workers
from pipelines.tuning import space
from pipelines.tuning import storage as tune_storage
from pipelines.tuning.storage import Storage
from pipelines.tuning.study import PRUNED, Study
from pipelines.tuning.trial import Bench, Outcome, Run

#: Number of killed workers that a command replaces.
MOST_REPLACEMENTS = 20


@dataclass(frozen=True)
class TrialStarted:
    """A worker has started a trial."""

    number: int


@dataclass(frozen=True)
class TrialEnded:
    """A worker has ended a trial: its state, its objectives, and the reason where it has none."""

    number: int
    state: str
    values: tuple[float, ...] = ()
    reason: str | None = None


def search(
    storage: Storage,
    url: str,
    num_workers: int,
    device: str,
    deadline: float | None,
    handle: Callable[[int, Any], None],
) -> None:
    """Runs trials in processes side by side, until none is missing or the time is over.

    Args:
        storage: The study.
        url: Its storage.
        num_workers: Number of processes, which share the cores.
        device: `cpu` or `cuda`.
        deadline: The `time.time()` after which no trial is started; None = no limit.
        handle: Receives (worker, message).

    Raises:
        UserError: A worker failed, or too many were killed.
    """
    command = uuid.uuid4().hex
    grace = storage.database.grace_period or tune_storage.GRACE
    try:
        workers.run(
            functools.partial(work, storage.study, url, device, grace, deadline, command),
            range(num_workers),
            device=device,
            threads=threads_of(num_workers),
            handle=handle,
            at_once=num_workers,
            label="worker {}".format,
            replacements=MOST_REPLACEMENTS,
        )
    finally:
        storage.release(command)


def threads_of(num_workers: int) -> int:
    """Torch's threads in each worker: processes times threads do not exceed the cores."""
    return max(1, workers.num_cores() // num_workers)


def default_workers(device: str) -> int:
    """One worker per core, or one per GPU, whose memory holds one trial."""
    return workers.num_cores() if device == "cpu" else 1


def work(
    study: Study,
    url: str,
    device: str,
    grace: int,
    deadline: float | None,
    command: str,
    worker: int,
    send: workers.Send,
) -> None:
    """Runs trials, one after another, in this process.

    Args:
        study: The study.
        url: Its storage.
        device: `cpu` or `cuda`.
        grace: Heartbeat timeout in seconds.
        deadline: The `time.time()` after which no trial is started; None = no limit.
        command: Identifies the command that this worker belongs to.
        worker: The worker's number; a replacement has the number of the worker that was killed.
        send: Receives `TrialStarted`, `StepDone` and `TrialEnded`.
    """
    owner = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "command": command,
        "worker": worker,
    }
    with tune_storage.one_line_errors(url):
        storage = tune_storage.open_study(study, url, grace)
        storage.release(command, worker)
        storage.inner.pruner = _pruner(study)
        bench = Bench.load(study, device)
        while deadline is None or time.time() < deadline:
            trial = storage.start_trial(owner)
            if trial is None:
                break
            send(TrialStarted(trial.number))
            with get_heartbeat_thread(trial._trial_id, storage.database):
                try:
                    end = _run(storage, bench, trial, send)
                except UpdateFinishedTrialError:  # as after a suspend: it is in the queue again
                    end = TrialEnded(trial.number, "FAIL", reason="no heartbeat: is retried")
            send(end)
        storage.close()


def _pruner(study: Study) -> optuna.pruners.BasePruner:
    """The pruner; `_report` counts the finished trials before pruning starts."""
    settings = study.settings
    if settings.pruner.name == "halving":
        first = settings.num_steps // settings.pruner.parts
        return optuna.pruners.SuccessiveHalvingPruner(first, reduction_factor=2)
    if settings.pruner.name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=1)
    return optuna.pruners.NopPruner()


def _report(storage: Storage, trial: Trial, value: float, step: int) -> bool:
    """Reports an intermediate value; returns whether the trial is to be pruned."""
    trial.report(value, step)
    # Called in every trial: halving compares with the values for which it was called.
    is_behind = trial.should_prune()
    complete = sum(other.state == TrialState.COMPLETE for other in storage.trials)
    return is_behind and complete >= storage.study.settings.pruner.startup_trials


def _run(storage: Storage, bench: Bench, trial: Trial, send: workers.Send) -> TrialEnded:
    """Runs one trial and writes down its end."""
    study, start = bench.study, time.monotonic()
    run, outcome, reason = None, Outcome(), None
    try:
        values = space.suggest(trial, study.settings.space, study.base)
        trial.set_user_attr("settings", values)
        if (same := _finished_with(storage, trial)) is not None:
            return _repeat(storage, trial, same)
        frozen = storage.database.get_trial(trial._trial_id)
        report = functools.partial(_report, storage, trial)
        run = Run(bench, study.entry(values), tune_storage.first_number(frozen), report)
        outcome = run.outcome
        run(send)
        reason = outcome.stopped
    except (ValueError, FloatingPointError, RuntimeError, MemoryError) as error:
        reason = _reason(error)
    missing = [name for name in study.values if outcome.values.get(name) is None]
    if reason is None and missing:
        reason = f"{missing[0]} has no value"
    excess = outcome.excess(study)
    for name, value in excess.items():
        trial.set_constraint(name, value)
    outcome.seconds["all"] = time.monotonic() - start
    is_feasible = all(value <= 0 for value in excess.values())
    record = outcome.as_json() | {"reason": reason, "feasible": is_feasible, "same_as": None}
    trial.set_user_attr("outcome", record)
    state, objectives = TrialState.COMPLETE, None
    if reason is not None:
        state = TrialState.PRUNED if outcome.stopped else TrialState.FAIL
    else:
        objectives = [float(outcome.values[name] or 0.0) for name in study.values]
    storage.inner.tell(trial, objectives, state=state, skip_if_finished=True)
    if run is not None:
        shutil.rmtree(run.checkpoint.parent, ignore_errors=True)
    if reason == PRUNED:
        reason = f"after {outcome.steps:,} of {study.settings.num_steps:,} steps"
    return TrialEnded(trial.number, state.name, tuple(objectives or ()), reason)


def _reason(error: Exception) -> str:
    """Why a trial failed; an error that no setting can have caused is raised again."""
    if isinstance(error, ValueError | FloatingPointError):
        return str(error)
    if not workers.is_out_of_memory(error):
        raise error
    return "out of memory"


def _finished_with(storage: Storage, trial: Trial) -> FrozenTrial | None:
    """A finished trial with the same settings: choices are drawn repeatedly."""
    for other in storage.trials:
        if other.state == TrialState.COMPLETE and other.params == trial.params:
            return other
    return None


def _repeat(storage: Storage, trial: Trial, same: FrozenTrial) -> TrialEnded:
    """Ends a trial with the values of an equal one."""
    for name, value in same.constraints.items():
        trial.set_constraint(name, value)
    without_cost = {"steps": 0, "seconds": {}, "cpu_seconds": 0.0, "same_as": same.number}
    trial.set_user_attr("outcome", {**same.user_attrs["outcome"], **without_cost})
    storage.inner.tell(trial, same.values, skip_if_finished=True)
    return TrialEnded(trial.number, "COMPLETE", tuple(same.values), f"as trial {same.number}")

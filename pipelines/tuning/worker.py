"""The search of a study: processes that run trials until none is missing.

A worker that is killed is replaced, and its trial continues from its checkpoint. A worker that
fails ends the study.
"""

import functools
import os
import shutil
import socket
import sys
import time
import uuid
from dataclasses import dataclass
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages._heartbeat import get_heartbeat_thread
from optuna.trial import Trial, TrialState

from pipelines.training import workers
from pipelines.training.one_run import StepDone
from pipelines.training.progress import Progress
from pipelines.tuning import space
from pipelines.tuning import storage as tune_storage
from pipelines.tuning.storage import Storage
from pipelines.tuning.study import PRUNED, Study
from pipelines.tuning.trial import Bench, Outcome, Run

#: Number of killed workers that a command replaces.
MOST_REPLACEMENTS = 20
SECONDS_BETWEEN_LOOKS = 2


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
    storage: Storage, url: str, num_workers: int, device: str, *, to_the_end: bool = False
) -> None:
    """Runs the missing trials of a study in processes that share the cores.

    `url` is the address of the storage, for the workers. `to_the_end` waits for trials of other
    machines and runs those that they lose.

    Raises:
        UserError: A worker failed, too many were killed, or the storage does not answer.
        KeyboardInterrupt: Ctrl-C: finished trials are kept, the others are queued again.
    """
    study, printed = storage.study, 0
    deadline = time.time() + (study.settings.seconds or float("inf"))
    while time.time() < deadline:
        if missing := storage.num_missing:
            _run_workers(storage, url, num_workers, device, deadline, missing)
        running = sum(trial.state == TrialState.RUNNING for trial in storage.trials)
        if not to_the_end or not (running or storage.num_missing):
            break
        if running not in (0, printed):
            line = f"{study.name}: waiting for {running} trials of other processes or machines"
            print(line, file=sys.stderr)
        printed = running
        storage.record_missing_heartbeats()
        time.sleep(SECONDS_BETWEEN_LOOKS if running else 0)
        storage.fail_stale_trials()


def _run_workers(
    storage: Storage, url: str, num_workers: int, device: str, deadline: float, missing: int
) -> None:
    study, command, ended = storage.study, uuid.uuid4().hex, 0
    grace = storage.database.grace_period or tune_storage.GRACE
    part = "running:"
    running: dict[int, tuple[int, str]] = {}
    with Progress(study.name, {part: missing}, "trial") as progress:

        def handle(worker: int, message: Any) -> None:
            nonlocal ended
            if isinstance(message, TrialStarted):
                running[worker] = (message.number, "")
            elif isinstance(message, StepDone):
                running[worker] = (running[worker][0], f"loss {message.loss:.4g}")
            elif isinstance(message, TrialEnded):
                ended += 1
                pairs = zip(study.values, message.values, strict=False)
                values = ", ".join(f"{name} {value:.4g}" for name, value in pairs)
                reason = f" ({message.reason})" if message.reason else ""
                result = f"{values or message.state.lower()}{reason}"
                progress.say(f"{study.name}: trial {message.number}: {result}")
                running.pop(worker)
            states = {f"trial {number}": text for number, text in running.values()}
            progress.update(part, min(ended, missing), **states)

        try:
            workers.run(
                functools.partial(work, study, url, device, grace, deadline, command),
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
    deadline: float,
    command: str,
    worker: int,
    send: workers.Send,
) -> None:
    """Runs trials, one after another, in this process.

    `grace` is the heartbeat timeout in seconds; after the `time.time()` `deadline` no trial is
    started. `command` identifies the command that this worker belongs to; a replacement has the
    number of the `worker` that was killed. `send` receives the classes above and `StepDone`.
    """
    owner = {"host": socket.gethostname(), "pid": os.getpid()}
    owner |= {"command": command, "worker": worker}
    with tune_storage.one_line_errors(url):
        storage = tune_storage.open_study(study, url, grace)
        storage.release(command, worker)
        storage.inner.pruner = _pruner(study)
        bench = Bench.load(study, device)
        while time.time() < deadline and (trial := storage.start_trial(owner)) is not None:
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
    settings = space.suggest(trial, study.settings.space, study.base)
    trial.set_user_attr("settings", settings)
    for other in storage.trials:  # choices are drawn repeatedly
        if other.state == TrialState.COMPLETE and other.params == trial.params:
            free = {"steps": 0, "seconds": {}, "cpu_seconds": 0.0, "same_as": other.number}
            record = {**other.user_attrs["outcome"], **free}
            _tell(storage, trial, record, other.constraints, TrialState.COMPLETE, other.values)
            again = f"as trial {other.number}"
            return TrialEnded(trial.number, "COMPLETE", tuple(other.values), again)
    run, reason = _train(storage, bench, trial, settings, send)
    outcome = run.outcome if run else Outcome()
    missing = [name for name in study.values if outcome.values.get(name) is None]
    if reason is None and missing:
        reason = f"{missing[0]} has no value"
    outcome.seconds["all"] = time.monotonic() - start
    excess, state, values = outcome.excess(study), TrialState.COMPLETE, None
    if reason is not None:
        state = TrialState.PRUNED if outcome.stopped else TrialState.FAIL
    else:
        values = [float(outcome.values[name] or 0.0) for name in study.values]
    is_feasible = all(value <= 0 for value in excess.values())
    record = outcome.as_json() | {"reason": reason, "feasible": is_feasible, "same_as": None}
    _tell(storage, trial, record, excess, state, values)
    if run is not None:
        shutil.rmtree(run.checkpoint.parent, ignore_errors=True)
    if reason == PRUNED:
        reason = f"after {outcome.steps:,} of {study.settings.num_steps:,} steps"
    return TrialEnded(trial.number, state.name, tuple(values or ()), reason)


def _train(
    storage: Storage, bench: Bench, trial: Trial, settings: dict[str, Any], send: workers.Send
) -> tuple[Run | None, str | None]:
    """Trains and measures; returns the run, if it began, and why it has no values."""
    run = None
    try:
        first = tune_storage.first_number(storage.database.get_trial(trial._trial_id))
        entry = bench.study.entry(settings)
        run = Run(bench, entry, first, functools.partial(_report, storage, trial))
        return run, run(send).stopped
    except (ValueError, FloatingPointError) as error:
        return run, str(error)
    except (RuntimeError, MemoryError) as error:
        if not workers.is_out_of_memory(error):  # no setting can have caused it
            raise
        return run, "out of memory"


def _tell(
    storage: Storage,
    trial: Trial,
    record: dict[str, Any],
    constraints: dict[str, float],
    state: TrialState,
    values: list[float] | None,
) -> None:
    for name, value in constraints.items():
        trial.set_constraint(name, value)
    trial.set_user_attr("outcome", record)
    storage.inner.tell(trial, values, state=state, skip_if_finished=True)

"""A study in Optuna's storage: opened, its trials started and, where they were lost, queued again.

The storage is SQLite (`optuna.db` at the root) or, for several machines, PostgreSQL. Optuna records
heartbeats, ends trials without one and queues them again. This file adds what it leaves open:
tables that two processes create at once, trials of workers that this command ended itself, and
trials whose worker was killed before its first heartbeat.
"""

import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError, UpdateFinishedTrialError
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._rdb.models import NOT_FOUND_MSG
from optuna.trial import FrozenTrial, Trial, TrialState

from genmodels.base.seeding import derive
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from pipelines.tracking.address import hide_password
from pipelines.tuning import space
from pipelines.tuning.study import Study

#: Heartbeat timeout in seconds; a trial sends three heartbeats in this time.
GRACE = 90
#: Retries of a trial that loses its worker: its settings may be the reason.
MOST_RETRIES = 3
#: Seconds that a process waits for another one that writes to SQLite or creates tables.
LOCK_TIMEOUT = 60
#: Key of PostgreSQL's advisory lock around the creation of tables.
_LOCK_KEY = 7_402_311

optuna.logging.set_verbosity(optuna.logging.ERROR)


def default_url() -> str:
    """The SQLite file of this checkout."""
    return f"sqlite:///{paths.OPTUNA_DB.absolute()}"


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        # The heartbeat of a trial is started by the worker.
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
        yield


@_without_warnings()
def first_number(trial: FrozenTrial) -> int:
    """A trial's number, or, for a retry, that of the trial that lost its worker first."""
    number = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if number is None else number


class _ByNumber(BaseSampler):
    """A sampler whose random numbers are a function of the study's seed and the trial's number.

    Several workers, and a resumed study, would otherwise draw the same points again. Trial 0 has
    the present settings.
    """

    def __init__(self, study: Study) -> None:
        self.settings = study.settings
        self.start = space.starting_point(study.settings.space, study.base)
        self.number = -1
        self.inner: BaseSampler = RandomSampler()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self.number = first_number(trial)
        # Hashed: as a sum, the next seed of the study would draw these points one trial later.
        seed = derive(self.settings.seed, "trial", self.number) % 2**32
        first, name = self.settings.sampler.startup_trials, self.settings.sampler.name
        if name == "gp":
            self.inner = GPSampler(
                seed=seed, n_startup_trials=first, warn_independent_sampling=False
            )
        elif name == "tpe":  # `group` for parts of the space that are used only sometimes
            self.inner = TPESampler(
                seed=seed, n_startup_trials=first, multivariate=True, group=True
            )
        else:
            self.inner = RandomSampler(seed=seed)
        self.inner.before_trial(study, trial)

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, Any]:
        return self.inner.infer_relative_search_space(study, trial) if self.number else {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        return self.inner.sample_relative(study, trial, search_space) if self.number else {}

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        if not self.number and param_name in self.start:
            return self.start[param_name]
        return self.inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        self.inner.after_trial(study, trial, state, values)


@dataclass(frozen=True)
class Storage:
    """A study in its storage."""

    study: Study
    inner: optuna.Study
    database: RDBStorage

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials as they are now."""
        return self.inner.get_trials(deepcopy=False)

    @property
    def num_running(self) -> int:
        """Number of trials that a worker of any machine is running."""
        return sum(trial.state == TrialState.RUNNING for trial in self.trials)

    @property
    def num_missing(self) -> int:
        """Number of trials to start: those in the queue, or what is missing to the total number."""
        waiting = sum(trial.state == TrialState.WAITING for trial in self.trials)
        return max(waiting, self.study.settings.trials - num_started(self.trials))

    def start_trial(self, owner: Mapping[str, Any]) -> Trial | None:
        """Starts the next trial; None if none is missing.

        Args:
            owner: Identifies the worker: `release` compares `command` and `worker`.
        """
        self.fail_stale_trials()
        if not self.num_missing:
            return None
        with _without_warnings():
            trial = self.inner.ask()
        trial.set_user_attr("owner", dict(owner))
        return trial

    @_without_warnings()
    def fail_stale_trials(self) -> None:
        """Queues trials again that have sent no heartbeat within the timeout."""
        optuna.storages.fail_stale_trials(self.inner)

    def record_missing_heartbeats(self) -> None:
        """Starts the timeout of trials whose worker was killed before its first heartbeat."""
        with self.database.engine.connect() as connection:
            query = sqlalchemy.text("select trial_id from trial_heartbeats")
            alive = set(connection.execute(query).scalars())
        for trial in self.trials:
            if trial.state == TrialState.RUNNING and trial._trial_id not in alive:
                self.database.record_heartbeat(trial._trial_id)

    def release(self, command: str, worker: int | None = None) -> None:
        """Queues the running trials of a killed worker again, without waiting for the timeout.

        Args:
            command: The command that the worker belongs to.
            worker: The worker; None for all workers of the command.
        """
        for trial in self.inner.get_trials(states=[TrialState.RUNNING]):
            owner = trial.user_attrs.get("owner", {})
            if owner.get("command") == command and worker in (None, owner["worker"]):
                with contextlib.suppress(UpdateFinishedTrialError):  # its heartbeat was too late
                    self.database.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                    _retry()(self.inner, trial)

    def close(self) -> None:
        """Closes the connections."""
        self.database.remove_session()
        self.database.engine.dispose()


def num_started(trials: Sequence[FrozenTrial]) -> int:
    """Number of trials that count: all but those in the queue and those that are retried."""
    lost = lost_among(trials)
    return sum(t.state != TrialState.WAITING and t.number not in lost for t in trials)


@_without_warnings()
def lost_among(trials: Sequence[FrozenTrial]) -> set[int]:
    """The numbers of the trials that lost their worker and have a retry."""
    history = RetryHeartbeatStaleTrialCallback.retry_history
    return {number for trial in trials for number in history(trial)}


@_without_warnings()
def _retry() -> RetryHeartbeatStaleTrialCallback:
    return RetryHeartbeatStaleTrialCallback(max_retry=MOST_RETRIES)


def open_study(study: Study, url: str, grace: int = GRACE) -> Storage:
    """Opens a study, and creates it where it is missing.

    Args:
        study: The study.
        url: The storage, which may be empty.
        grace: Heartbeat timeout in seconds.

    Raises:
        UserError: The storage does not answer, its tables are those of another version of Optuna,
            or other processes cannot see it.
    """
    # Firewalls drop connections that are idle during a trial: each is tested before use.
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite:"):
        engine = {"connect_args": {"timeout": LOCK_TIMEOUT}}
    try:
        with _creating(url), _without_warnings():
            database = RDBStorage(
                url,
                engine_kwargs=engine,
                heartbeat_interval=max(1, grace // 3),
                grace_period=grace,
                heartbeat_stale_trial_callback=_retry(),
            )
            inner = optuna.create_study(
                study_name=study.full_name,
                storage=database,
                directions=list(study.directions),
                sampler=_ByNumber(study),
                load_if_exists=True,
            )
            inner.set_metric_names(study.values)
            inner.set_user_attr("model", study.settings.model)
    except UserError:
        raise
    except (ImportError, ValueError, RuntimeError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise UserError(_one_line(url, error)) from None
    return Storage(study, inner, database)


@contextlib.contextmanager
def _creating(url: str) -> Iterator[None]:
    """One process at a time, on all machines: tables that two create at once are an error."""
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    try:
        if engine.dialect.name == "sqlite":
            if engine.url.database in (None, "", ":memory:"):
                raise ValueError("is in memory, which other processes cannot see; name a file")
            path = Path(f"{Path(str(engine.url.database)).absolute()}.lock")
            path.parent.mkdir(parents=True, exist_ok=True)
            with filelock.FileLock(path, timeout=LOCK_TIMEOUT):
                yield
        else:
            with engine.connect() as connection:  # the lock ends with the connection
                if engine.dialect.name == "postgresql":
                    connection.execute(sqlalchemy.text(f"set lock_timeout = '{LOCK_TIMEOUT}s'"))
                    connection.execute(sqlalchemy.text(f"select pg_advisory_lock({_LOCK_KEY})"))
                yield
    except filelock.Timeout:
        raise UserError(
            f"{path}: another process has held this lock for {LOCK_TIMEOUT} s; is it stopped?"
        ) from None
    finally:
        engine.dispose()


@contextlib.contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Turns the loss of a storage in the middle of a study into one line."""
    try:
        yield
    except (StorageInternalError, sqlalchemy.exc.SQLAlchemyError) as error:
        line = f"{_one_line(url, error)}; when it is back, the same command continues the study"
        raise UserError(line) from None
    except (KeyError, ValueError) as error:
        if NOT_FOUND_MSG not in error.args:
            raise
        raise UserError(f"--storage {hide_password(url)}: the study was deleted") from None


def _one_line(url: str, error: Exception) -> str:
    reason = error.__cause__ or error if isinstance(error, StorageInternalError) else error
    line = " ".join(str(reason).split())[:300]
    return f"--storage {hide_password(url)}: {hide_password(line)}"

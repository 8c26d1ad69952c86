"""A study in Optuna's storage: SQLite (`optuna.db` at the root) or, for many machines, PostgreSQL.

Optuna records heartbeats, ends trials without one and queues them again. This file adds what it
leaves open: tables that two processes create at once, trials of workers that this command ended
itself, and trials whose worker was killed before its first heartbeat.
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
from optuna.samplers import GPSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.storages._rdb.models import NOT_FOUND_MSG
from optuna.trial import FrozenTrial, Trial, TrialState

from genmodels.base.seeding import derive
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from pipelines.tracking.address import hide_password
from pipelines.tuning import space
from pipelines.tuning.settings import Tune
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
warnings.simplefilter("ignore", ExperimentalWarning)
# The heartbeat of a trial is started by the worker.
warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")


def default_url() -> str:
    """The SQLite file of this checkout."""
    return f"sqlite:///{paths.OPTUNA_DB.absolute()}"


def first_number(trial: FrozenTrial) -> int:
    """A trial's number, or, for a retry, that of the trial that lost its worker first."""
    number = RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return trial.number if number is None else number


class _ByNumber(RandomSampler):
    """Replaced, at the start of a trial, by a sampler seeded with the study's seed and its number.

    Several workers, and a resumed study, would otherwise draw the same points again.
    """

    def __init__(self, settings: Tune) -> None:
        super().__init__()
        self.settings = settings

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        # Hashed: as a sum, the next seed of the study would draw these points one trial later.
        seed = derive(self.settings.seed, "trial", first_number(trial)) % 2**32
        name, first = self.settings.sampler.name, self.settings.sampler.startup_trials
        study.sampler = RandomSampler(seed)
        if name == "gp":
            study.sampler = GPSampler(
                seed=seed, n_startup_trials=first, warn_independent_sampling=False
            )
        elif name == "tpe":  # `group` for parts of the space that are used only sometimes
            study.sampler = TPESampler(
                seed=seed, n_startup_trials=first, multivariate=True, group=True
            )
        study.sampler.before_trial(study, trial)


class _Database(RDBStorage):
    def record_heartbeat(self, trial_id: int) -> None:
        try:
            super().record_heartbeat(trial_id)
        except StorageInternalError:  # the connection broke in between: the next one is tested
            super().record_heartbeat(trial_id)


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
    def num_missing(self) -> int:
        """Number of trials to start: those in the queue, or what is missing to the total number."""
        trials = self.trials
        lost = lost_among(trials)
        waiting = sum(trial.state == TrialState.WAITING for trial in trials)
        started = len(trials) - waiting - len(lost)
        return max(waiting, self.study.settings.trials - started)

    def start_trial(self, owner: Mapping[str, Any]) -> Trial | None:
        """Starts the next trial; None if none is missing. The owner has `command` and `worker`."""
        self.fail_stale_trials()
        if not self.num_missing:
            return None
        self.inner.sampler = _ByNumber(self.study.settings)
        trial = self.inner.ask()
        trial.set_user_attr("owner", dict(owner))
        return trial

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
        """Queues the trials of a killed worker, or of all workers of a command, again at once."""
        for trial in self.inner.get_trials(states=[TrialState.RUNNING]):
            owner = trial.user_attrs.get("owner", {})
            if owner.get("command") == command and worker in (None, owner["worker"]):
                with contextlib.suppress(UpdateFinishedTrialError):  # its heartbeat was too late
                    self.database.set_trial_state_values(trial._trial_id, TrialState.FAIL)
                    RetryHeartbeatStaleTrialCallback(MOST_RETRIES)(self.inner, trial)

    def close(self) -> None:
        """Closes the connections."""
        self.database.remove_session()
        self.database.engine.dispose()


def lost_among(trials: Sequence[FrozenTrial]) -> set[int]:
    """The numbers of the trials that lost their worker and have a retry."""
    history = RetryHeartbeatStaleTrialCallback.retry_history
    return {number for trial in trials for number in history(trial)}


def open_study(study: Study, url: str, grace: int = GRACE) -> Storage:
    """Opens a study, and creates it where it is missing; `grace` is the heartbeat timeout (s).

    Raises:
        UserError: The storage does not answer, is that of another Optuna, or lies in memory.
    """
    # Firewalls drop connections that are idle during a trial: each is tested before use.
    engine: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite:"):
        engine = {"connect_args": {"timeout": LOCK_TIMEOUT}}
    try:
        with _creating(url):
            database = _Database(
                url,
                engine_kwargs=engine,
                heartbeat_interval=max(1, grace // 3),
                grace_period=grace,
                heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(MOST_RETRIES),
            )
            inner = optuna.create_study(
                study_name=study.full_name,
                storage=database,
                directions=list(study.directions),
                load_if_exists=True,
            )
            if not inner.get_trials(deepcopy=False):
                inner.set_metric_names(study.values)
                inner.set_user_attr("model", study.settings.model)
                inner.enqueue_trial(space.starting_point(study.settings.space, study.base))
    except (ImportError, RuntimeError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise UserError(_one_line(url, error)) from None
    return Storage(study, inner, database)


@contextlib.contextmanager
def _creating(url: str) -> Iterator[None]:
    """One process at a time, on all machines: tables that two create at once are an error."""
    address = sqlalchemy.make_url(url)
    if address.get_backend_name() != "sqlite":
        engine = sqlalchemy.create_engine(
            url, poolclass=sqlalchemy.NullPool, isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:  # the lock ends with the connection
            connection.execute(sqlalchemy.text(f"set lock_timeout = '{LOCK_TIMEOUT}s'"))
            connection.execute(sqlalchemy.text(f"select pg_advisory_lock({_LOCK_KEY})"))
            yield
        return
    if address.database in (None, "", ":memory:"):
        reason = "is in memory, which other processes cannot see; name a file"
        raise UserError(f"--storage {url}: {reason}")
    path = Path(f"{Path(address.database).absolute()}.lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=LOCK_TIMEOUT):
            yield
    except filelock.Timeout:
        raise UserError(
            f"{path}: another process has held this lock for {LOCK_TIMEOUT} s; is it stopped?"
        ) from None


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

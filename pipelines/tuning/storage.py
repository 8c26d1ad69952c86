"""The storage of a study: made once, joined by workers, never left with a trial that nobody runs.

SQLite by default, `optuna.db` at the root; `postgresql+psycopg://...` for several machines. A
running trial has a heartbeat and names its process. A lost one, whose process is gone, becomes
FAIL, and its point is queued again under the number that it first had, so that it goes on from its
checkpoint.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from genmodels.base.seeding import derive
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from pipelines.tracking import origin
from pipelines.tracking.address import hide_password
from pipelines.tuning import space as tune_space
from pipelines.tuning.settings import Sampler
from pipelines.tuning.study import Study

#: Seconds after its last heartbeat until a trial is taken for lost; it has three in this time.
GRACE = 90
#: Seconds that a writer of SQLite waits for another one.
SQLITE_TIMEOUT = 60
#: A point whose worker is lost so often is not tried again: it may be the reason.
MOST_ATTEMPTS = 4
#: Seconds after which PostgreSQL ends a turn in which nothing is said: a machine that vanishes in
#: its turn leaves its connection open, for hours. A turn takes seconds at most: those in which a
#: Gaussian process is fitted.
TURN_TIMEOUT = 60
#: Of PostgreSQL's advisory locks: one turn at a time in a database.
_TURN = 7_402_311
_GONE = (StorageInternalError, sqlalchemy.exc.SQLAlchemyError)

optuna.logging.set_verbosity(optuna.logging.WARNING)


def default_url() -> str:
    """The SQLite file of this checkout."""
    return f"sqlite:///{paths.OPTUNA_DB.absolute()}"


class _ByNumber(BaseSampler):
    """A sampler whose random numbers are a function of the study's seed and the trial's number.

    So no two workers, on whatever hosts, and no resumed study draw the same point again, as they do
    from one seed each, and a study that one worker has done in two parts has the trials of one that
    was not interrupted.
    """

    def __init__(self, settings: Sampler, seed: int) -> None:
        self.settings, self.seed = settings, seed
        self.inner, self.number = self._made(0), -1

    def _made(self, number: int) -> BaseSampler:
        # Hashed: of sums, a study of the next seed would draw this one's points one trial later.
        seed = derive(self.seed, "trial", number) % 2**32
        start = self.settings.startup_trials
        if self.settings.name == "random":
            return RandomSampler(seed=seed)
        if self.settings.name == "gp":
            return GPSampler(seed=seed, n_startup_trials=start, warn_independent_sampling=False)
        with _quietly():  # `group`: parts that count only sometimes
            return TPESampler(seed=seed, n_startup_trials=start, multivariate=True, group=True)

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number != self.number:
            self.inner, self.number = self._made(trial.number), trial.number
        return self.inner

    def infer_relative_search_space(self, study: Any, trial: FrozenTrial) -> dict[str, Any]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: Any, trial: FrozenTrial, search_space: dict[str, Any]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: Any, trial: FrozenTrial, param_name: str, param_distribution: Any
    ) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Any, trial: FrozenTrial) -> None:
        self._of(trial).before_trial(study, trial)

    def after_trial(
        self, study: Any, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._of(trial).after_trial(study, trial, state, values)


@dataclass(frozen=True)
class Storage:
    """A study in its storage.

    Attributes:
        study: What it is of.
        inner: Optuna's study.
        database: Optuna's storage.
        grace: Seconds after its last heartbeat until a trial is taken for lost.
    """

    study: Study
    inner: optuna.Study
    database: RDBStorage
    grace: int

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials as they are now."""
        return self.inner.get_trials(deepcopy=False)

    def close(self) -> None:
        """Ends the connections."""
        self.database.remove_session()
        self.database.engine.dispose()

    @property
    def num_running(self) -> int:
        """Trials that somebody is running now."""
        return sum(trial.state == TrialState.RUNNING for trial in self.trials)

    @property
    def num_waiting(self) -> int:
        """Trials that were lost and are queued again."""
        return sum(trial.state == TrialState.WAITING for trial in self.trials)

    def next_trial(self) -> Trial | None:
        """Begins a trial; None where the budget is used up."""
        with _turn(self.database.engine):
            self._reap()
            trials = self.inner.get_trials(deepcopy=False, states=None)
            if not any(t.state == TrialState.WAITING for t in trials) and (
                num_begun(trials) >= self.study.settings.trials
            ):
                return None
            with _quietly():
                trial = self.inner.ask()
            owner = origin.process() | {"pid_namespace": origin.pid_namespace()}
            trial.set_user_attr("owner", owner)
            # Now: on another host a trial that never had one is never taken for lost.
            self.database.record_heartbeat(trial._trial_id)
            return trial

    def reap(self) -> None:
        """Ends running trials whose process is gone and queues their points again."""
        with _turn(self.database.engine):
            self._reap()

    def _reap(self) -> None:
        for trial in self.inner.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            owner = trial.user_attrs.get("owner")  # none: killed in its turn, which is over
            if owner is None or not origin.is_alive(owner):
                self.inner.tell(trial.number, state=TrialState.FAIL)
                _retry(self.inner, trial)
            elif origin.is_here(owner):
                # Its process is seen, so no silence counts: that of a machine that slept, say.
                self.database.record_heartbeat(trial._trial_id)
        with _quietly():
            optuna.storages.fail_stale_trials(self.inner)  # of other hosts, by their heartbeat
        trials = self.trials
        lost = lost_among(trials)
        for trial in trials:
            # A trial that failed by itself has a reason. Of this one, whoever took it for lost was
            # killed before its point was queued.
            failed = trial.state == TrialState.FAIL and "reason" not in trial.user_attrs
            if failed and trial.number not in lost:
                _retry(self.inner, trial)

    @contextlib.contextmanager
    def heartbeat(self, trial: Trial) -> Iterator[None]:
        """Says every now and then that the trial is being run."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(beat_of(self.grace)):
                with contextlib.suppress(*_GONE):  # one may be missed, not all
                    self.database.record_heartbeat(trial._trial_id)

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def beat_of(grace: int) -> int:
    """Seconds between two heartbeats."""
    return max(1, grace // 3)


def num_begun(trials: Sequence[FrozenTrial]) -> int:
    """How much of the budget is used: lost trials are not counted, their retries are."""
    lost = lost_among(trials)
    return sum(t.state != TrialState.WAITING and t.number not in lost for t in trials)


def lost_among(trials: Sequence[FrozenTrial]) -> set[int]:
    """The numbers of those whose worker was lost, whose points are queued again.

    What they say of themselves does not count: a worker may be killed after it has written down how
    its trial went, and before it has told its end.
    """
    attempts = {(first_number(trial), _attempt(trial)) for trial in trials}
    return {
        trial.number
        for trial in trials
        if trial.state == TrialState.FAIL and (first_number(trial), _attempt(trial) + 1) in attempts
    }


def _attempt(trial: FrozenTrial) -> int:
    attempt: int = trial.user_attrs.get("attempt", 1)
    return attempt


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings of what we do knowingly: `heartbeat` is ours, so `ask` has one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=ExperimentalWarning)
        warnings.filterwarnings("ignore", message="Heartbeat of storage is supposed")
        yield


def first_number(trial: FrozenTrial | Trial) -> int:
    """Its number, or of a retry that of the trial that was lost."""
    number: int = trial.user_attrs.get("first", trial.number)
    return number


def _retry(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queues its point again, unless it was lost too often."""
    if _attempt(trial) < MOST_ATTEMPTS:
        attributes = {"first": first_number(trial), "attempt": _attempt(trial) + 1}
        if trial.user_attrs.get("is_start"):
            attributes["is_start"] = True
        # It may be lost before all of its point was suggested; what was queued stays.
        queued = trial.system_attrs.get("fixed_params", {})
        study.enqueue_trial({**queued, **trial.params}, user_attrs=attributes)


def create(study: Study, url: str, grace: int = GRACE) -> Storage:
    """Makes the study where it is missing and queues its first trial.

    That is the present settings, or the point of the space that is next to them.

    Args:
        study: The study.
        url: The storage, which may be empty.
        grace: Seconds after its last heartbeat until a trial is taken for lost.

    Raises:
        UserError: The storage does not answer, or no other process could see it.
    """
    with contextlib.ExitStack() as stack:
        with _refused(url):  # tables that two processes make at once crash one another
            engine = sqlalchemy.create_engine(url)
            stack.callback(engine.dispose)
            if engine.dialect.name == "sqlite" and engine.url.database in (None, "", ":memory:"):
                raise ValueError("names no file, and workers share none of their memory")
            stack.enter_context(_turn(engine))
        return _created(study, _database(url, grace), grace)


def _created(study: Study, storage: RDBStorage, grace: int) -> Storage:
    inner = optuna.create_study(
        study_name=study.full_name,
        storage=storage,
        directions=list(study.directions),
        sampler=_ByNumber(study.settings.sampler, study.settings.seed),
        load_if_exists=True,
    )
    if not inner.get_trials(deepcopy=False):
        with _quietly():
            inner.set_metric_names(study.values)
        inner.set_user_attr("model", study.settings.model)
        space, base = study.settings.space, study.base
        inner.enqueue_trial(
            tune_space.starting_point(space, base),
            user_attrs={"is_start": True} if tune_space.holds(space, base) else {},
        )
    return Storage(study, inner, storage, grace)


def join(study: Study, url: str, grace: int = GRACE) -> Storage:
    """Opens a study that is there."""
    storage = _database(url, grace)
    sampler = _ByNumber(study.settings.sampler, study.settings.seed)
    inner = optuna.load_study(study_name=study.full_name, storage=storage, sampler=sampler)
    return Storage(study, inner, storage, grace)


@contextlib.contextmanager
def _turn(engine: sqlalchemy.Engine) -> Iterator[None]:
    """One process at a time, on all hosts: counting trials and beginning one is one act."""
    if engine.dialect.name == "postgresql":
        with engine.begin() as connection:  # the lock goes with the transaction, however it ends
            limit = f"set local idle_in_transaction_session_timeout = '{TURN_TIMEOUT}s'"
            connection.execute(sqlalchemy.text(limit))
            connection.execute(sqlalchemy.text(f"select pg_advisory_xact_lock({_TURN})"))
            yield
    else:  # beside the database, which checkouts may share
        database = Path(str(engine.url.database)).absolute()
        path = database.with_name(database.name + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(path)
        try:
            lock.acquire(SQLITE_TIMEOUT)
        except filelock.Timeout:
            told = f"{path}: another process has had this lock for {SQLITE_TIMEOUT} s"
            raise UserError(f"{told}; is it stopped?") from None
        try:
            yield
        finally:
            lock.release()


def _database(url: str, grace: int) -> RDBStorage:
    # Firewalls drop connections that are idle for the length of a trial: each is tried before use.
    arguments: dict[str, Any] = {"pool_pre_ping": True}
    if url.startswith("sqlite:"):
        arguments = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
    with _refused(url), _quietly():
        return RDBStorage(
            url,
            engine_kwargs=arguments,
            heartbeat_interval=beat_of(grace),
            grace_period=grace,
            heartbeat_stale_trial_callback=_retry,
        )


@contextlib.contextmanager
def _refused(url: str) -> Iterator[None]:
    """Tells in one line, without a password, what is wrong with a storage."""
    try:
        yield
    except (ImportError, ValueError, sqlalchemy.exc.SQLAlchemyError) as error:
        raise UserError(_told(url, error)) from None


@contextlib.contextmanager
def lost(url: str) -> Iterator[None]:
    """Tells in one line that a storage is gone in the middle of a study."""
    try:
        yield
    except _GONE as error:
        told = f"{_told(url, error)}; when it is back, the same command goes on with the study"
        raise UserError(told) from None


def _told(url: str, error: Exception) -> str:
    reason = error.__cause__ or error if isinstance(error, StorageInternalError) else error
    line = " ".join(str(reason).split())[:200]
    return f"--storage {hide_password(url)}: {hide_password(line)}"

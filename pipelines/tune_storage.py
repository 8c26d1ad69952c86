"""The storage of a study: made once, joined by workers, never left with a trial that nobody runs.

SQLite by default, `optuna.db` at the root; `postgresql+psycopg://...` for several machines. A
running trial has a heartbeat and names its process. A lost one, whose process is gone, becomes
FAIL, and its point is queued again under the number that it first had, so that it goes on from its
checkpoint.
"""

import contextlib
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import filelock
import optuna
import sqlalchemy
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler, GPSampler, RandomSampler, TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState

from genmodels.seeding import derive
from pipelines import paths, provenance, tune_space
from pipelines.errors import UserError
from pipelines.tracking import hide_password
from pipelines.tune_settings import Sampler
from pipelines.tune_study import Study

#: Seconds between two heartbeats, and after the last one until a trial is taken for lost.
HEARTBEAT, GRACE = 30, 90
#: Seconds that a writer of SQLite waits for another one.
SQLITE_TIMEOUT = 60
#: A point whose worker is lost so often is not tried again: it may be the reason.
MOST_ATTEMPTS = 4
#: Of PostgreSQL's advisory locks: one turn at a time in a database.
_TURN = 7_402_311

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
    """

    study: Study
    inner: optuna.Study
    database: RDBStorage

    @property
    def trials(self) -> list[FrozenTrial]:
        """All trials as they are now."""
        return self.inner.get_trials(deepcopy=False)

    def close(self) -> None:
        """Ends the connections."""
        self.database.engine.dispose()

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One process at a time, on all hosts: counting trials and beginning one is one act."""
        engine = self.database.engine
        if engine.dialect.name == "postgresql":
            # The lock ends with the transaction, also when the turn fails. One of the session would
            # stay with the connection, which goes back into the pool.
            with engine.begin() as connection:
                connection.execute(sqlalchemy.text(f"select pg_advisory_xact_lock({_TURN})"))
                yield
        else:
            with _file_lock():
                yield

    def next_trial(self) -> Trial | None:
        """Begins a trial; None where the budget is used up."""
        with self.turn():
            self._reap()
            trials = self.inner.get_trials(deepcopy=False, states=None)
            if not any(t.state == TrialState.WAITING for t in trials) and (
                num_begun(trials) >= self.study.settings.trials
            ):
                return None
            with _quietly():
                trial = self.inner.ask()
            trial.set_user_attr("owner", provenance.process())
            self.database.record_heartbeat(trial._trial_id)  # without one no other host misses it
            return trial

    def reap(self) -> None:
        """Ends running trials whose process is gone and queues their points again."""
        with self.turn():
            self._reap()

    def _reap(self) -> None:
        for trial in self.inner.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
            owner = trial.user_attrs.get("owner")  # none: killed in its turn, which is over
            if owner is None or not provenance.is_alive(owner):
                self.inner.tell(trial.number, state=TrialState.FAIL)
                _retry(self.inner, trial)
            elif provenance.is_here(owner):
                # Its process is seen, so no silence counts: that of a machine that slept, say.
                self.database.record_heartbeat(trial._trial_id)
        with _quietly():
            optuna.storages.fail_stale_trials(self.inner)  # of other hosts, by their heartbeat

    @contextlib.contextmanager
    def heartbeat(self, trial: Trial) -> Iterator[None]:
        """Says every now and then that the trial is being run."""
        stop = threading.Event()

        def beat() -> None:
            while True:
                self.database.record_heartbeat(trial._trial_id)
                if stop.wait(HEARTBEAT):
                    return

        thread = threading.Thread(target=beat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def num_begun(trials: Sequence[FrozenTrial]) -> int:
    """How much of the budget is used: lost trials are not counted, their retries are."""
    return sum(t.state != TrialState.WAITING and not is_lost(t) for t in trials)


def is_lost(trial: FrozenTrial) -> bool:
    """Whether its worker was lost and its point queued again."""
    told = "reason" in trial.user_attrs  # it failed by itself
    return trial.state == TrialState.FAIL and not told and _attempt(trial) < MOST_ATTEMPTS


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
    if _attempt(trial) < MOST_ATTEMPTS:
        attributes = {"first": first_number(trial), "attempt": _attempt(trial) + 1}
        if trial.user_attrs.get("is_start"):
            attributes["is_start"] = True
        # It may be lost before all of its point was suggested; what was queued stays.
        queued = trial.system_attrs.get("fixed_params", {})
        study.enqueue_trial({**queued, **trial.params}, user_attrs=attributes)


def create(study: Study, url: str) -> Storage:
    """Makes the study where it is missing and queues its first trial, the present settings.

    Raises:
        UserError: The storage does not answer.
    """
    with _file_lock():  # tables that two processes make at once crash one another
        storage = _database(url)
        if storage.engine.dialect.name == "postgresql":
            with storage.engine.begin() as connection:  # the same on several hosts
                key = sqlalchemy.text(f"select pg_advisory_xact_lock({_TURN})")
                connection.execute(key)
                return _created(study, storage)
        return _created(study, storage)


def _created(study: Study, storage: RDBStorage) -> Storage:
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
        inner.enqueue_trial(
            tune_space.starting_point(study.settings.space, study.base),
            user_attrs={"is_start": True},
        )
    return Storage(study, inner, storage)


def join(study: Study, url: str) -> Storage:
    """Opens a study that is there."""
    storage = _database(url)
    sampler = _ByNumber(study.settings.sampler, study.settings.seed)
    inner = optuna.load_study(study_name=study.full_name, storage=storage, sampler=sampler)
    return Storage(study, inner, storage)


def _file_lock() -> filelock.BaseFileLock:
    path = paths.OPTUNA_DB.with_name(paths.OPTUNA_DB.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path, timeout=SQLITE_TIMEOUT)


def _database(url: str) -> RDBStorage:
    arguments: Mapping[str, Any] = {}
    if url.startswith("sqlite:"):
        arguments = {"connect_args": {"timeout": SQLITE_TIMEOUT}}
    try:
        with _quietly():
            return RDBStorage(
                url,
                engine_kwargs=dict(arguments),
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=_retry,
            )
    except (ImportError, ValueError, sqlalchemy.exc.SQLAlchemyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"--storage {hide_password(url)}: {hide_password(reason)}") from None

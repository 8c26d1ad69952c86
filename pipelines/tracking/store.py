"""The MLflow store: experiments and the runs in them.

A run is looked up by its fingerprint before one is created. Nothing here raises: if the store
fails, one line says so, and tracking is off for the rest of the process. The values that the store
lacks are in files below outputs/; `genmodels publish` adds them later.
"""

import functools
import gc
import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import filelock

from pipelines.settings import paths
from pipelines.tracking import address, origin, sqlite_file
from pipelines.tracking.address import OFF, is_remote, sqlite_path, store_uri
from pipelines.tracking.live_run import MAX_WAIT_S, LiveRun, Writer
from pipelines.tracking.run import Identity, Run

T = TypeVar("T")

PIPELINE, REPORTS, TUNING = "pipeline", "reports", "tuning/"
DESCRIPTIONS = {
    PIPELINE: "One run per model and seed: curves by epoch, metrics on the test split, pictures.",
    REPORTS: "One run per report: the comparison of all models, as a page, a table and a CSV file.",
}

#: The mark of a run that no later training of its model and seed has replaced.
CURRENT = {"current": "true"}
IS_CURRENT = "tags.current = 'true'"
#: Tags that say what a run holds; the others say what it is of.
ABOUT_VALUES = ("evaluated", "snapshots", "non_finite")

_LOCK_TIMEOUT_S = 60
_MAX_RUNS = 50_000  # MLflow's limit for one search


class Store:
    """The store, or nothing: after the first failure every call does nothing.

    The first call opens it, in the thread of that call.
    """

    def __init__(self) -> None:
        self.uri = store_uri()
        self.mlflow: Any = None
        #: Whether this command adds the values that the store lacks.
        self.is_publishing = False
        self.writer = Writer(self._switch_off)
        self._client: Any = None
        self._errors: tuple[type[BaseException], ...] = ()
        self._experiments: dict[str, str] = {}
        self._opening, self._off = threading.Lock(), threading.Event()
        if self.uri == OFF:
            self._off.set()
            return
        path = sqlite_path(self.uri) or paths.MLFLOW_DB
        self._lock = filelock.FileLock(f"{path}.lock", timeout=_LOCK_TIMEOUT_S)
        # Takes 0.6 s. Not in the thread of a training: a fork during an import may hang.
        with without_collector():
            import mlflow  # noqa: PLC0415
            import mlflow.entities  # noqa: PLC0415
            import sqlalchemy.exc  # noqa: PLC0415

        # It logs a line for each table that it creates; a failure is reported by `_switch_off`.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.mlflow = mlflow
        # OSError covers a full disk, the timeout of the lock and every error of requests.
        self._errors = (mlflow.MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError)

    @property
    def is_on(self) -> bool:
        """Whether the store can be opened and no call has failed."""
        return self._connected() is not None

    @property
    def completion(self) -> str:
        """Advice on how to add the missing values; DVC does not repeat its stage `publish`."""
        is_direct = self.is_publishing and "DVC_STAGE" not in os.environ
        return "repeat this command" if is_direct else "`make publish` completes it"

    def _connected(self) -> Any:
        with self._opening:
            if self._client is None and not self._off.is_set():
                try:
                    self._client = self._open()
                except Exception as error:  # of MLflow, Alembic, SQLite, a driver, a lock
                    self._switch_off(error)
        return None if self._off.is_set() else self._client

    def _open(self) -> Any:
        path = sqlite_path(self.uri)
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"{path.parent}: no such folder")
        # Two processes that create the store at once would disturb each other.
        with self._lock, without_collector():
            if path is None:
                address.probe(self.uri)
            elif message := sqlite_file.ensure(path, paths.MLFLOW_ARTIFACTS.absolute()):
                advice = "this command" if self.is_publishing else "`make publish`"
                print(f"warning: {message}; {advice} fills it from the files", file=sys.stderr)
            client = self.mlflow.MlflowClient(self.uri, self.uri)
            for name, description in DESCRIPTIONS.items():
                self._find_experiment(client, name, description)
        return client

    def _switch_off(self, error: BaseException) -> None:
        if self._off.is_set():  # the training has stopped waiting for the call that failed
            return
        self._off.set()
        what, remedy = address.explain(error, self.uri)
        advice = f"{remedy}, then {self.completion}" if remedy else f"{self.completion} later"
        print(f"warning: tracking is off, {what}; {advice}", file=sys.stderr)

    def attempt(self, action: Callable[[Any], T], otherwise: T) -> T:
        """Returns `action(client)`, or `otherwise` if the store is off."""
        client = self._connected()
        if client is None:
            return otherwise
        try:
            return action(client)
        except self._errors as error:
            self._switch_off(error)
            return otherwise

    def add_experiment(self, name: str, description: str) -> None:
        """Finds or creates an experiment beside `pipeline` and `reports`."""
        self.attempt(lambda client: self._find_experiment(client, name, description), None)

    def _find_experiment(self, client: Any, name: str, description: str) -> None:
        with self._lock:
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                folder = paths.MLFLOW_ARTIFACTS.absolute() / name
                location = None if is_remote(self.uri) else folder.as_uri()
                # Without this kind the UI asks for the experiment's purpose and offers chat models.
                tags = {"mlflow.experimentKind": "custom_model_development"}
                tags |= {"mlflow.note.content": description}
                self._experiments[name] = str(client.create_experiment(name, location, tags))
            else:
                self._experiments[name] = str(experiment.experiment_id)
                if experiment.lifecycle_stage == "deleted":
                    client.restore_experiment(experiment.experiment_id)

    def experiment_id(self, name: str) -> str | None:
        """The id of `pipeline`, `reports` or an added experiment; None if the store is off."""
        return self._experiments[name] if self.is_on else None

    def studies(self) -> dict[str, str]:
        """The ids of the experiments of studies, by name."""
        condition = f"name LIKE '{TUNING}%'"
        experiments: list[Any] = self.attempt(
            lambda client: client.search_experiments(filter_string=condition), []
        )
        return {experiment.name: str(experiment.experiment_id) for experiment in experiments}

    def newest_evaluated(self, condition: str, most: int) -> list[Any]:
        """The newest evaluated runs of `pipeline` that an MLflow filter selects, at most `most`."""

        def search(client: Any) -> list[Any]:
            ids, evaluated = [self._experiments[PIPELINE]], f"tags.evaluated != '' AND {condition}"
            newest = ["attributes.start_time DESC"]
            return list(client.search_runs(ids, evaluated, max_results=most, order_by=newest))

        return self.attempt(search, [])

    def read_artifact(self, run_id: str, path: str) -> Any:
        """A JSON file of a run; None if there is no such file or the store is off."""

        def read(client: Any) -> Any:
            listed = client.list_artifacts(run_id, path.rpartition("/")[0])
            if all(item.path != path for item in listed):
                return None
            with tempfile.TemporaryDirectory() as folder:
                file = Path(client.download_artifacts(run_id, path, folder))
                return json.loads(file.read_text("utf-8"))

        return self.attempt(read, None)

    def tag_experiment(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Sets the tags of an experiment that differ."""

        def set_tags(client: Any) -> None:
            experiment_id = self._experiments[experiment]
            present = client.get_experiment(experiment_id).tags
            for key, value in tags.items():
                if present.get(key) != value:
                    client.set_experiment_tag(experiment_id, key, value)

        self.attempt(set_tags, None)

    def start_run(
        self, identity: Identity, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> LiveRun:
        """Starts or continues the run of a training; returns at once: a thread writes the run."""
        run = LiveRun(self)
        if self.uri != OFF:
            lasting = origin.keep(identity.fingerprint)
            all_tags = identity.tags() | CURRENT | lasting | origin.process() | dict(tags)
            where = (PIPELINE, identity.name, identity.fingerprint)
            if not self._off.is_set():
                run.start(lambda: self._find_run(*where, all_tags), params, all_tags)
        return run

    def drain(self) -> None:
        """Waits until the runs in training are written, or switches tracking off after a while."""
        if not self._off.is_set() and not self.writer.drain():
            self._switch_off(TimeoutError(f"no answer within {MAX_WAIT_S:.0f} s"))

    def run(self, experiment: str, name: str, fingerprint: str, tags: Mapping[str, str]) -> Run:
        """The run with this fingerprint; a new one gets these tags."""
        return Run(self, self._find_run(experiment, name, fingerprint, tags))

    def _find_run(
        self, experiment: str, name: str, fingerprint: str, tags: Mapping[str, str]
    ) -> Any:
        def find_or_create(client: Any) -> Any:
            ids = [self._experiments[experiment]]
            condition = f"tags.fingerprint = '{fingerprint}'"
            with self._lock:
                runs = client.search_runs(ids, condition, order_by=["attributes.start_time ASC"])
                # A request that is repeated after a slow answer creates a second run.
                for double in runs[1:]:
                    if not Run(self, double).is_training:
                        client.delete_run(double.info.run_id)
                if runs:
                    return runs[0]
                # With the process, so that `reap` of another one does not end the run.
                all_tags = {**origin.process(), **tags, "fingerprint": fingerprint}
                return client.create_run(*ids, tags=all_tags, run_name=name)

        return self.attempt(find_or_create, None)

    def remake(self, run: Run) -> Run:
        """Replaces a run by an empty one with its name and tags: MLflow cannot delete a value."""

        def delete_and_create(client: Any) -> Any:
            old = client.get_run(run.id)
            tags = {k: v for k, v in old.data.tags.items() if k not in ABOUT_VALUES}
            with self._lock:
                client.delete_run(run.id)
                return client.create_run(old.info.experiment_id, tags=tags, run_name=run.name)

        return Run(self, self.attempt(delete_and_create, None))

    def reap(self) -> int:
        """Marks runs KILLED whose process has ended or sends no sign of life; returns how many."""

        def kill_the_dead(client: Any) -> int:
            ids = [self._experiments[name] for name in DESCRIPTIONS]
            running = client.search_runs(ids, "attributes.status = 'RUNNING'")
            dead = [run.info.run_id for run in running if not origin.may_live(run.data.tags)]
            for run_id in dead:
                client.set_terminated(run_id, "KILLED")
            return len(dead)

        return self.attempt(kill_the_dead, 0)

    def supersede(self, published: Sequence[Identity]) -> None:
        """Removes the mark `current` from all other trainings of the published models."""
        models = {identity.model for identity in published}
        fingerprints = {identity.fingerprint for identity in published}

        def unmark(client: Any) -> None:
            ids = [self._experiments[PIPELINE]]
            for run in client.search_runs(ids, IS_CURRENT, max_results=_MAX_RUNS):
                tags = run.data.tags
                if tags["model"] in models and tags["fingerprint"] not in fingerprints:
                    client.set_tag(run.info.run_id, "current", "false")

        self.attempt(unmark, None)


@functools.cache
def open_store() -> Store:
    """The store of this process, which the first call opens or creates."""
    return Store()


@contextmanager
def without_collector() -> Iterator[None]:
    """Switches the garbage collector off, which takes two fifths of the time to import MLflow."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()

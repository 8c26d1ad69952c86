"""The MLflow store: the only file that imports MLflow.

A run is looked up by its fingerprint before one is made. Nothing here fails: a store that is away
is reported in one line, and from then on tracking is off for this process. What the store misses
lies in files below outputs/, from which `python -m pipelines.publish` completes it.
"""

import functools
import gc
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import filelock

from pipelines.settings import command_line, paths
from pipelines.tracking import origin as provenance
from pipelines.tracking.live_run import MAX_WAIT_S, LiveRun, Writer
from pipelines.tracking.run import Identity, Run, cut_tags

T = TypeVar("T")

#: As `MLFLOW_TRACKING_URI`: nothing is tracked, and MLflow is not even imported.
OFF = "off"
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

_LOCK_TIMEOUT_S, _PROBE_TIMEOUT_S = 60, 5
_MOST_RUNS = 50_000  # what MLflow gives at once


def store_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite file of this checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or default_uri()


def default_uri() -> str:
    """The SQLite file of this checkout."""
    return f"sqlite:///{paths.MLFLOW_DB.absolute()}"


def is_remote(uri: str) -> bool:
    """Whether a server stands between, which decides where artifacts lie."""
    return uri != OFF and not uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))


class Store:
    """The store, or nothing: after the first failure every call does nothing.

    It is asked for the first time when something is wanted of it, in the thread that wants it.
    """

    def __init__(self) -> None:
        self.uri = store_uri()
        self.entities: Any = None
        self._client: Any = None
        self._errors: tuple[type[BaseException], ...] = ()
        self._experiments: dict[str, str] = {}
        self._opening, self._off = threading.Lock(), threading.Event()
        self._writer = Writer(self._switch_off)
        if self.uri == OFF:
            self._off.set()
        else:
            # Here, and not in the thread of a training: a fork beside an import may never end.
            self._import()

    def _import(self) -> None:
        with without_collector():
            import sqlalchemy.exc  # noqa: PLC0415

            mlflow = _mlflow()
        # It tells of every table that it makes, and a warning of ours comes once.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.entities = mlflow.entities
        # OSError covers a full disk, the lock's time-out and every error of requests; ImportError
        # is the driver of a database that is not installed.
        self._errors = (
            mlflow.MlflowException,
            sqlalchemy.exc.SQLAlchemyError,
            OSError,
            ImportError,
        )

    @property
    def is_on(self) -> bool:
        """Whether the store answered so far."""
        return self._connected() is not None

    def _connected(self) -> Any:
        with self._opening:
            if self._client is None and not self._off.is_set():
                try:
                    self._client = self._open()
                except self._errors as error:
                    self._switch_off(error)
        return None if self._off.is_set() else self._client

    def _open(self) -> Any:
        # Two processes that create the tables of a fresh SQLite file crash one another.
        with self._lock(), without_collector():
            _probe(self.uri)
            client = _mlflow().MlflowClient(self.uri, self.uri)
            for name, description in DESCRIPTIONS.items():
                self._experiments[name] = self._experiment(client, name, description)
        return client

    def _lock(self) -> filelock.BaseFileLock:
        path = paths.MLFLOW_DB.with_name(paths.MLFLOW_DB.name + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(path, timeout=_LOCK_TIMEOUT_S)

    def add_experiment(self, name: str, description: str) -> None:
        """An experiment beside `pipeline` and `reports`; made where it is missing."""

        def find_or_create(client: Any) -> None:
            with self._lock():
                self._experiments[name] = self._experiment(client, name, description)

        self.attempt(find_or_create, None)

    def _experiment(self, client: Any, name: str, description: str) -> str:
        found = client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        folder = paths.MLFLOW_ARTIFACTS.absolute() / name
        # Without the kind the UI asks what the experiment is for, and offers chat models first.
        tags = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.note.content": description,
        }
        location = None if is_remote(self.uri) else folder.as_uri()
        return str(client.create_experiment(name, location, tags))

    def _switch_off(self, error: BaseException) -> None:
        if self._off.is_set():  # the training gave up waiting for what fails now
            return
        self._off.set()
        # Hidden before it is cut: of half an address nobody sees where the password ends.
        reason = hide_password(" ".join(str(error).split()))[:160]
        print(
            f"warning: tracking is off, the MLflow store does not answer ({reason}); "
            "`make publish` completes it later",
            file=sys.stderr,
        )

    def attempt(self, action: Callable[[Any], T], otherwise: T) -> T:
        """Calls `action(client)`; `otherwise` is the answer of a store that is off."""
        client = self._connected()
        if client is None:
            return otherwise
        try:
            return action(client)
        except self._errors as error:
            self._switch_off(error)
            return otherwise

    def files(self, address: str) -> dict[str, int]:
        """The bytes of all files below an address of artifacts, by their path relative to it.

        Not through the client, which asks the database for the run and its logged models at every
        folder: 40 ms of CPU time a run instead of less than 1.
        """

        def walk(repository: Any, folder: str | None) -> Iterator[tuple[str, int]]:
            for item in repository.list_artifacts(folder):
                if item.is_dir:
                    yield from walk(repository, item.path)
                else:
                    yield item.path, item.file_size

        def open_and_walk(_: Any) -> dict[str, int]:
            from mlflow.store.artifact import (  # noqa: PLC0415, TID251
                artifact_repository_registry as repositories,
            )

            return dict(walk(repositories.get_artifact_repository(address, self.uri), None))

        return self.attempt(open_and_walk, {})

    def studies(self) -> dict[str, str]:
        """The ids of the experiments of studies, by name."""

        def search(client: Any) -> dict[str, str]:
            found = client.search_experiments(filter_string=f"name LIKE '{TUNING}%'")
            return {experiment.name: str(experiment.experiment_id) for experiment in found}

        return self.attempt(search, {})

    def experiment_id(self, name: str) -> str | None:
        """The id of an experiment that was made or added; None if the store is off."""
        return self._experiments[name] if self.is_on else None

    def start_run(
        self, identity: Identity, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> LiveRun:
        """Starts the run of a training, or takes up the one with this fingerprint.

        Returns at once: a thread writes the run, see `pipelines.tracking.live_run`.

        Args:
            identity: What is trained.
            params: The settings, nested or flat; written once.
            tags: More tags, such as versions.
        """
        origin = provenance.origin()
        if self.uri != OFF:
            provenance.keep(identity.fingerprint, origin)
        everything = identity.tags() | CURRENT | origin | dict(tags)

        def find() -> Any:
            return self._find_or_create(PIPELINE, identity.name, identity.fingerprint, everything)

        run = LiveRun(self, self._writer, self.drain)
        if not self._off.is_set():
            run.start(find, params, everything)
        return run

    def drain(self) -> None:
        """Waits until the runs in training are written; too long a wait ends the tracking."""
        if not self._off.is_set() and not self._writer.drain():
            self._switch_off(TimeoutError(f"{MAX_WAIT_S:.0f} s were not enough for it"))

    def run(self, experiment: str, name: str, fingerprint: str, tags: Mapping[str, str]) -> Run:
        """The run with a fingerprint; made with these tags where there is none."""
        return Run(self, self._find_or_create(experiment, name, fingerprint, tags))

    def _find_or_create(
        self, experiment: str, name: str, fingerprint: str, tags: Mapping[str, str]
    ) -> Any:
        def find_or_create(client: Any) -> Any:
            experiment_id = self._experiments[experiment]
            condition = f"tags.fingerprint = '{fingerprint}'"
            with self._lock():
                found = client.search_runs(
                    [experiment_id], condition, order_by=["attributes.start_time ASC"]
                )
                # A server that answers too late is asked again, and has then made two.
                for double in found[1:]:
                    if not Run(self, double).is_training:
                        client.delete_run(double.info.run_id)
                if found:
                    return found[0]
                # So that nobody else takes it for one that was left behind.
                writer = provenance.process() | provenance.sign_of_life()
                given = cut_tags(writer | dict(tags)) | {"fingerprint": fingerprint}
                return client.create_run(experiment_id, tags=given, run_name=name)

        return self.attempt(find_or_create, None)

    def remake(self, run: Run) -> Run:
        """An empty run with the name and the tags of one, in its place.

        MLflow can neither change a point of a curve nor take away a value or a file.
        """

        def delete_and_create(client: Any) -> Any:
            old = client.get_run(run.id)
            tags = {k: v for k, v in old.data.tags.items() if k not in ABOUT_VALUES}
            with self._lock():
                client.delete_run(run.id)
                return client.create_run(old.info.experiment_id, tags=tags, run_name=run.name)

        return Run(self, self.attempt(delete_and_create, None))

    def reap(self) -> int:
        """Sets runs KILLED whose process is gone, or was silent for long; returns how many."""

        def kill_the_dead(client: Any) -> int:
            ids = [self._experiments[name] for name in DESCRIPTIONS]
            running = client.search_runs(ids, "attributes.status = 'RUNNING'")
            dead = [run for run in running if not provenance.may_live(run.data.tags)]
            for run in dead:
                client.set_terminated(run.info.run_id, "KILLED")
            return len(dead)

        return self.attempt(kill_the_dead, 0)

    def supersede(self, published: Sequence[Identity]) -> None:
        """Takes the mark `current` from all other trainings of the models given."""
        now: dict[str, set[str]] = {}
        for identity in published:
            now.setdefault(identity.model, set()).add(identity.fingerprint)

        def unmark(client: Any) -> None:
            ids = [self._experiments[PIPELINE]]
            for run in client.search_runs(ids, IS_CURRENT, max_results=_MOST_RUNS):
                tags = run.data.tags
                if tags["fingerprint"] not in now.get(tags["model"], {tags["fingerprint"]}):
                    client.set_tag(run.info.run_id, "current", "false")

        self.attempt(unmark, None)

    def tag_experiment(self, experiment: str, tags: Mapping[str, str]) -> None:
        """Sets those tags of an experiment that differ."""

        def set_tags(client: Any) -> None:
            experiment_id = self._experiments[experiment]
            present = client.get_experiment(experiment_id).tags
            for key, value in tags.items():
                if present.get(key) != value:
                    client.set_experiment_tag(experiment_id, key, value)

        self.attempt(set_tags, None)


@functools.cache
def open_store() -> Store:
    """The store of this process; made where it is missing, and off where it is away."""
    return Store()


def hide_password(text: str) -> str:
    """Text without the credentials of an address, which may stand in its query, too."""
    # To the last @: a password that somebody did not encode may hold one, and a slash.
    text = re.sub(r"//\S*@", "//***@", text)
    return re.sub(r"([?&](?:password|user|token)=)[^&\s)'\"]*", r"\1***", text)


def _probe(uri: str) -> None:
    """Fails at once where MLflow would try a database or a server again and again."""
    import requests  # noqa: PLC0415
    import sqlalchemy  # noqa: PLC0415

    if uri.startswith("http"):
        requests.get(f"{uri.rstrip('/')}/health", timeout=_PROBE_TIMEOUT_S)
    elif not is_remote(uri):
        engine = sqlalchemy.create_engine(uri)
        try:
            engine.connect().close()
        finally:
            engine.dispose()


@contextmanager
def without_collector() -> Iterator[None]:
    """No search for garbage where a hundred thousand objects are made and all of them stay.

    It takes two fifths of the time that MLflow needs to be imported beside torch and to open, and a
    tenth of that of `compare`, which asks and ends.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _mlflow() -> Any:
    """MLflow costs 0.6 s to import, so only a process that talks to the store does."""
    import mlflow  # noqa: PLC0415, TID251
    import mlflow.entities  # noqa: PLC0415, TID251

    return mlflow


def main() -> None:
    """Creates the MLflow store, so that no process meets a fresh one beside another."""
    parser = command_line.parser("tracking.store", main.__doc__)
    parser.add_argument("command", choices=["init"], help="create the store where it is missing")
    parser.parse_args()
    if open_store().is_on:
        print(f"MLflow store: {hide_password(store_uri())}")


if __name__ == "__main__":
    main()

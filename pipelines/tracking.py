"""The MLflow store: the only file that imports MLflow.

A run is looked up by its fingerprint before one is made. Nothing here fails: a store that is away
is reported in one line, and from then on tracking is off for this process. What the store misses
lies in files below outputs/, from which `python -m pipelines.publish` completes it.
"""

import argparse
import functools
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import filelock

from pipelines import paths, provenance
from pipelines.runs import Identity, Run, cut_tags

T = TypeVar("T")

PIPELINE, REPORTS = "pipeline", "reports"
DESCRIPTIONS = {
    PIPELINE: "One run per model and seed: curves by epoch, metrics on the test split, pictures.",
    REPORTS: "One run per report: the comparison of all models, as a page, a table and a CSV file.",
}

#: The registered model whose versions the aliases name.
REGISTERED = "genmodels"
ALIASES = ("champion", "best-vae", "best-gan")
WEIGHTS = "weights.pt"

_LOCK_TIMEOUT_S = 60


@dataclass(frozen=True)
class Registered:
    """What an alias of the registry names.

    Attributes:
        version: The version's number.
        tags: Of the run that trained it: `model`, `seed`, `fingerprint` and more.
        weights: The run's artifact `weights.pt` as a local file; None where it has none.
    """

    version: str
    tags: Mapping[str, str]
    weights: Path | None


def store_uri() -> str:
    """`MLFLOW_TRACKING_URI`, else the SQLite file of this checkout."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{paths.MLFLOW_DB.absolute()}"


def is_remote(uri: str) -> bool:
    """Whether a server stands between, which decides where artifacts lie."""
    return not uri.startswith(("sqlite:", "postgresql", "mysql", "mssql"))


class Store:
    """The store, or nothing: after the first failure every call does nothing."""

    def __init__(self) -> None:
        self.uri = store_uri()
        self.entities: Any = None
        self._client: Any = None
        self._errors: tuple[type[BaseException], ...] = ()
        self._experiments: dict[str, str] = {}
        self._open()

    @property
    def is_on(self) -> bool:
        """Whether the store answered so far."""
        return self._client is not None

    def _open(self) -> None:
        import sqlalchemy.exc  # noqa: PLC0415

        mlflow = _mlflow()
        # It tells of every table that it makes, and a warning of ours comes once.
        logging.getLogger("mlflow").setLevel(logging.ERROR)
        self.entities = mlflow.entities
        # OSError covers a full disk, the lock's time-out and every error of requests.
        self._errors = (mlflow.MlflowException, sqlalchemy.exc.SQLAlchemyError, OSError)
        try:
            # Two processes that create the tables of a fresh SQLite file crash one another.
            with self._lock():
                if not is_remote(self.uri):
                    _probe(self.uri)
                self._client = mlflow.MlflowClient(self.uri, self.uri)
                for name, description in DESCRIPTIONS.items():
                    self._experiments[name] = self._experiment(name, description)
        except self._errors as error:
            self._switch_off(error)

    def _lock(self) -> filelock.BaseFileLock:
        path = paths.MLFLOW_DB.with_name(paths.MLFLOW_DB.name + ".lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        return filelock.FileLock(path, timeout=_LOCK_TIMEOUT_S)

    def add_experiment(self, name: str, description: str) -> None:
        """An experiment beside `pipeline` and `reports`; made where it is missing."""

        def find_or_create(_: Any) -> None:
            with self._lock():
                self._experiments[name] = self._experiment(name, description)

        self.attempt(find_or_create, None)

    def _experiment(self, name: str, description: str) -> str:
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)
        folder = paths.MLFLOW_ARTIFACTS.absolute() / name
        # Without the kind the UI asks what the experiment is for, and offers chat models first.
        tags = {
            "mlflow.experimentKind": "custom_model_development",
            "mlflow.note.content": description,
        }
        location = None if is_remote(self.uri) else folder.as_uri()
        return str(self._client.create_experiment(name, location, tags))

    def _switch_off(self, error: BaseException) -> None:
        self._client = None
        reason = hide_password(" ".join(str(error).split())[:160])
        print(
            f"warning: tracking is off, the MLflow store does not answer ({reason}); "
            "`make publish` completes it later",
            file=sys.stderr,
        )

    def attempt(self, action: Callable[[Any], T], otherwise: T) -> T:
        """Calls `action(client)`; `otherwise` is the answer of a store that is off."""
        if self._client is None:
            return otherwise
        try:
            return action(self._client)
        except self._errors as error:
            self._switch_off(error)
            return otherwise

    def experiment_id(self, name: str) -> str | None:
        """The id of an experiment that was made or added."""
        return self._experiments.get(name)

    def start_run(
        self, identity: Identity, params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> Run:
        """Starts the run of a training, or takes up the one with this fingerprint.

        Args:
            identity: What is trained.
            params: The settings, nested or flat; written once.
            tags: More tags, such as versions.
        """
        if not self.is_on:
            return Run(self, None)
        everything = identity.tags() | provenance.origin() | dict(tags)
        run = self.run(PIPELINE, identity.name, identity.fingerprint, everything)
        run.resume(everything)
        run.add_params(params)
        return run

    def run(self, experiment: str, name: str, fingerprint: str, tags: Mapping[str, str]) -> Run:
        """The run with a fingerprint; made with these tags where there is none."""

        def find_or_create(client: Any) -> Any:
            experiment_id = self._experiments[experiment]
            condition = f"tags.fingerprint = '{fingerprint}'"
            with self._lock():
                found = client.search_runs(
                    [experiment_id], condition, order_by=["attributes.start_time ASC"]
                )
                if found:
                    return found[0]
                given = cut_tags(tags) | {"fingerprint": fingerprint}
                return client.create_run(experiment_id, tags=given, run_name=name)

        return Run(self, self.attempt(find_or_create, None))

    def reap(self) -> int:
        """Sets runs KILLED whose process on this host is gone; returns how many."""

        def kill_the_dead(client: Any) -> int:
            ids = [self._experiments[PIPELINE]]
            running = client.search_runs(ids, "attributes.status = 'RUNNING'")
            dead = [run for run in running if not provenance.is_alive(run.data.tags)]
            for run in dead:
                client.set_terminated(run.info.run_id, "KILLED")
            return len(dead)

        return self.attempt(kill_the_dead, 0)

    def registered(self, alias: str) -> Registered | None:
        """The version that an alias names; None if no version has the alias."""

        def find(client: Any) -> Registered | None:
            found = client.search_registered_models(f"name = '{REGISTERED}'")
            version = found[0].aliases.get(alias) if found else None
            if version is None:
                return None
            run_id = client.get_model_version(REGISTERED, str(version)).run_id
            tags = dict(client.get_run(run_id).data.tags)
            weights = None
            if any(item.path == WEIGHTS for item in client.list_artifacts(run_id)):
                weights = Path(client.download_artifacts(run_id, WEIGHTS))
            return Registered(str(version), tags, weights)

        return self.attempt(find, None)

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
    """Text without the credentials of an address."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def _probe(uri: str) -> None:
    """Fails at once where MLflow would try a database again and again for 100 s."""
    import sqlalchemy  # noqa: PLC0415

    engine = sqlalchemy.create_engine(uri)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _mlflow() -> Any:
    """MLflow costs 1.4 s to import, so only a process that talks to the store does."""
    import mlflow  # noqa: PLC0415, TID251
    import mlflow.entities  # noqa: PLC0415, TID251

    return mlflow


def main() -> None:
    """Creates the MLflow store, so that no process meets a fresh one beside another."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.tracking", description=main.__doc__)
    parser.add_argument("command", choices=["init"], help="create the store where it is missing")
    parser.parse_args()
    if open_store().is_on:
        print(f"MLflow store: {hide_password(store_uri())}")


if __name__ == "__main__":
    main()

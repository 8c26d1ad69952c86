"""Where `compare` reads a model: from the files of this checkout, or from the MLflow store.

Both hold the same document, `records.json`: the values of all seeds of one training, with their
protocol. A run of the store has it as an artifact, so trainings with different settings are never
mixed, and the protocol shows whether values are comparable.
"""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.comparing.leaderboard import Row
from evaluation.measuring.records import summarise
from pipelines.reporting.differing import flatten
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError
from pipelines.settings.escape import mlflow_text
from pipelines.settings.refusals import suggest
from pipelines.tracking.address import OFF, default_uri, hide_password, store_uri
from pipelines.tracking.store import IS_CURRENT, PIPELINE, Store, open_store

#: In a run's artifacts, as `publish` writes them.
FOLDER = "evaluate"
RECORDS = f"{FOLDER}/records.json"
#: Newest runs whose model names are listed after an unknown name.
RECENT_RUNS = 100
NEWEST = ["attributes.start_time DESC"]
#: A model or a run: `vae`, `vae-s0-1f2e3d4c`.
_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Compared:
    """One model.

    Attributes:
        row: Its values.
        params: The settings of its training: dotted keys, values as MLflow shows them.
        source: The files or the run that the values come from, in words.
    """

    row: Row
    params: Mapping[str, str]
    source: str


def read(names: Sequence[str], known: Sequence[str], from_store: bool) -> list[Compared]:
    """Reads each model from its files or, if there are none, from the store.

    Args:
        names: Models or runs.
        known: The keys of `models:`.
        from_store: Whether to read all of them from the store.

    Raises:
        UserError: A name is repeated or unknown, or a model was not evaluated.
    """
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: named twice")
        if not _NAME.fullmatch(name):
            raise UserError(f"{name}: neither the name of a model nor of a run")
    if from_store and not _has_store():
        uri = hide_password(store_uri())
        raise UserError(f"--store: there is no MLflow store ({uri})")
    return [_read_one(name, known, from_store) for name in names]


def _read_one(name: str, known: Sequence[str], from_store: bool) -> Compared:
    if not from_store and _records_path(name).is_file():
        return _from_files(name)
    if _has_store():
        return _from_store(open_store(), name, known)
    if name in known:
        raise UserError(f"{name}: not evaluated; run `dvc repro evaluate@{name}`")
    raise UserError(
        f"{name}: no such model{suggest(name, list(known))}; there are {', '.join(known)}"
    )


def _has_store() -> bool:
    """Whether there is a store; a comparison does not create one."""
    uri = store_uri()
    return uri != OFF and (uri != default_uri() or paths.MLFLOW_DB.is_file())


def _records_path(name: str) -> Path:
    return paths.EVALUATE / name / "records.json"


def _from_files(name: str) -> Compared:
    """Reads the outputs of `evaluate` and `train`.

    Raises:
        UserError: A file is missing or broken.
    """
    path, made_by = _records_path(name), f"dvc repro evaluate@{name}"
    document = files.read_json(path, made_by)
    seed = next(iter(document["seeds"]))
    config = files.read_json(paths.TRAIN / name / seed / "config.json", f"dvc repro train@{name}")
    cost = {"num_parameters": config["num_parameters"]}
    source = str(path.parent.relative_to(paths.ROOT))
    return Compared(row(name, document, cost), dict(flatten(config["settings"])), source)


def _from_store(store: Store, name: str, known: Sequence[str]) -> Compared:
    """Reads a run of the store: the current evaluated run of a model, or the run of that name.

    `publish` marks the current runs; where each seed has a run of its own, the newest is read.
    After settings were changed and changed back, the newest training is not the current one.

    Args:
        store: The store.
        name: A model, or a run such as `vae-s0-1f2e3d4c`.
        known: Names besides those in the store, for the nearest spelling.

    Raises:
        UserError: There is no such run, it has no values, or the store does not answer.
    """
    is_run = "-" in name
    which = "attributes.run_name" if is_run else f"{IS_CURRENT} AND tags.model"
    condition = f"{which} = {mlflow_text(name)} AND tags.evaluated != ''"

    def newest(client: Any) -> tuple[Any, dict[str, Any] | None] | None:
        ids = [store.experiment_id(PIPELINE)]
        runs = client.search_runs(ids, condition, max_results=1, order_by=NEWEST)
        return (runs[0], _document(client, runs[0].info.run_id)) if runs else None

    result = store.attempt(newest, None)
    if not store.is_on:
        raise UserError("the MLflow store does not answer; the warning above gives the reason")
    if result is None:
        names = sorted({*_names(store), *known})
        raise UserError(
            f"{name}: the MLflow store has no evaluated run of it{suggest(name, names)}; "
            f"there are {', '.join(names) or 'none'}"
        )
    run, document = result
    if document is None:
        raise UserError(
            f"{run.info.run_name}: the run has no {RECORDS}, so its values cannot be compared; "
            "`make publish` completes it"
        )
    params = {key: value for key, value in run.data.params.items() if key != "seed"}
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    current = "" if is_run else ", current"
    source = f"MLflow run {run.info.run_name} of {started:%Y-%m-%d}{current}"
    cost = {
        key: int(run.data.metrics[f"cost/{key}"])
        for key in ("num_parameters",)
        if f"cost/{key}" in run.data.metrics
    }
    return Compared(row(name, document, cost), params, source)


def _document(client: Any, run_id: str) -> dict[str, Any] | None:
    if not any(item.path == RECORDS for item in client.list_artifacts(run_id, FOLDER)):
        return None
    with tempfile.TemporaryDirectory() as folder:
        text = Path(client.download_artifacts(run_id, RECORDS, folder)).read_text("utf-8")
    document: dict[str, Any] = json.loads(text)
    return document


def _names(store: Store) -> set[str]:
    """The models in the store."""

    def models(client: Any) -> set[str]:
        ids = [store.experiment_id(PIPELINE)]
        runs = client.search_runs(
            ids, "tags.evaluated != ''", max_results=RECENT_RUNS, order_by=NEWEST
        )
        return {run.data.tags["model"] for run in runs if "model" in run.data.tags}

    return store.attempt(models, set())


def row(name: str, document: Mapping[str, Any], cost: Mapping[str, int]) -> Row:
    """A row of the comparison from a `records.json`."""
    seeds: dict[str, list[dict[str, Any]]] = document["seeds"]
    return Row(name, document["kind"], document["family"], cost, summarise(seeds), seeds)

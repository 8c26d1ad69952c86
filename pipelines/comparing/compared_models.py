"""Where `python -m pipelines.compare` finds a model: in the files, or in the MLflow store.

Both hold the same document, `records.json`: the values of all seeds of one training, with their
protocol. A run of the store has it as an artifact, so trainings with different settings are never
mixed, and whether values are comparable is known there, too.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evaluation.comparing.leaderboard import Row
from evaluation.measuring.records import summarise
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError
from pipelines.settings.refusals import suggest
from pipelines.tracking import store as tracking
from pipelines.tracking.run import flatten
from pipelines.tracking.store import Store

#: In a run's artifacts, as in `completed_runs`.
FOLDER = "evaluate"
RECORDS = f"{FOLDER}/records.json"
#: The newest runs are looked through for the names of models, after a name that is not there.
RECENT_RUNS = 100
NEWEST = ["attributes.start_time DESC"]


@dataclass(frozen=True)
class Compared:
    """One model.

    Attributes:
        row: Its values.
        params: What it was trained with: dotted keys, values as MLflow shows them.
        source: Which results were taken, in words.
    """

    row: Row
    params: Mapping[str, str]
    source: str


def has_files(name: str) -> bool:
    """Whether a model was evaluated in this checkout."""
    return _records_path(name).is_file()


def has_store() -> bool:
    """Whether there is a store to look into; one that is missing is not made for a question."""
    uri = tracking.store_uri()
    return uri != tracking.OFF and (uri != tracking.default_uri() or paths.MLFLOW_DB.is_file())


def from_files(name: str) -> Compared:
    """Reads what `evaluate` and `train` have left.

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


def _records_path(name: str) -> Path:
    return paths.EVALUATE / name / "records.json"


def from_store(store: Store, name: str, known: Sequence[str]) -> Compared:
    """Reads a run of the store: the current evaluated one of a model, or the one of that name.

    Current is what `publish` marked, the newest of them where seeds have runs of their own: after
    settings were changed and changed back, the newest training is not it.

    Args:
        store: The store.
        name: A model, or a run such as `vae-s0-1f2e3d4c`.
        known: Names that are not in the store, for the nearest spelling.

    Raises:
        UserError: There is no such run, it holds no values, or the store is away.
    """
    is_run = "-" in name
    which = "attributes.run_name" if is_run else f"{tracking.IS_CURRENT} AND tags.model"
    condition = f"{which} = '{name}' AND tags.evaluated != ''"

    def find(client: Any) -> tuple[Any, dict[str, Any] | None] | None:
        ids = [store.experiment_id(tracking.PIPELINE)]
        found = client.search_runs(ids, condition, max_results=1, order_by=NEWEST)
        return (found[0], _document(client, found[0].info.run_id)) if found else None

    found = store.attempt(find, None)
    if not store.is_on:
        raise UserError("the MLflow store does not answer; the warning above says why")
    if found is None:
        names = sorted({*_names(store), *known})
        raise UserError(
            f"{name}: no evaluated run of it in the MLflow store{suggest(name, names)}; "
            f"there are {', '.join(names) or 'none'}"
        )
    run, document = found
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

    def find(client: Any) -> set[str]:
        ids = [store.experiment_id(tracking.PIPELINE)]
        runs = client.search_runs(
            ids, "tags.evaluated != ''", max_results=RECENT_RUNS, order_by=NEWEST
        )
        return {run.data.tags["model"] for run in runs if "model" in run.data.tags}

    return store.attempt(find, set())


def row(name: str, document: Mapping[str, Any], cost: Mapping[str, int]) -> Row:
    """A row of the comparison from a `records.json`."""
    seeds: dict[str, list[dict[str, Any]]] = document["seeds"]
    summary = summarise(seeds)
    return Row(name, document["kind"], document["family"], cost, summary, seeds)

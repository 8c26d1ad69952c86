"""Where `compare` reads a model: from the files of this checkout, or from the MLflow store.

Both hold the same document, `records.json`: the values of all seeds of one training, with their
protocol. A run of the store has it as an artifact, so trainings with different settings are never
mixed, and the protocol shows whether values are comparable.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from evaluation.comparing.leaderboard import Row
from evaluation.measuring.records import summarise
from pipelines.reporting.differing import flatten
from pipelines.settings import files, paths, presets
from pipelines.settings.errors import UserError
from pipelines.settings.escape import mlflow_text
from pipelines.settings.refusals import suggest
from pipelines.tracking.address import OFF, default_uri, hide_password, store_uri
from pipelines.tracking.store import IS_CURRENT, open_store

#: In a run's artifacts, as `publish` writes them.
RECORDS = "evaluate/records.json"
#: Newest runs whose model names are listed after an unknown name.
RECENT_RUNS = 100
#: A model or a run: `vae`, `vae-s0-1f2e3d4c`.
_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Compared:
    """The values of a model, the settings of its training (dotted keys), their source in words."""

    row: Row
    params: Mapping[str, str]
    source: str


def read(names: Sequence[str], known: Sequence[str], from_store: bool) -> list[Compared]:
    """Reads each model or run from its files or, if there are none, from the store.

    `known` are the keys of `models:`; `from_store` reads all of them from the store.

    Raises:
        UserError: A name is repeated or unknown, or a model was not evaluated.
    """
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"{name}: named twice")
        if not _NAME.fullmatch(name):
            raise UserError(f"{name}: neither the name of a model nor of a run")
    uri = store_uri()
    # A comparison does not create a store.
    has_store = uri != OFF and (uri != default_uri() or paths.MLFLOW_DB.is_file())
    if from_store and not has_store:
        raise UserError(f"--store: there is no MLflow store ({hide_password(uri)})")
    models = []
    for name in names:
        if not from_store and (paths.EVALUATE / name / "records.json").is_file():
            models.append(_from_files(name))
        elif has_store:
            models.append(_from_store(name, known))
        elif name in known:
            raise UserError(f"{name}: not evaluated; run `dvc repro evaluate@{name}`")
        else:
            raise UserError(f"{name}: {presets.no_such_model(name, known)}")
    return models


def _from_files(name: str) -> Compared:
    """Reads the outputs of `evaluate` and `train`."""
    folder = paths.EVALUATE / name
    document = files.read_json(folder / "records.json", f"dvc repro evaluate@{name}")
    seed = next(iter(document["seeds"]))
    config = files.read_json(paths.TRAIN / name / seed / "config.json", f"dvc repro train@{name}")
    values = row(name, document, {"num_parameters": config["num_parameters"]})
    return Compared(values, dict(flatten(config["settings"])), str(folder.relative_to(paths.ROOT)))


def _from_store(name: str, known: Sequence[str]) -> Compared:
    """Reads a run of the store: the current evaluated run of a model, or the run of that name.

    `publish` marks the current runs; where each seed has a run of its own, the newest is read.
    After settings were changed and changed back, the newest training is not the current one.
    """
    store, is_run = open_store(), "-" in name
    which = "attributes.run_name" if is_run else f"{IS_CURRENT} AND tags.model"
    runs = store.newest_evaluated(f"{which} = {mlflow_text(name)}", 1)
    document = store.read_artifact(runs[0].info.run_id, RECORDS) if runs else None
    if not store.is_on:
        raise UserError("the MLflow store does not answer; the warning above gives the reason")
    if not runs:
        recent = store.newest_evaluated("tags.model != ''", RECENT_RUNS)
        names = sorted({*(run.data.tags["model"] for run in recent), *known})
        raise UserError(
            f"{name}: the MLflow store has no evaluated run of it{suggest(name, names)}; "
            f"there are {', '.join(names) or 'none'}"
        )
    (run,) = runs
    if document is None:
        raise UserError(
            f"{run.info.run_name}: the run has no {RECORDS}, so its values cannot be compared; "
            "`make publish` completes it"
        )
    params = {key: value for key, value in run.data.params.items() if key != "seed"}
    started = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    source = f"MLflow run {run.info.run_name} of {started:%Y-%m-%d}"
    size = run.data.metrics.get("cost/num_parameters")
    cost = {} if size is None else {"num_parameters": int(size)}
    return Compared(row(name, document, cost), params, source + ("" if is_run else ", current"))


def row(name: str, document: Mapping[str, Any], cost: Mapping[str, int]) -> Row:
    """A row of the comparison from a `records.json`."""
    seeds: dict[str, list[dict[str, Any]]] = document["seeds"]
    return Row(name, document["kind"], document["family"], cost, summarise(seeds), seeds)

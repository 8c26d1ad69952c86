"""The content of a completed run, read from files: everything that MLflow shows.

Reads dvc.lock, outputs/ and reports/metrics/; writes nothing and does not import MLflow.
"""

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from evaluation.comparing.leaderboard import Row
from evaluation.comparing.value_text import rounded, rounded_mean_and_sd
from evaluation.measuring.records import summarise
from pipelines.settings import escape, files, paths
from pipelines.settings.errors import UserError
from pipelines.tracking import mlmodel, origin
from pipelines.tracking.run import ROW_MARK, Identity, Run, metric_name
from pipelines.training import fingerprint

Rows = list[dict[str, float | None]]
Records = Sequence[Mapping[str, Any]]

MADE_BY = "dvc repro"
_SNAPSHOT = re.compile(r"step_(\d+)\.png")


@dataclass(frozen=True)
class CompletedRun:
    """A run that DVC has completed.

    Attributes:
        params: The settings of the training, nested.
        tags: Hashes of its data, weights and sample grids, versions, metrics without a value.
        rows: The history, one row per epoch.
        timings: Measured times. The first ones stay, so a forced repro adds no point.
        files: Artifacts by their path in the run: a file or a text.
        digests: The SHA-256 of weights and settings, by the keys of `mlmodel.FILES`.
        snapshots: Sample grids by training step.
        note: The description, Markdown. The links to pictures depend on the run, see `described`.
        card: A shorter description for the registry: only metrics with a direction.
    """

    identity: Identity
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    rows: Rows
    metrics: Mapping[str, float]
    timings: Mapping[str, float]
    files: Mapping[str, Path | str]
    digests: Mapping[str, str]
    snapshots: Mapping[int, Path]
    note: str
    card: str

    def digest(self) -> str:
        """The SHA-256 of the evaluation: values, files, weights; without times and versions."""
        content = {
            "tags": {key: value for key, value in self.tags.items() if key.startswith("dvc.")},
            "metrics": self.metrics,
            "note": self.note,
            "texts": {k: v for k, v in self.files.items() if isinstance(v, str)},
            "snapshots": self.tags["snapshots"],
            "files": {k: files.md5(v) for k, v in self.files.items() if isinstance(v, Path)},
        }
        return fingerprint.digest(content)

    def missing(self, present: Mapping[str, int]) -> list[str]:
        """The artifacts that a run lacks or has in another size, such as one that was cut off."""
        sizes = {
            name: len(file.encode()) if isinstance(file, str) else file.stat().st_size
            for name, file in self.files.items()
        }
        return sorted(name for name, size in sizes.items() if present.get(name) != size)

    def contradicts(self, run: Run, present: Iterable[str]) -> bool:
        """Whether a run with these artifacts has another value, curve, sample grid or file."""
        values = run.metrics
        # A new evaluation may change or remove these metrics.
        evaluated = ("evaluate/", "best/")
        final = {k: v for k, v in values.items() if k in self.metrics or k.startswith(evaluated)}
        last = {metric_name(k): v for k, v in self.rows[-1].items() if k != "epoch"}
        is_whole = values.get(ROW_MARK) == last[ROW_MARK]
        curves = {k: v for k, v in last.items() if v is not None and math.isfinite(v)}
        return (
            any(self.metrics.get(name) != value for name, value in final.items())
            or (is_whole and any(values.get(name) != value for name, value in curves.items()))
            or run.tags.get("snapshots", self.tags["snapshots"]) != self.tags["snapshots"]
            or any(name.startswith("evaluate/") and name not in self.files for name in present)
        )

    def described(self, run_id: str) -> str:
        """The note with links to the pictures of the run with this id."""
        links = {
            Path(path).name: f"get-artifact?{urlencode({'path': path, 'run_uuid': run_id})}"
            for path in self.files
            if path.endswith(".png")
        }
        shown = f"![samples]({links['samples.png']})" if "samples.png" in links else ""
        listed = " · ".join(f"[{Path(name).stem}]({link})" for name, link in links.items())
        # The page collapses everything after the first lines.
        title, _, table = self.note.partition("\n\n")
        parts = [title, shown, table, f"Pictures: {listed}. Side by side: the report."]
        return "\n\n".join(filter(None, parts))


def read(model: str, lock: Mapping[str, Any]) -> tuple[Row, list[CompletedRun]]:
    """The values of a model, as the report ranks them, and its runs, one per seed.

    Raises:
        UserError: A file is missing, or dvc.lock does not hold the model.
    """
    fingerprint.train_stage(model, lock)
    document = files.read_json(paths.EVALUATE / model / "records.json", MADE_BY)
    summary = files.read_json(paths.METRICS / f"{model}.json", MADE_BY)
    records = document["seeds"]
    row = Row(model, document["kind"], document["family"], {}, summarise(records), records)
    return row, [_read_seed(row, seed, lock, summary) for seed in records]


def _timing(stage: str, model: str, seed: str) -> dict[str, Any]:
    # Times are no out of DVC: they are missing after `dvc pull` and after a hit in the run cache.
    path = paths.TIMING / stage / f"{model}.json"
    return files.read_json(path, MADE_BY).get(seed, {}) if path.is_file() else {}


def _read_seed(
    row: Row, seed: str, lock: Mapping[str, Any], summary: Mapping[str, Any]
) -> CompletedRun:
    model, records = row.name, row.records[seed]
    trained, evaluated = paths.TRAIN / model / seed, paths.EVALUATE / model
    config = files.read_json(trained / "config.json", MADE_BY)
    made = {"history.csv": trained / "history.csv"}
    made |= {"evaluate/records.json": evaluated / "records.json"}
    made |= {f"{mlmodel.FOLDER}/{name}": trained / name for name in mlmodel.FILES.values()}
    require(made.values())
    pictures = [*sorted((evaluated / seed).glob("*.png")), *(evaluated / seed).glob("latents.json")]
    digests = mlmodel.hash_files(trained)
    rows = _read_history(made["history.csv"])
    digest = fingerprint.from_lock(model, int(seed), lock)
    identity = Identity(model, config["kind"], config["family"], int(seed), digest)
    snapshots = {
        int(match[1]): path
        for path in sorted((evaluated / seed / "training").glob("*.png"))
        if (match := _SNAPSHOT.fullmatch(path.name))
    }
    grids = fingerprint.digest({step: files.md5(path) for step, path in snapshots.items()})
    clock = _timing("train", model, seed)
    tags = _tags(model, lock, records, clock) | origin.recall(digest)
    times = {
        "cost/train_seconds": clock.get("seconds"),
        "cost/train_cpu_seconds": clock.get("cpu_seconds"),
        "cost/images_per_second": clock.get("images_per_second"),
        "cost/evaluate_seconds": _timing("evaluate", model, seed).get("seconds"),
    }
    directed = [record for record in records if record["higher_is_better"] is not None]
    return CompletedRun(
        identity=identity,
        params=identity.params(config["settings"], config["train"]),
        tags=tags | {"snapshots": grids},
        rows=rows,
        metrics=_metrics(records, rows, summary["cost"]),
        timings={name: float(value) for name, value in times.items() if value is not None},
        files={
            **made,
            **{f"evaluate/{path.name}": path for path in pictures},
            mlmodel.DESCRIPTION: mlmodel.describe(config, digests),
        },
        digests=digests,
        snapshots=snapshots,
        note=describe(identity, records, summary),
        card=describe(identity, directed, summary),
    )


def require(outputs: Iterable[Path]) -> None:
    """Raises a UserError about the first missing file of the pipeline."""
    for path in outputs:
        if not path.is_file():
            raise UserError(f"{path}: no such file; `{MADE_BY}` makes it")


def _read_history(path: Path) -> Rows:
    """`epoch`, `step` and one column per curve; an empty cell is None."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: float(value) if value else None for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def _tags(
    model: str, lock: Mapping[str, Any], records: Records, clock: Mapping[str, Any]
) -> dict[str, str]:
    missing = [f"{r['name']}: {r['reason']}" for r in records if r["value"] is None]
    tags = {
        "dvc.data_md5": fingerprint.out_md5("prepare", "outputs/prepare", lock),
        "dvc.model_md5": fingerprint.out_md5(f"train@{model}", f"outputs/train/{model}", lock),
        "not_evaluated": ", ".join(missing) or "none",
        "device": clock.get("device"),
    }
    tags |= {f"version.{name}": version for name, version in clock.get("versions", {}).items()}
    return {key: str(value) for key, value in tags.items() if value is not None}


def _metrics(records: Records, rows: Rows, cost: Mapping[str, float | None]) -> dict[str, float]:
    """Final values: `evaluate/` on the test split, `best/` of the curves on the valid split."""
    metrics = {f"evaluate/{r['name']}": r["value"] for r in records}
    metrics |= {f"cost/{name}": value for name, value in cost.items()}
    for record in records:
        # Only a metric with a direction has a best value.
        column, better = f"valid/{record['name']}", record["higher_is_better"]
        curve = [v for row in rows if (v := row.get(column)) is not None and math.isfinite(v)]
        if curve and better is not None:
            metrics[f"best/{record['name']}"] = max(curve) if better else min(curve)
    return {escape.mlflow_key(k): float(value) for k, value in metrics.items() if value is not None}


def describe(identity: Identity, records: Records, summary: Mapping[str, Any]) -> str:
    """Model, settings and values of a run, with the means over the seeds, as Markdown."""
    lines = [
        f"**{escape.markdown(identity.model)}**, seed {identity.seed}: kind "
        f"{escape.markdown_code(identity.kind)} ({escape.markdown(identity.family)}), "
        f"{summary['cost']['num_parameters']:,} parameters",
        "",
        "| metric (test split) | this run | mean ± sd over seeds | better |",
        "| --- | ---: | ---: | --- |",
    ]
    arrows = {True: "higher", False: "lower", None: "diagnostic"}
    for record in records:
        if record["value"] is not None:
            value = summary["metrics"].get(record["name"], {})
            over_seeds = ""
            if value.get("mean") is not None:
                mean_and_sd = rounded_mean_and_sd(value["mean"], value.get("std"))
                over_seeds = f"{mean_and_sd} (n={value['n']})"
            name, better = escape.markdown(record["name"]), arrows[record["higher_is_better"]]
            lines.append(f"| {name} | {rounded(record['value'])} | {over_seeds} | {better} |")
    return "\n".join(lines)

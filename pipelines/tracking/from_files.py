"""The content of a completed run, read from files: everything that MLflow shows.

Reads dvc.lock, outputs/ and reports/metrics/; writes nothing and does not import MLflow.
"""

import csv
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from pipelines.settings import escape, files, paths
from pipelines.settings.errors import UserError
from pipelines.tracking import mlmodel, origin
from pipelines.tracking.run import ROW_MARK, Identity, metric_name
from pipelines.training import fingerprint

Rows = list[dict[str, float | None]]
Records = Sequence[Mapping[str, Any]]

MADE_BY = "dvc repro"
#: Prefixes of the metrics that a new evaluation may change or remove.
_EVALUATED = ("evaluate/", "best/")
#: The picture in a description, which links to the other ones.
_SHOWN = "samples.png"
_SNAPSHOT = re.compile(r"step_(\d+)\.png")


@dataclass(frozen=True)
class CompletedRun:
    """A run that DVC has completed.

    Attributes:
        identity: Model, seed, fingerprint.
        params: The settings of the training, nested.
        tags: Hashes of its data and weights, versions, metrics without a value.
        rows: The history, one row per epoch.
        records: The evaluated values.
        metrics: Final values, by MLflow name.
        timings: Measured times. The first ones stay, so a forced repro adds no point.
        files: Artifacts by their path in the run.
        texts: Artifacts without a file, by their path in the run.
        digests: The SHA-256 of weights and settings, by the keys of `mlmodel.FILES`.
        snapshots: Sample grids by training step.
        note: The description, Markdown. The links to pictures depend on the run, see `described`.
        card: A shorter description for the registry: only metrics with a direction.
    """

    identity: Identity
    params: Mapping[str, Any]
    tags: Mapping[str, str]
    rows: Rows
    records: Records
    metrics: Mapping[str, float]
    timings: Mapping[str, float]
    files: Mapping[str, Path]
    texts: Mapping[str, str]
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
            "texts": self.texts,
            "snapshots": self.tags["snapshots"],
            "files": {name: files.md5(path) for name, path in self.files.items()},
        }
        text = json.dumps(content, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode("utf-8")).hexdigest()

    def sizes(self) -> dict[str, int]:
        """The size in bytes of each artifact, by its path in the run."""
        of_texts = {name: len(text.encode("utf-8")) for name, text in self.texts.items()}
        return {name: path.stat().st_size for name, path in self.files.items()} | of_texts

    def contradicts(
        self, metrics: Mapping[str, float], tags: Mapping[str, str], present: Iterable[str]
    ) -> bool:
        """Whether a run has another value, curve or sample grid, or a file that is not here.

        Args:
            metrics: The last value of each metric of the run.
            tags: Its tags.
            present: Its artifacts.
        """
        final = {k: v for k, v in metrics.items() if k in self.metrics or k.startswith(_EVALUATED)}
        last = {metric_name(k): v for k, v in self.rows[-1].items() if k != "epoch"}
        is_whole = metrics.get(ROW_MARK) == last[ROW_MARK]
        curves = {k: v for k, v in last.items() if v is not None and math.isfinite(v)}
        return (
            any(self.metrics.get(name) != value for name, value in final.items())
            or (is_whole and any(metrics.get(name) != value for name, value in curves.items()))
            or tags.get("snapshots", self.tags["snapshots"]) != self.tags["snapshots"]
            or any(name.startswith("evaluate/") and name not in self.files for name in present)
        )

    def described(self, run_id: str) -> str:
        """The note with links to the pictures of the run with this id."""
        names = [Path(name).name for name in self.files if name.endswith(".png")]
        links = {
            name: f"get-artifact?{urlencode({'path': f'evaluate/{name}', 'run_uuid': run_id})}"
            for name in names
        }
        shown = f"![samples]({links[_SHOWN]})" if _SHOWN in links else ""
        listed = " · ".join(f"[{Path(name).stem}]({link})" for name, link in links.items())
        # The page collapses everything after the first lines.
        title, _, table = self.note.partition("\n\n")
        parts = [title, shown, table, f"Pictures: {listed}. Side by side: the report."]
        return "\n\n".join(filter(None, parts))


def read(model: str, lock: Mapping[str, Any]) -> list[CompletedRun]:
    """The runs of a model, one per seed.

    Args:
        model: A key of `selected:`.
        lock: dvc.lock, of `fingerprint.read_lock`.

    Raises:
        UserError: A file is missing, or dvc.lock does not hold the model.
    """
    fingerprint.train_stage(model, lock)
    records = files.read_json(paths.EVALUATE / model / "records.json", MADE_BY)["seeds"]
    summary = files.read_json(paths.METRICS / f"{model}.json", MADE_BY)
    timing = {stage: _timing(stage, model) for stage in ("train", "evaluate")}
    runs = []
    for seed in map(int, records):
        clock = {stage: timing[stage].get(str(seed), {}) for stage in timing}
        runs.append(_read_seed(model, seed, lock, records[str(seed)], summary, clock))
    return runs


def _timing(stage: str, model: str) -> dict[str, Any]:
    # Times are no out of DVC: they are missing after `dvc pull` and after a hit in the run cache.
    path = paths.TIMING / stage / f"{model}.json"
    return files.read_json(path, MADE_BY) if path.is_file() else {}


def _read_seed(
    model: str,
    seed: int,
    lock: Mapping[str, Any],
    records: Records,
    summary: Mapping[str, Any],
    clock: Mapping[str, Mapping[str, Any]],
) -> CompletedRun:
    folder = paths.TRAIN / model / str(seed)
    config = files.read_json(folder / "config.json", MADE_BY)
    rows = read_history(folder / "history.csv")
    digest = fingerprint.from_lock(model, seed, lock)
    identity = Identity(model, config["kind"], config["family"], seed, digest)
    artifacts = _artifacts(folder, paths.EVALUATE / model, seed)
    snapshots = {
        int(match[1]): path
        for path in sorted((paths.EVALUATE / model / str(seed) / "training").glob("*.png"))
        if (match := _SNAPSHOT.fullmatch(path.name))
    }
    tags = _tags(model, lock, records, clock["train"]) | origin.recall(digest)
    digests = mlmodel.hash_files(folder)
    directed = [r for r in records if r["higher_is_better"] is not None]
    return CompletedRun(
        identity=identity,
        params=config["settings"] | {"train": config["train"], "seed": seed},
        tags=tags | {"snapshots": _digest(snapshots)},
        rows=rows,
        records=records,
        metrics=_metrics(records, rows, summary["cost"]),
        timings=_timings(clock),
        files=artifacts,
        texts={mlmodel.DESCRIPTION: mlmodel.describe(config, digests)},
        digests=digests,
        snapshots=snapshots,
        note=describe(identity, records, summary),
        card=describe(identity, directed, summary),
    )


def _digest(snapshots: Mapping[int, Path]) -> str:
    hashes = {step: files.md5(path) for step, path in snapshots.items()}
    return hashlib.sha256(json.dumps(hashes).encode("utf-8")).hexdigest()


def _artifacts(trained: Path, evaluated: Path, seed: int) -> dict[str, Path]:
    artifacts = {"history.csv": trained / "history.csv"}
    for name in mlmodel.FILES.values():
        if not (trained / name).is_file():
            raise UserError(f"{trained / name}: no such file; `{MADE_BY}` makes it")
        artifacts[f"{mlmodel.FOLDER}/{name}"] = trained / name
    artifacts["evaluate/records.json"] = evaluated / "records.json"
    pictures = sorted((evaluated / str(seed)).glob("*.png"))
    for path in [*pictures, *(evaluated / str(seed)).glob("latents.json")]:
        artifacts[f"evaluate/{path.name}"] = path
    return artifacts


def read_history(path: Path) -> Rows:
    """Reads history.csv: `epoch`, `step` and one column per curve; an empty cell is None."""
    if not path.is_file():
        raise UserError(f"{path}: no such file; `{MADE_BY}` makes it")
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: float(value) if value else None for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


def data_md5(lock: Mapping[str, Any]) -> str | None:
    """DVC's hash of the prepared data."""
    return fingerprint.out_md5("prepare", "outputs/prepare", lock)


def _tags(
    model: str, lock: Mapping[str, Any], records: Records, clock: Mapping[str, Any]
) -> dict[str, str]:
    missing = [f"{r['name']}: {r['reason']}" for r in records if r["value"] is None]
    tags = {
        "dvc.data_md5": data_md5(lock),
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


def _timings(clock: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    train = clock["train"]
    values = {
        "cost/train_seconds": train.get("seconds"),
        "cost/train_cpu_seconds": train.get("cpu_seconds"),
        "cost/images_per_second": train.get("images_per_second"),
        "cost/evaluate_seconds": clock["evaluate"].get("seconds"),
    }
    return {name: float(value) for name, value in values.items() if value is not None}


def describe(identity: Identity, records: Records, summary: Mapping[str, Any]) -> str:
    """Model, settings and values of a run, with the means over the seeds, as Markdown."""
    from evaluation.comparing.value_text import rounded, rounded_mean_and_sd  # noqa: PLC0415  (it loads torch)

    escaped = escape.markdown
    lines = [
        f"**{escaped(identity.model)}**, seed {identity.seed}: kind "
        f"{escape.markdown_code(identity.kind)} ({escaped(identity.family)}), "
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
            better = arrows[record["higher_is_better"]]
            cells = [escaped(record["name"]), rounded(record["value"]), over_seeds, better]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)

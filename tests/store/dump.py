"""What an MLflow store says, in a form that two stores can be compared in.

`python -m tests.store.dump ADDRESS` prints it as JSON.
"""

import hashlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

#: Tags that tell who wrote a run, when and where, and from which commit.
ORIGIN = re.compile(
    r"host|pid|process_start|seen|git\.dirty|dvc\.exp_name|mlflow\.(source\..*|user)"
)
#: What a clock measured: a second training takes another time.
CLOCK = re.compile(r"cost/(.*_seconds|images_per_second)")
#: MLflow puts the time and a random name into the file name of a picture of its grid.
STAMP = re.compile(r"\+\d{6,}\+[0-9a-f-]{36}")


def dump(uri: str) -> dict[str, Any]:
    """Everything in the experiments of the project, deleted runs included.

    A process of its own looks: MLflow keeps a database open, also one that was deleted and made
    anew.

    Returns:
        By `<experiment>/<fingerprint>`: status, name, params, tags, metrics with steps and values,
        artifacts with hashes, data sets. A run that is there twice is there as `... again`.
    """
    command = [sys.executable, "-m", "tests.store.dump", uri]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _read(uri: str) -> dict[str, Any]:
    from mlflow import MlflowClient  # noqa: TID251
    from mlflow.entities import ViewType  # noqa: TID251

    client = MlflowClient(uri)
    found: dict[str, Any] = {}
    for experiment in client.search_experiments(order_by=["name ASC"]):
        if experiment.name == "Default":
            continue
        found[experiment.name] = {
            key: value for key, value in experiment.tags.items() if key.startswith("mlflow.")
        }
        for run in client.search_runs([experiment.experiment_id], run_view_type=ViewType.ALL):
            key = f"{experiment.name}/{run.data.tags['fingerprint']}"
            while key in found:
                key += " again"
            found[key] = _run(client, run)
    found["registry"] = _registry(client)
    return found


def _registry(client: Any) -> dict[str, Any]:
    """Of each registered model the versions by fingerprint, and which of them an alias names."""
    found: dict[str, Any] = {}
    for model in client.search_registered_models():
        versions = client.search_model_versions(f"name = '{model.name}'", max_results=1000)
        told = {str(v.version): v.tags["fingerprint"] for v in versions}
        found[model.name] = {
            "versions": sorted((told[str(v.version)], v.description) for v in versions),
            "aliases": {alias: told[str(number)] for alias, number in model.aliases.items()},
        }
    return found


def _run(client: Any, run: Any) -> dict[str, Any]:
    metrics = {}
    for key in run.data.metrics:
        points = client.get_metric_history(run.info.run_id, key)
        measured = CLOCK.fullmatch(key)
        metrics[key] = sorted((p.step, "measured" if measured else p.value) for p in points)
    return {
        "name": run.info.run_name,
        "status": run.info.status,
        "lifecycle": run.info.lifecycle_stage,
        "params": dict(run.data.params),
        "tags": {
            key: value.replace(run.info.run_id, "<run>")
            for key, value in run.data.tags.items()
            if not ORIGIN.fullmatch(key)
        },
        "metrics": metrics,
        "artifacts": _artifacts(client, run.info.run_id),
        "data": [(d.dataset.name, d.dataset.digest) for d in run.inputs.dataset_inputs],
    }


def _artifacts(client: Any, run_id: str) -> list[tuple[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        top = Path(client.download_artifacts(run_id, "", folder))
        return sorted(
            (STAMP.sub("", str(path.relative_to(top))), hashlib.md5(path.read_bytes()).hexdigest())
            for path in top.rglob("*")
            if path.is_file()
        )


def differences(one: dict[str, Any], other: dict[str, Any], where: str = "") -> list[str]:
    """Where two dumps differ, a line each: short enough to be read in a failing test."""
    lines = []
    for key in sorted(one.keys() | other.keys()):
        if key not in one or key not in other:
            lines.append(f"{where}{key}: only in the {'first' if key in one else 'second'}")
        elif isinstance(one[key], dict) and isinstance(other[key], dict):
            lines += differences(one[key], other[key], f"{where}{key}: ")
        elif one[key] != other[key]:
            lines.append(f"{where}{key}: {str(one[key])[:300]} != {str(other[key])[:300]}")
    return lines


if __name__ == "__main__":
    json.dump(_read(sys.argv[1]), sys.stdout)

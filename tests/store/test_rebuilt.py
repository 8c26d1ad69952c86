"""The MLflow store is the same, whatever happened to it or to the trainings that wrote it.

The store of the first `dvc repro` is written live and by `publish`. After each mishap `publish`
makes one from the files that equals it in every run, param, tag, point and artifact.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.clone import PRESETS, TRAIN_ONE_STEP, Clone, wait_for
from tests.servers import Faulty, free_port, mlflow_server
from tests.store.dump import differences, dump

pytestmark = pytest.mark.slow

#: A time, or the machine that took it, which only the store of the first run has.
MEASURED = re.compile(
    r"pipeline/\w+: (metrics: cost/(\w+_seconds|images_per_second)|tags: (device|version\.\w+))"
    r": only in the first"
)


@pytest.fixture(scope="module")
def clone(reproduced_clone: Clone) -> Clone:
    return reproduced_clone


@pytest.fixture(scope="module")
def first(clone: Clone) -> dict[str, Any]:
    """The store that the first repro wrote."""
    found = dump(store_of(clone))
    runs = [value for name, value in found.items() if "/" in name]
    assert len(runs) == 2 * len(PRESETS) + 1, sorted(found)
    assert {run["status"] for run in runs} == {"FINISHED"}
    assert all(run["artifacts"] for run in runs)
    return found


def store_of(clone: Clone) -> str:
    return f"sqlite:///{clone.folder / 'mlflow.db'}"


def lose_the_store(clone: Clone) -> None:
    for path in clone.folder.glob("mlflow.db*"):
        path.unlink()
    shutil.rmtree(clone.folder / "mlartifacts", ignore_errors=True)


def publish(clone: Clone, **environment: str) -> str:
    done = clone.run(sys.executable, "-m", "pipelines.publish", **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def origins(clone: Clone) -> dict[str, list[str]]:
    """By run the commit that it was trained at, and whether files differed from it."""
    from mlflow import MlflowClient  # noqa: TID251

    client = MlflowClient(store_of(clone))
    found = client.search_runs([client.get_experiment_by_name("pipeline").experiment_id])
    tags = ("mlflow.source.git.commit", "git.dirty")
    return {run.data.tags["fingerprint"]: [run.data.tags[tag] for tag in tags] for run in found}


def test_a_lost_store_is_rebuilt(clone: Clone, first: dict[str, Any]) -> None:
    assert set(first["registry"]["genmodels"]["aliases"]) == {"champion", "best-vae", "best-gan"}
    trained_at = origins(clone)
    lose_the_store(clone)
    assert "6 created from the files, 1 report added" in publish(clone)
    assert differences(first, dump(store_of(clone))) == []
    assert origins(clone) == trained_at
    assert "nothing was missing" in publish(clone)
    assert differences(first, dump(store_of(clone))) == []


def test_stages_restored_from_the_run_cache_give_the_store_in_a_fresh_clone(
    clone: Clone, first: dict[str, Any], tmp_path: Path
) -> None:
    fresh = Clone(tmp_path, PRESETS)
    shutil.copytree(clone.folder / ".dvc/cache", fresh.folder / ".dvc/cache")
    ran = fresh.repro()
    assert not [stage for stage in ran if stage.startswith(("prepare", "train", "evaluate"))]
    publish(fresh)  # its own stage may have come from the cache, too
    # Times and the machine are no outs of DVC, because they differ from run to run.
    lines = differences(first, dump(store_of(fresh)))
    assert lines
    assert [line for line in lines if not MEASURED.fullmatch(line)] == []


def test_two_forced_repros_change_nothing(clone: Clone, first: dict[str, Any]) -> None:
    before = clone.outs()
    for _ in range(2):
        clone.repro("-f", "-s", "train@gan_r1", "evaluate@gan_r1", "report", "publish")
    assert clone.outs() == before
    assert differences(first, dump(store_of(clone))) == []


def checkpoints(clone: Clone) -> dict[str, int]:
    """When each checkpoint was written last."""
    found = clone.folder.glob(".checkpoints/*/checkpoint.pt")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def test_a_training_that_is_killed_three_times_leaves_the_same_bytes_and_runs(
    clone: Clone, first: dict[str, Any], tmp_path: Path
) -> None:
    lose_the_store(clone)
    outs, said = clone.outs(), tmp_path / "stderr"
    for attempt in range(3):
        before = checkpoints(clone)

        def progressed(attempt: int = attempt, before: dict[str, int] = before) -> bool:
            now = checkpoints(clone)
            trained = len(now) == 2 and all(now[key] != before.get(key) for key in now)
            return trained and said.read_text().count("resumed at step") == (2 if attempt else 0)

        with said.open("w") as stderr:
            trainer = subprocess.Popen(
                [sys.executable, "-c", TRAIN_ONE_STEP, "vae"],
                cwd=clone.folder,
                env=clone.environment(),
                stderr=stderr,
            )
            wait_for(progressed, trainer)
            trainer.send_signal(signal.SIGKILL)
            assert trainer.wait() == -signal.SIGKILL
    # A run of a dead process is closed by whoever publishes, and completed as soon as it can be.
    done = clone.run(sys.executable, "-m", "pipelines.train", "vae")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("resumed at step") == 2
    assert not checkpoints(clone)
    publish(clone)
    assert clone.outs() == outs
    assert differences(first, dump(store_of(clone))) == []


def train(clone: Clone, uri: str) -> str:
    """Trains `gan_r1`; returns its output. Its time limit: pipelines/tracking/test_live_run.py."""
    command = [sys.executable, "-m", "pipelines.train", "gan_r1"]
    done = clone.run(*command, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("fault", ["gone", "500", "hangs"])
def test_a_server_that_never_helped_costs_a_warning_and_publish_fills_the_store(
    fault: str, clone: Clone, first: dict[str, Any]
) -> None:
    lose_the_store(clone)
    with Faulty(None, hangs=fault == "hangs") as server:
        address = f"http://127.0.0.1:{free_port()}" if fault == "gone" else server.address
        said = train(clone, address)
        assert said.count("warning: ") == 1
        assert "warning: tracking is off, the MLflow store does not answer" in said
        assert publish(clone, MLFLOW_TRACKING_URI=address) == ""
    publish(clone)
    assert differences(first, dump(store_of(clone))) == []


@pytest.mark.parametrize(("fault", "delay_s", "answers"), [("slow", 4, 1e9), ("vanishes", 0, 9)])
def test_a_server_that_helped_a_little_is_completed_when_it_is_back(
    fault: str,
    delay_s: float,
    answers: float,
    clone: Clone,
    first: dict[str, Any],
    tmp_path: Path,
) -> None:
    backend = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with mlflow_server(backend, tmp_path / "artifacts", os.environ) as behind:
        with Faulty(behind, delay_s, answers) as server:
            said = train(clone, server.address)
        assert said.count("warning: tracking is off") == 1
        publish(clone, MLFLOW_TRACKING_URI=behind)
        found = dump(behind)
    # Through a server, the folders of the artifacts are the server's.
    assert differences(first, found) == []

"""A publication into a store that has runs: it adds what is new or lost, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipelines import publish
from pipelines.settings import paths
from pipelines.tracking.run import Identity
from pipelines.tracking.store import open_store
from tests.pipelines.opened_store import artifacts, client, run_of, runs

VIEW = "mlflow.sharedViewState."


def content() -> dict[str, Any]:
    """Everything in the store that a second publication could add to."""
    everything: dict[str, Any] = {}
    for run in [*runs(), *runs("reports")]:
        history = {
            key: [(p.step, p.value) for p in client().get_metric_history(run.info.run_id, key)]
            for key in run.data.metrics
        }
        files = artifacts(run)
        stamps = [
            path.stat().st_mtime_ns
            for path in sorted(paths.MLFLOW_ARTIFACTS.rglob("*"))
            if path.is_file()
        ]
        everything[run.info.run_id] = (history, files, stamps, run.data.tags, run.info.end_time)
    return everything


def summary(capsys: pytest.CaptureFixture[str]) -> str:
    """The first line that a publication printed."""
    return capsys.readouterr().out.partition("\n")[0]


def test_a_second_publication_writes_nothing(
    reproduced: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish.publish()
    before = content()
    open_store.cache_clear()
    capsys.readouterr()
    publish.publish()
    assert content() == before
    assert summary(capsys) == "MLflow: 4 runs are complete; nothing was missing"


def test_the_summary_counts_each_change_by_its_reason(
    reproduced: Path,
    fingerprints: dict[tuple[str, int], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for seed in (0, 1):
        identity = Identity("gan", "gan", "gan", seed, fingerprints["gan", seed])
        run = open_store().start_run(identity, {"beta": 1.0}, {})
        run.log_rows([{"epoch": 1.0, "step": 10.0, "generator/loss": 100.0 + seed}])
        run.finish("FINISHED")
    publish.publish()
    assert summary(capsys) == (
        "MLflow: 4 runs are complete; 2 created from the files, "
        "2 completed after training with evaluation and files, 1 report added"
    )
    path = reproduced / "outputs/evaluate/vae/records.json"
    path.write_text(path.read_text().replace('"value": 4.0', '"value": 2.5'))
    folder = paths.MLFLOW_ARTIFACTS / "pipeline" / run_of("gan", 0).info.run_id / "artifacts"
    (folder / "evaluate/samples.png").unlink()
    publish.publish()
    # The file with the records of a model belongs to each of its runs.
    assert summary(capsys) == (
        "MLflow: 4 runs are complete; 2 updated to the new evaluation, 1 with lost files restored"
    )


def test_a_forced_repro_with_other_durations_adds_no_point(reproduced: Path) -> None:
    publish.publish()
    before = content()
    path = reproduced / "outputs/timing/train/vae.json"
    path.write_text(path.read_text().replace("12.5", "13.5"))
    publish.publish()
    assert content() == before


def test_a_new_evaluation_updates_its_run(reproduced: Path) -> None:
    publish.publish()
    path = reproduced / "outputs/evaluate/vae/records.json"
    path.write_text(path.read_text().replace('"value": 4.0', '"value": 2.5'))
    publish.publish()
    assert len(runs()) == 4
    run = run_of("vae", 1)
    assert run.data.metrics["evaluate/fid_classifier"] == 2.5
    elbo = client().get_metric_history(run.info.run_id, "evaluate/elbo")
    assert len(elbo) == 1
    stored = client().download_artifacts(run.info.run_id, "evaluate/records.json")
    assert Path(stored).read_text() == path.read_text()


def test_a_deleted_database_is_filled_again(reproduced: Path, database: Path) -> None:
    publish.publish()
    before = {run.info.run_name: (run.data.metrics, run.data.params) for run in runs()}
    paths.MLFLOW_DB.write_bytes(database.read_bytes())
    open_store.cache_clear()
    publish.publish()
    assert {run.info.run_name: (run.data.metrics, run.data.params) for run in runs()} == before


def test_a_deleted_artifact_is_written_again(reproduced: Path) -> None:
    publish.publish()
    run = run_of("vae", 0)
    before = artifacts(run)
    folder = paths.MLFLOW_ARTIFACTS / "pipeline" / run.info.run_id / "artifacts"
    (folder / "evaluate/samples.png").unlink()
    publish.publish()
    assert artifacts(run) == before


def test_a_publication_that_was_interrupted_is_completed_without_a_duplicate(
    reproduced: Path,
) -> None:
    publish.publish()
    run = run_of("vae", 0)
    before = artifacts(run)
    client().delete_tag(run.info.run_id, "evaluated")
    publish.publish()
    assert artifacts(run_of("vae", 0)) == before
    assert "evaluated" in run_of("vae", 0).data.tags


def test_settings_that_are_changed_back_are_current_again(
    reproduced: Path, fingerprints: dict[tuple[str, int], str]
) -> None:
    publish.publish()
    client().set_tag(run_of("vae", 0).info.run_id, "current", "false")
    publish.publish()
    assert run_of("vae", 0).data.tags["current"] == "true"


def test_another_report_is_another_run(reproduced: Path) -> None:
    publish.publish()
    (reproduced / "reports/index.html").write_text("<h1>New</h1>")
    publish.publish()
    found = runs("reports")
    assert len(found) == 2
    assert artifacts(found[0]) == ["comparison.md", "index.html", "leaderboard.csv"]
    assert found[0].data.tags["mlflow.note.content"].startswith("| model | fid |")
    assert found[0].data.tags["champion"] == "vae"
    view = json.loads(client().get_experiment_by_name("reports").tags[VIEW + "leaderboard"])
    assert "tags.`champion`" in view["selectedColumns"]


def test_what_a_new_evaluation_takes_away_is_gone_from_the_store(reproduced: Path) -> None:
    publish.publish()
    before = run_of("vae", 0)
    folder = paths.EVALUATE / "vae"
    records = json.loads((folder / "records.json").read_text())
    record = next(r for r in records["seeds"]["0"] if r["name"] == "elbo")
    record |= {"value": None, "reason": "too_few_samples"}
    (folder / "records.json").write_text(json.dumps(records))
    next((folder / "0").glob("*.png")).unlink()
    publish.publish()
    after = run_of("vae", 0)
    assert after.info.run_id != before.info.run_id
    assert set(before.data.metrics) - set(after.data.metrics) == {"evaluate/elbo"}
    assert len(artifacts(after)) == len(artifacts(before)) - 1
    same = ("mlflow.runName", "fingerprint", "current", "dvc.model_md5")
    assert [after.data.tags[key] for key in same] == [before.data.tags[key] for key in same]
    unchanged = content()
    publish.publish()
    assert content() == unchanged
    assert len(runs()) == 4


def test_sample_grids_that_changed_take_the_place_of_the_old_ones(reproduced: Path) -> None:
    publish.publish()
    path = next((paths.EVALUATE / "vae/0/training").glob("step_*.png"))
    Image.new("L", (12, 12), 77).save(path)
    publish.publish()
    folder = "images"
    grids = [name for name in artifacts(run_of("vae", 0), folder) if name.endswith(".png")]
    assert len(grids) == len(list((paths.EVALUATE / "vae/0/training").glob("step_*.png")))
    shown = [client().download_artifacts(run_of("vae", 0).info.run_id, name) for name in grids]
    assert any(Image.open(name).getpixel((0, 0)) == 77 for name in shown)


def test_a_file_that_was_cut_off_is_written_again(reproduced: Path) -> None:
    publish.publish()
    file = "weights.safetensors"
    weights = Path(client().download_artifacts(run_of("vae", 0).info.run_id, f"model/{file}"))
    whole = (paths.TRAIN / "vae/0" / file).read_bytes()
    stored = next(p for p in paths.MLFLOW_ARTIFACTS.rglob(file) if p.read_bytes() == whole)
    stored.write_bytes(whole[:4])
    publish.publish()
    assert stored.read_bytes() == weights.read_bytes() == whole

import json
import re
import shutil
import socket
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from PIL import Image

from pipelines import publish
from pipelines.settings import paths
from pipelines.tracking.run import Identity
from pipelines.tracking.store import open_store
from tests.pipelines.opened_store import client, runs
from tests.servers import Faulty

VIEW = "mlflow.sharedViewState."
RUNS = [("vae", 0), ("vae", 1), ("gan", 0), ("gan", 1)]


def run_of(model: str, seed: int) -> Any:
    wanted = (model, str(seed))
    return next(r for r in runs() if (r.data.tags["model"], r.data.tags["seed"]) == wanted)


def artifacts(run: Any, folder: str | None = None) -> list[str]:
    names: list[str] = []
    for item in client().list_artifacts(run.info.run_id, folder):
        names += artifacts(run, item.path) if item.is_dir else [item.path]
    return sorted(names)


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


def test_an_empty_store_gets_a_run_for_each_model_and_seed_and_one_for_the_report(
    reproduced: Path, fingerprints: dict[tuple[str, int], str]
) -> None:
    publish.publish()
    names = [f"{model}-s{seed}-{fingerprints[model, seed][:8]}" for model, seed in RUNS]
    assert sorted(run.info.run_name for run in runs()) == sorted(names)
    assert {run.info.status for run in runs()} == {"FINISHED"}
    assert len(runs("reports")) == 1


def test_a_run_holds_settings_curves_values_and_pictures(
    reproduced: Path, fingerprints: dict[tuple[str, int], str]
) -> None:
    publish.publish()
    run = run_of("vae", 1)
    config = json.loads((paths.TRAIN / "vae/1/config.json").read_text())
    assert run.data.params.keys() == {*config["settings"], "train.threads", "seed"}
    expected = {"kind": "vae", "beta": "1.0", "sigma": "null", "train.threads": "1", "seed": "1"}
    assert expected.items() <= run.data.params.items()
    history = client().get_metric_history(run.info.run_id, "valid/elbo")
    assert [(point.step, point.value) for point in history] == [
        (epoch, -100 / epoch - 1) for epoch in range(1, 5)
    ]
    expected = {
        "evaluate/fid_classifier": 4.0,
        "evaluate/elbo": -91.0,
        "best/elbo": -26.0,
        "cost/num_parameters": 1000.0,
        "cost/train_seconds": 12.5,
        "train/vae/loss": 26.0,
        "train/step": 40.0,
    }
    assert {key: run.data.metrics[key] for key in expected} == expected
    assert run.data.tags["fingerprint"] == fingerprints["vae", 1]
    assert run.data.tags["dvc.model_md5"] == f"{8:032}.dir"
    assert run.data.tags["version.torch"] == "2.13.0"
    assert run.inputs.dataset_inputs[0].dataset.digest == f"{7:032}.dir"
    assert "| fid_classifier | 4 | 4 ± 0.1 (n=2) | lower |" in run.data.tags["mlflow.note.content"]
    found = artifacts(run)
    assert {"history.csv", "evaluate/records.json"} <= set(found)
    assert {"model/MLmodel", "model/config.json", "model/weights.safetensors"} <= set(found)
    assert {"evaluate/samples.png", "evaluate/interpolations.png"} <= set(found)
    assert sum(name.startswith("images/samples+step+") for name in found) == 4


def test_a_value_that_a_model_cannot_have_is_named_instead_of_logged(reproduced: Path) -> None:
    publish.publish()
    run = run_of("gan", 0)
    assert "evaluate/elbo" not in run.data.metrics
    assert run.data.tags["not_evaluated"] == "elbo: not_supported, rate: not_supported"
    assert run.data.tags["non_finite"] == "train/generator/loss"


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


def test_files_of_a_clock_need_not_be_there(reproduced: Path) -> None:
    shutil.rmtree(paths.TIMING)
    publish.publish()
    assert len(runs()) == 4
    assert "cost/train_seconds" not in run_of("vae", 0).data.metrics
    assert run_of("vae", 0).data.metrics["evaluate/fid_classifier"] == 3.0


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


def test_a_run_that_training_left_half_done_is_completed(
    reproduced: Path, fingerprints: dict[tuple[str, int], str]
) -> None:
    store = open_store()
    identity = Identity("vae", "vae", "vae", 0, fingerprints["vae", 0])
    run = store.start_run(identity, {"beta": 1.0}, {})
    run.log_rows([{"epoch": 1.0, "step": 10.0, "vae/loss": 100.0, "valid/elbo": -100.0}])
    run.finish("FAILED")
    publish.publish()
    assert len(runs()) == 4
    found = run_of("vae", 0)
    history = client().get_metric_history(found.info.run_id, "train/vae/loss")
    assert [point.step for point in history] == [1, 2, 3, 4]
    assert found.info.status == "FINISHED"
    assert found.data.params["train.threads"] == "1"


def test_a_run_in_training_and_runs_of_the_past_are_left_alone(
    reproduced: Path,
    fingerprints: dict[tuple[str, int], str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = open_store()
    living = Identity("vae", "vae", "vae", 0, fingerprints["vae", 0])
    run = store.start_run(living, {}, {})
    past = Identity("old", "vae", "vae", 0, "f" * 64)
    store.start_run(past, {}, {}).finish("FINISHED")  # waits for both
    run.set_tags({"host": "another"})
    capsys.readouterr()
    publish.publish()
    assert len(runs()) == 5
    said = capsys.readouterr().out
    assert "MLflow: 3 runs are complete; 3 created from the files, 1 report added\n" in said
    assert (
        f"{living.name} is still in training on another; repeat this command afterwards\n" in said
    )
    assert f"champion waits for {living.name}" in said
    assert run_of("vae", 0).info.status == "RUNNING"
    assert "evaluate/fid_classifier" not in run_of("vae", 0).data.metrics
    assert run_of("old", 0).data.metrics == {}


def test_a_training_that_is_replaced_is_no_longer_current_and_the_views_show_what_is(
    reproduced: Path, fingerprints: dict[tuple[str, int], str]
) -> None:
    store = open_store()
    for identity in (
        Identity("vae", "vae", "vae", 0, "e" * 64),  # another setting of a published model
        Identity("vae", "vae", "vae", 7, "d" * 64),  # a seed that is trained no more
        Identity("other", "vae", "vae", 0, "f" * 64),  # a model that nobody published
    ):
        store.start_run(identity, {}, {}).finish("FINISHED")
    publish.publish()
    marks = {run.data.tags["fingerprint"]: run.data.tags["current"] for run in runs()}
    current = dict.fromkeys([*fingerprints.values(), "f" * 64], "true")
    assert marks == current | {"e" * 64: "false", "d" * 64: "false"}
    tags = client().get_experiment_by_name("pipeline").tags
    for name in ("leaderboard", "by_model", "curves"):
        view = json.loads(tags[f"mlflow.sharedViewState.{name}"])
        found = client().search_runs([runs()[0].info.experiment_id], view["searchFilter"])
        assert len(found) == 5


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


def test_the_description_links_to_the_pictures_of_its_run(reproduced: Path) -> None:
    publish.publish()
    run = run_of("vae", 0)
    note = run.data.tags["mlflow.note.content"]
    linked = re.findall(r"get-artifact\?path=([^&]+)&run_uuid=(\w+)", note)
    assert {unquote(path) for path, _ in linked} == {
        name for name in artifacts(run, "evaluate") if name.endswith(".png")
    }
    assert {run_id for _, run_id in linked} == {run.info.run_id}


def test_the_leaderboard_view_shows_our_metrics_best_first(reproduced: Path) -> None:
    publish.publish()
    tags = client().get_experiment_by_name("pipeline").tags
    assert tags["mlflow.experimentKind"] == "custom_model_development"
    view = json.loads(tags["mlflow.sharedViewState.leaderboard"])
    assert view["selectedColumns"][:3] == [
        "metrics.`evaluate/fid_classifier`",
        "metrics.`evaluate/elbo`",
        "metrics.`evaluate/kid_classifier`",
    ]
    assert view["orderByKey"] == "metrics.`evaluate/fid_classifier`"
    assert view["orderByAsc"] is True


def test_tracking_json_holds_fingerprints_and_nothing_of_the_store(
    reproduced: Path, fingerprints: dict[tuple[str, int], str]
) -> None:
    publish.publish()
    text = paths.TRACKING.read_text()
    found = json.loads(text)
    seeds_of = found["runs"].items()
    by_run = {(model, int(seed)): seeds[seed] for model, seeds in seeds_of for seed in seeds}
    assert by_run == fingerprints
    assert set(found) == {"runs", "report"}
    for run in [*runs(), *runs("reports")]:
        assert run.info.run_id not in text
    assert str(reproduced) not in text
    assert socket.gethostname() not in text
    publish.publish()
    assert paths.TRACKING.read_text() == text


def test_a_server_that_is_down_is_asked_once_and_costs_one_warning(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(drops=True) as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.address)
        publish.publish()
    assert server.calls == 1  # MLflow's own retries take minutes
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.endswith("; repeat this command later\n")
    assert captured.out == ""
    assert paths.TRACKING.is_file()
    monkeypatch.setenv("DVC_STAGE", "publish")  # `dvc repro` would not run it again
    open_store.cache_clear()
    publish.publish()
    assert capsys.readouterr().err.endswith("; `make publish` completes it later\n")
    # The server is back.
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    open_store.cache_clear()
    publish.publish()
    assert len(runs()) == 4


def test_the_command_says_what_it_did(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["publish"])
    publish.main()
    first, second = capsys.readouterr().out.splitlines()
    assert first == "MLflow: 4 runs are complete; 4 created from the files, 1 report added"
    assert second.startswith("registry: champion is vae-s0-")
    assert ", best-gan is gan-s0-" in second

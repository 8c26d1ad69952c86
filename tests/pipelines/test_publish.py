import json
import re
import shutil
import socket
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from pipelines import publish
from pipelines.settings import paths
from pipelines.tracking.run import Identity
from pipelines.tracking.store import open_store
from tests.pipelines.opened_store import artifacts, client, run_of, runs
from tests.servers import Faulty

RUNS = [("vae", 0), ("vae", 1), ("gan", 0), ("gan", 1)]


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
    assert (
        "| fid_classifier | 4 | 3.5 ± 0.71 (n=2) | lower |" in run.data.tags["mlflow.note.content"]
    )
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


def test_files_of_a_clock_need_not_be_there(reproduced: Path) -> None:
    shutil.rmtree(paths.TIMING)
    publish.publish()
    assert len(runs()) == 4
    assert "cost/train_seconds" not in run_of("vae", 0).data.metrics
    assert run_of("vae", 0).data.metrics["evaluate/fid_classifier"] == 3.0


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

import math
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from pipelines.tracking import origin
from pipelines.tracking.address import store_uri
from pipelines.tracking.run import Identity, Run
from pipelines.tracking.store import open_store
from tests.clone import wait_for
from tests.pipelines.opened_store import IDENTITY, client, row, runs, start, steps


def test_the_experiments_say_what_they_are(store_home: Path) -> None:
    assert open_store().is_on
    for name in ("pipeline", "reports"):
        experiment = client().get_experiment_by_name(name)
        assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
        assert experiment.tags["mlflow.note.content"]
        assert experiment.artifact_location == (store_home / "mlartifacts" / name).as_uri()


def test_a_deleted_experiment_is_restored(store_home: Path) -> None:
    experiment_id = open_store().experiment_id("reports")
    client().delete_experiment(experiment_id)
    open_store.cache_clear()
    assert open_store().is_on
    assert client().get_experiment(experiment_id).lifecycle_stage == "active"


def test_a_run_tells_what_it_is_and_where_it_runs(store_home: Path) -> None:
    start()
    run = runs()[0]
    assert run.info.run_name == "vae-s0-01234567"
    assert run.info.status == "RUNNING"
    expected = {"model": "vae", "seed": "0", "host": socket.gethostname(), "pid": str(os.getpid())}
    assert {key: run.data.tags[key] for key in expected} == expected
    assert run.data.tags["fingerprint"] == IDENTITY.fingerprint
    assert run.data.tags["version.torch"] == "2.13"
    assert run.data.params == {"beta": "1.0"}


def test_the_commit_and_the_dvc_experiment_are_tags(
    store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for arguments in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", "-C", str(store_home), *arguments], check=True)
    monkeypatch.setenv("DVC_EXP_NAME", "wavy-beta")
    start()
    tags = runs()[0].data.tags
    assert len(tags["mlflow.source.git.commit"]) == 40
    assert tags["git.dirty"] == "false"
    assert tags["dvc.exp_name"] == "wavy-beta"


def test_a_row_becomes_one_point_a_column_at_its_epoch(store_home: Path) -> None:
    run = start()
    run.log_rows([row(1, **{"vae/loss": 5.0, "valid/elbo": -5.0})])
    run.log_rows([row(2, **{"vae/loss": 4.0, "valid/elbo": -4.0})])
    run.finish("FINISHED")
    assert runs()[0].info.status == "FINISHED"
    assert runs()[0].data.metrics == {"train/vae/loss": 4.0, "valid/elbo": -4.0, "train/step": 20.0}
    assert steps("valid/elbo") == [1, 2]


def test_rows_that_come_fast_are_written_together(
    store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, written = start(), []
    log = Run.log_rows
    monkeypatch.setattr(
        Run, "log_rows", lambda run, rows: (written.append(len(rows)), log(run, rows))
    )
    run.log_rows([row(1, **{"valid/elbo": -5.0})])
    open_store().drain()
    for epoch in range(2, 6):
        run.log_rows([row(epoch, **{"valid/elbo": -5.0})])
    open_store().drain()
    assert written == [1]
    run.finish("FINISHED")
    assert written == [1, 4]
    assert steps("valid/elbo") == [1, 2, 3, 4, 5]


def test_a_run_taken_up_again_writes_no_epoch_twice(store_home: Path) -> None:
    rows = [row(epoch, **{"vae/loss": 1.0 / epoch}) for epoch in range(1, 6)]
    first = start()
    first.log_rows(rows[:3])
    first.finish("KILLED")
    open_store.cache_clear()
    second = start()
    assert [run.info.status for run in runs()] == ["RUNNING"]
    second.log_rows(rows[1:4])
    second.log_rows(rows)
    assert steps("train/vae/loss") == [1, 2, 3, 4, 5]


def test_an_epoch_of_which_only_a_part_arrived_is_written_again(store_home: Path) -> None:
    start()
    client().log_metric(runs()[0].info.run_id, "train/vae/loss", 0.5, step=1)
    start().log_rows([row(1, **{"vae/loss": 0.5})])
    assert steps("train/step") == [1]


def test_values_that_are_not_finite_are_dropped_and_named(store_home: Path) -> None:
    run = start()
    run.log_rows([row(1, **{"vae/loss": math.nan, "valid/elbo": None, "valid/rate": 3.0})])
    run.log_rows([row(2, **{"vae/loss": 1.0, "valid/elbo": -math.inf, "valid/rate": 3.0})])
    assert runs()[0].data.tags["non_finite"] == "train/vae/loss,valid/elbo"
    assert steps("train/vae/loss") == [2]
    assert "valid/elbo" not in runs()[0].data.metrics


def test_more_than_mlflow_takes_in_one_call_arrives_complete(store_home: Path) -> None:
    settings = {f"p{i}": i for i in range(101)}
    run = open_store().start_run(IDENTITY, settings, {f"t{i}": "x" for i in range(101)})
    run.log_rows([row(1, **{f"valid/m{i}": float(i) for i in range(1001)})])
    open_store().drain()
    run.set_tags({"long": "x" * 9000})
    data = runs()[0].data
    assert len(data.params) == 101
    assert len(data.metrics) == 1002
    assert {f"t{i}" for i in range(101)} <= set(data.tags)
    assert len(data.tags["long"]) == 8000


def test_a_deleted_run_is_not_taken_up(store_home: Path) -> None:
    start()
    client().delete_run(runs()[0].info.run_id)
    start()
    assert [run.info.lifecycle_stage for run in runs()] == ["active"]


def dead_process() -> tuple[int, float]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        created = psutil.Process(process.pid).create_time()
        process.kill()
    return process.pid, created


def test_a_run_whose_process_died_is_set_killed_and_a_living_one_is_not(store_home: Path) -> None:
    pid, created = dead_process()
    dead, _, foreign, silent, unknown = (
        start(Identity(name, "vae", "vae", 0, name * 16))
        for name in ("dead", "live", "away", "mute", "none")
    )
    dead.set_tags({"pid": str(pid), "process_start": str(created)})
    foreign.set_tags({"pid": str(pid), "host": "another"})
    silent.set_tags({"host": "another", "seen": f"{time.time() - 400:.0f}"})
    for tag in ("host", "pid", "process_start", "seen"):  # of a store written by older code
        client().delete_tag(unknown.id, tag)
    # The number of a dead process was given to a new one: this one, which started at another time.
    reused = start(Identity("reused", "vae", "vae", 0, "e" * 64))
    reused.set_tags({"process_start": "1.0"})
    assert [run.is_training for run in (dead, foreign, silent)] == [False, True, False]
    open_store().run("reports", "report-old", "a" * 64, {})
    report = client().search_runs([client().get_experiment_by_name("reports").experiment_id])[0]
    client().set_tag(report.info.run_id, "pid", str(pid))
    assert open_store().reap() == 5
    status = {run.data.tags["model"]: run.info.status for run in runs()}
    killed = dict.fromkeys(("dead", "mute", "none", "reused"), "KILLED")
    assert status == {"live": "RUNNING", "away": "RUNNING"} | killed
    assert client().get_run(report.info.run_id).info.status == "KILLED"
    assert open_store().reap() == 0


def test_a_run_that_another_checkout_trains_is_left_to_it(
    store_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = start()
    first.log_rows([row(1, **{"valid/elbo": -5.0})])
    open_store().drain()
    first.set_tags({"host": "another"})
    open_store.cache_clear()
    second = start()
    second.log_rows([row(1, **{"valid/elbo": -5.0}), row(2, **{"valid/elbo": -4.0})])
    second.finish("FINISHED")
    assert capsys.readouterr().err == (
        "warning: another process on another is already writing the run vae-s0-01234567; "
        "`make publish` completes it if that process does not\n"
    )
    assert (runs()[0].info.status, steps("valid/elbo")) == ("RUNNING", [1])
    assert runs()[0].data.tags["host"] == "another"


def test_a_training_says_now_and_then_that_it_lives(
    store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin, "SECONDS_BETWEEN_SIGNS", 0.2)
    run = start()
    client().set_tag(run.id, "seen", "0")
    run.tags["seen"] = "0"

    def has_signed() -> bool:
        return float(client().get_run(run.id).data.tags["seen"]) > time.time() - 60

    wait_for(has_signed)  # though it logs nothing: an epoch may be long
    run.finish("FINISHED")
    assert open_store().writer.when_idle == []


def test_a_run_whose_process_died_is_taken_up_by_the_next_training(store_home: Path) -> None:
    pid, created = dead_process()
    start().set_tags({"pid": str(pid), "process_start": str(created)})
    open_store.cache_clear()
    start()
    assert [run.data.tags["pid"] for run in runs()] == [str(os.getpid())]
    assert open_store().reap() == 0


def test_tracking_that_is_switched_off_imports_no_mlflow_and_says_nothing(checkout: Path) -> None:
    code = (
        "import sys; from pipelines.tracking.run import Identity;"
        "from pipelines.tracking.store import open_store;"
        "run = open_store().start_run(Identity('vae', 'vae', 'vae', 0, 'a' * 64), {}, {});"
        "run.log_rows([{'epoch': 1, 'step': 1, 'vae/loss': 1.0}]); run.finish('FINISHED');"
        "assert not open_store().is_on; assert 'mlflow' not in sys.modules"
    )
    environment = os.environ | {"MLFLOW_TRACKING_URI": "off", "DVC_ROOT": str(checkout)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(checkout.iterdir()) == []


@pytest.mark.slow
def test_processes_that_meet_a_fresh_store_at_once_all_get_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pipelines.tracking.run import Identity;"
        "from pipelines.tracking.store import open_store;"
        "from pipelines.tracking import live_run; live_run.MAX_WAIT_S = 600;"
        "store = open_store(); assert store.is_on;"
        "run = store.start_run("
        "    Identity('vae', 'vae', 'vae', 0, sys.argv[1] * 64), {'beta': 1}, {});"
        "run.log_rows([{'epoch': 1, 'step': 1, 'vae/loss': 1.0}]); run.finish('FINISHED')"
    )
    environment = os.environ | {"DVC_ROOT": str(tmp_path)}
    environment.pop("MLFLOW_TRACKING_URI", None)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, name],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in "abaa"
    ]
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0
        assert "warning: tracking is off" not in errors
    from mlflow import MlflowClient  # noqa: TID251

    store = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = store.get_experiment_by_name("pipeline")
    found = store.search_runs([experiment.experiment_id])
    assert sorted(run.data.tags["fingerprint"][0] for run in found) == ["a", "b"]


def test_the_store_lies_at_the_checkout_whatever_the_folder_and_the_variable_wins(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    assert store_uri() == f"sqlite:///{checkout / 'mlflow.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://example.org")
    assert store_uri() == "http://example.org"

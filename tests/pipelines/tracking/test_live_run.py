"""A store that is slow or away costs a training next to nothing, whatever its fault is."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking import store as tracking
from pipelines.tracking.live_run import MAX_WAIT_S
from pipelines.tracking.run import Identity
from tests.servers import Faulty, free_port, mlflow_server

SEEDS, EPOCHS = 3, 40


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server on an SQLite file."""
    folder = tmp_path_factory.mktemp("server")
    backend = f"sqlite:///{folder / 'mlflow.db'}"
    with mlflow_server(backend, folder / "artifacts", os.environ) as address:
        yield address


def train(uri: str, name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[float, float]:
    """Logs what a training logs; returns the longest call in its course and the wait at its end."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    tracking.open_store.cache_clear()
    longest = 0.0
    runs = []
    for seed in range(SEEDS):
        identity = Identity(name, "vae", "vae", seed, f"{name}{seed}".ljust(64, "0"))
        begin = time.monotonic()
        runs.append(tracking.open_store().start_run(identity, {"beta": 1.0}, {}))
        if seed:  # the first one imports MLflow
            longest = max(longest, time.monotonic() - begin)
    for epoch in range(1, EPOCHS + 1):
        for run in runs:
            begin = time.monotonic()
            run.log_rows([{"epoch": epoch, "step": 10 * epoch, "vae/loss": 1 / epoch}])
            longest = max(longest, time.monotonic() - begin)
    begin = time.monotonic()
    for run in runs:
        run.finish("FINISHED")
    return longest, time.monotonic() - begin


def found(server: str, name: str) -> list[Any]:
    from mlflow import MlflowClient  # noqa: TID251

    client = MlflowClient(server)
    experiment = client.get_experiment_by_name("pipeline")
    if experiment is None:
        return []
    runs = client.search_runs([experiment.experiment_id], f"tags.model = '{name}'")
    return [
        (
            run.info.status,
            [p.step for p in client.get_metric_history(run.info.run_id, "train/step")],
        )
        for run in runs
    ]


EVERYTHING = [("FINISHED", list(range(1, EPOCHS + 1)))] * SEEDS


def check(spent: tuple[float, float], capsys: pytest.CaptureFixture[str], warnings: int) -> None:
    longest, wait = spent
    assert longest < 0.5
    assert wait < MAX_WAIT_S + 1
    assert capsys.readouterr().err.count("warning: tracking is off") == warnings


@pytest.mark.slow
@pytest.mark.timed
def test_a_good_server_gets_everything(
    server: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(server) as relay:
        check(train(relay.address, "good", monkeypatch), capsys, 0)
        calls = relay.calls
    assert found(server, "good") == EVERYTHING
    assert calls < SEEDS * EPOCHS


@pytest.mark.slow
@pytest.mark.timed
def test_a_server_of_a_third_of_a_second_a_call_gets_everything_too(
    server: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(server, delay_s=0.3) as relay:
        check(train(relay.address, "unhurried", monkeypatch), capsys, 0)
    assert found(server, "unhurried") == EVERYTHING


@pytest.mark.slow
@pytest.mark.timed
def test_a_server_of_four_seconds_a_call_is_given_up_in_time(
    server: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(server, delay_s=4.0) as relay:
        check(train(relay.address, "slow", monkeypatch), capsys, 1)


@pytest.mark.slow
@pytest.mark.timed
def test_a_server_that_accepts_and_never_answers_is_given_up_in_time(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(hangs=True) as relay:
        check(train(relay.address, "hangs", monkeypatch), capsys, 1)


def test_a_server_that_answers_500_is_given_up_at_once(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(None) as relay:
        longest, wait = train(relay.address, "broken", monkeypatch)
        assert wait < 5
        check((longest, wait), capsys, 1)


def test_a_server_that_is_gone_is_given_up_at_once(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    longest, wait = train(f"http://127.0.0.1:{free_port()}", "gone", monkeypatch)
    assert wait < 5
    check((longest, wait), capsys, 1)


@pytest.mark.slow
@pytest.mark.timed
def test_a_server_that_vanishes_half_way_keeps_what_it_has_and_is_given_up_in_time(
    server: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # The good server of the first test is asked some twenty times.
    with Faulty(server, answers=9) as relay:
        check(train(relay.address, "vanishes", monkeypatch), capsys, 1)
    # What is there is there once: a row that arrived is no half of one.
    kept = found(server, "vanishes")
    assert kept
    for status, steps in kept:
        assert status == "RUNNING"
        assert steps == list(range(1, len(steps) + 1))


def test_a_run_that_was_made_twice_is_one_when_it_is_asked_for(store_home: Path) -> None:
    store = tracking.open_store()
    client = store.attempt(lambda client: client, None)
    ids = [
        client.create_run(store.experiment_id("pipeline"), tags={"fingerprint": "f" * 64})
        for _ in range(2)
    ]
    first = store.run("pipeline", "vae-s0", "f" * 64, {})
    first.set_tags({"mine": "yes"})
    states = {run.info.run_id: client.get_run(run.info.run_id).info for run in ids}
    assert sorted(info.lifecycle_stage for info in states.values()) == ["active", "deleted"]
    assert store.run("pipeline", "vae-s0", "f" * 64, {}).tags["mine"] == "yes"

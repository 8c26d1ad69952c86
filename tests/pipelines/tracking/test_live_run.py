"""A store that is slow or fails holds up no training, whatever its fault is."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.tracking import live_run
from pipelines.tracking.run import Identity
from pipelines.tracking.store import Store, open_store
from tests.clone import wait_for
from tests.servers import Faulty, free_port, mlflow_server

SEEDS, EPOCHS = 3, 40
#: Limits of the wait at the end of a training: one that ends no test, and one that ends at once.
PATIENT_S, HASTY_S = 600.0, 0.5


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real server on an SQLite file."""
    folder = tmp_path_factory.mktemp("server")
    backend = f"sqlite:///{folder / 'mlflow.db'}"
    with mlflow_server(backend, folder / "artifacts", os.environ) as address:
        yield address


class Training:
    """Logs what a training of three seeds logs.

    Args:
        uri: Of the store.
        name: Of the model.
        monkeypatch: Of the test.
        max_wait_s: The limit of the wait at the end.
    """

    def __init__(
        self, uri: str, name: str, monkeypatch: pytest.MonkeyPatch, max_wait_s: float
    ) -> None:
        self.threads: set[str] = set()
        connect = Store._connected

        def record(store: Store) -> Any:
            self.threads.add(threading.current_thread().name)
            return connect(store)

        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        monkeypatch.setattr(live_run, "MAX_WAIT_S", max_wait_s)
        monkeypatch.setattr(Store, "_connected", record)
        open_store.cache_clear()
        self.runs = [
            open_store().start_run(
                Identity(name, "vae", "vae", seed, f"{name}{seed}".ljust(64, "0")),
                {"beta": 1.0},
                {},
            )
            for seed in range(SEEDS)
        ]
        for epoch in range(1, EPOCHS + 1):
            for run in self.runs:
                run.log_rows([{"epoch": epoch, "step": 10 * epoch, "vae/loss": 1 / epoch}])

    def finish(self) -> None:
        """Ends the runs; no call of the training has talked to the store itself."""
        for run in self.runs:
            run.finish("FINISHED")
        assert self.threads == {"tracking"}


def stored(server: str, name: str) -> list[Any]:
    """Of each run of a model on a server: its status and its epochs."""
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


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.0, 0.3])
def test_a_server_that_answers_gets_everything_in_few_calls(
    delay_s: float,
    server: str,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    name = f"good{delay_s:.0e}"
    with Faulty(server, delay_s=delay_s) as relay:
        Training(relay.address, name, monkeypatch, PATIENT_S).finish()
        calls = relay.calls
    assert capsys.readouterr().err == ""
    assert stored(server, name) == EVERYTHING
    assert calls < SEEDS * EPOCHS


@pytest.mark.slow
def test_a_server_that_is_slower_than_the_wait_is_given_up(
    server: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(server, delay_s=4.0) as relay:
        Training(relay.address, "slow", monkeypatch, HASTY_S).finish()
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "the MLflow store does not answer (no answer within" in said


def test_a_server_that_never_answers_is_given_up(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with Faulty(hangs=True) as relay:
        Training(relay.address, "hangs", monkeypatch, HASTY_S).finish()
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "the MLflow store does not answer" in said


@pytest.mark.parametrize("fault", ["500", "gone"])
def test_a_server_that_refuses_is_given_up_without_a_wait(
    fault: str,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Faulty(None) as relay:
        address = relay.address if fault == "500" else f"http://127.0.0.1:{free_port()}"
        Training(address, fault, monkeypatch, PATIENT_S).finish()
        assert relay.calls < 10
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "the MLflow store does not answer" in said
    assert "no answer within" not in said


@pytest.mark.slow
def test_a_server_that_vanishes_half_way_keeps_whole_rows(
    server: str, checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A good server is called some twenty times.
    answers = 9
    with Faulty(server, answers=answers) as relay:
        training = Training(relay.address, "vanishes", monkeypatch, HASTY_S)
        wait_for(lambda: relay.calls > answers)
        training.finish()
    assert capsys.readouterr().err.count("warning: tracking is off") == 1
    kept = stored(server, "vanishes")
    assert kept
    for status, steps in kept:
        assert status == "RUNNING"
        assert steps == list(range(1, len(steps) + 1))


def test_a_run_that_was_made_twice_is_one_when_it_is_asked_for(store_home: Path) -> None:
    store = open_store()
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

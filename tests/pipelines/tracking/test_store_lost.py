"""A store that is away, broken or cut off: one warning, and nothing of a training is stopped."""

import math
from pathlib import Path
from typing import Any

import pytest

from pipelines.settings import paths
from pipelines.tracking.address import hide_password
from pipelines.tracking.run import Run
from pipelines.tracking.store import open_store
from tests.pipelines.opened_store import IDENTITY, client, row, runs, start, steps
from tests.servers import free_port


def test_a_server_that_is_down_costs_one_warning_and_little_time(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{free_port()}")
    run = start()
    for epoch in range(1, 50):
        run.log_rows([row(epoch, **{"vae/loss": 1.0, "valid/elbo": math.nan})])
    run.add_file("nosuch", checkout / "nosuch")
    run.finish("FINISHED")
    start()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("warning: tracking is off, the MLflow store does not answer")
    assert "/health" in lines[0]  # our own call: MLflow would repeat one for minutes


def test_a_store_that_fails_in_the_middle_is_switched_off_with_one_warning(
    store_home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start()
    run.add_file("nosuch", store_home / "nosuch")
    run.log_rows([row(1)])
    start()
    assert capsys.readouterr().err.count("\n") == 1
    assert not open_store().is_on
    assert runs()[0].data.metrics == {}


def test_a_database_that_cannot_be_opened_is_one_warning_without_its_password(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{checkout}/nosuch/mlflow.db")
    start().finish("FINISHED")
    assert capsys.readouterr().err == (
        f"warning: tracking is off, the MLflow store has no folder ({checkout}/nosuch: no such "
        "folder); create the folder, or correct MLFLOW_TRACKING_URI, then `make publish` "
        "completes it\n"
    )
    assert hide_password("to http://me:secret@host/x") == "to http://***@host/x"


@pytest.mark.parametrize(
    "address",
    [
        "//u:p@ss@host/x",
        "//u:se/cret@host/x",
        "//host/x?user=u&password=secret",
        "//u:" + "secret" * 60 + "@host/x",
    ],
)
def test_a_password_is_hidden_wherever_it_stands(
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    address: str,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http:" + address)
    store = open_store()
    store._switch_off(ValueError(f"cannot reach http:{address} today"))
    said = capsys.readouterr().err
    assert "host" in said
    assert not [word for word in ("secret", "cret", "ss@", "u:") if word in said]


def test_a_driver_that_is_not_installed_is_one_warning(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "mysql://me:secret@localhost/x")
    start().finish("FINISHED")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "No module named 'MySQLdb'" in said


def test_an_error_that_nobody_thought_of_is_one_warning_that_names_it(
    store_home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start()
    monkeypatch.setattr(Run, "log_rows", lambda run, rows: 1 / 0)
    run.log_rows([row(1, **{"valid/elbo": -5.0})])
    run.finish("FINISHED")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "division by zero" in said


def test_a_publication_that_breaks_off_leaves_no_point_twice(
    store_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"valid/m{i}" for i in range(30)]
    rows = [row(epoch, **dict.fromkeys(names, 1.0 / epoch)) for epoch in range(1, 101)]
    who = IDENTITY.tags()
    run = open_store().run("pipeline", IDENTITY.name, IDENTITY.fingerprint, who)
    log, calls = type(client()).log_batch, []

    def fails_at_the_second(self: Any, *arguments: Any, **batch: Any) -> Any:
        calls.append(batch)
        if len(calls) == 2:
            raise OSError("the connection is lost")
        return log(self, *arguments, **batch)

    monkeypatch.setattr(type(client()), "log_batch", fails_at_the_second)
    run.log_rows(rows)
    open_store.cache_clear()
    run = open_store().run("pipeline", IDENTITY.name, IDENTITY.fingerprint, who)
    run.log_rows(rows)
    assert all(steps(name) == list(range(1, 101)) for name in [names[0], names[-1], "train/step"])


def test_a_database_that_is_none_is_one_warning(
    checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths.MLFLOW_DB.write_text("not a database, and long enough to be looked at" * 100)
    start().finish("FINISHED")
    assert capsys.readouterr().err.count("warning: tracking is off") == 1

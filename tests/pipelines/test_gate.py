"""Gates: the values that they check, and how the command ends."""

import json
import sys
from pathlib import Path

import pytest

from evaluation.comparing.leaderboard import Row
from pipelines import gate
from pipelines.comparing.gates import GateResult, check_gates
from pipelines.settings import paths, yaml_files
from pipelines.settings.sections import Gate, Report
from tests.pipelines.report_project import write_project


def row(name: str, reason: str = "non_finite_samples", **values: list[float | None]) -> Row:
    seeds = len(next(iter(values.values())))
    records = {
        str(seed): [
            {
                "name": metric,
                "value": found[seed],
                "reason": None if found[seed] is not None else reason,
            }
            for metric, found in values.items()
        ]
        for seed in range(seeds)
    }
    summary = {
        metric: {"mean": None, "reason": reason} if found == [None] * seeds else {"mean": 0.0}
        for metric, found in values.items()
    }
    return Row(name, "vae", "vae", {}, summary, records)


def results(
    rows: dict[str, Row | str], champion: str | None = None, **of: object
) -> list[GateResult]:
    gate_ = Gate.model_validate({"metric": "fid", "model": "all", "of": "mean"} | of)
    return list(check_gates(Report(rank_by="fid", gates=[gate_]), rows, champion))


@pytest.mark.parametrize(
    ("of", "bounds", "value", "passed"),
    [
        ("mean", {"max": 2.0}, 2.0, True),
        ("mean", {"max": 1.9}, 2.0, False),
        ("mean", {"min": 2.0}, 2.0, True),
        ("mean", {"min": 2.1}, 2.0, False),
        ("worst", {"max": 2.5}, 3.0, False),
        ("worst", {"max": 3.0}, 3.0, True),
        ("worst", {"min": 1.0}, 1.0, True),
        ("worst", {"min": 1.5}, 1.0, False),
    ],
)
def test_a_bound_applies_to_the_mean_or_the_worst_seed(
    of: str, bounds: dict[str, float], value: float, passed: bool
) -> None:
    (found,) = results({"a": row("a", fid=[1.0, 3.0])}, of=of, **bounds)
    assert (found.value, found.passed) == (value, passed)
    assert found.reason == ""


def test_two_bounds_are_two_lines() -> None:
    found = results({"a": row("a", fid=[1.0, 3.0])}, of="worst", min=0.0, max=2.0)
    assert [(o.relation, o.value, o.passed) for o in found] == [
        ("≥ 0", 1.0, True),
        ("≤ 2", 3.0, False),
    ]


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ({"a": row("a", fid=[1.0, None])}, "1 of 2 seeds: the model made images that are not fin"),
        ({"a": row("a", fid=[None, None])}, "the model made images that are not finite"),
        ({"a": row("a", other=[1.0])}, "not measured"),
        ({"a": "reports/metrics/a.json: no such file"}, "reports/metrics/a.json: no such file"),
        ({"a": row("a", "not_supported", fid=[None])}, "no selected model can have this value"),
    ],
)
@pytest.mark.parametrize("of", ["mean", "worst"])
def test_a_value_that_is_missing_breaks_its_gate_with_the_reason(
    rows: dict[str, Row | str], reason: str, of: str
) -> None:
    (found,) = results(rows, of=of, max=9.0)
    assert not found.passed
    assert found.value is None
    assert found.reason.startswith(reason)


def test_all_leaves_out_models_to_which_the_metric_does_not_apply_and_a_name_does_not() -> None:
    rows = {"a": row("a", fid=[1.0]), "b": row("b", "not_supported", fid=[None])}
    assert [o.model for o in results(rows, max=2.0)] == ["a"]
    (named,) = results(rows, model="b", max=2.0)
    assert not named.passed
    (unselected,) = results(rows, model="c", max=2.0)
    assert (unselected.passed, unselected.reason) == (False, "not selected")


def test_the_champion_is_named_and_without_one_the_gate_is_broken() -> None:
    rows: dict[str, Row | str] = {"a": row("a", fid=[3.0]), "b": row("b", fid=[1.0])}
    (found,) = results(rows, "b", model="champion", max=2.0)
    assert (found.model, found.value, found.passed) == ("champion: b", 1.0, True)
    (none,) = results(rows, None, model="champion", max=2.0)
    assert (none.passed, none.reason) == (False, "no model has a rank")


@pytest.fixture
def project(checkout: Path) -> Path:
    write_project(checkout)
    return checkout


def with_gates(*gates: dict[str, object]) -> None:
    raw = yaml_files.read_yaml(paths.PARAMS)
    raw["report"]["gates"] = list(gates)
    paths.PARAMS.write_text(json.dumps(raw))


def run(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "argv", ["gate"])
    try:
        gate.main()
    except SystemExit as end:
        return int(str(end.code))
    return 0


def test_the_command_fails_with_a_table_where_a_gate_is_broken(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_gates(
        {"metric": "fid_classifier", "model": "gan_r1", "of": "mean", "max": 4},
        {"metric": "fid_classifier", "model": "champion", "of": "worst", "max": 3.5},
        {"metric": "disc_acc_fake", "model": "gan", "of": "mean", "min": 0.5},
    )
    assert run(monkeypatch) == 1
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[2] == "fid_classifier gan_r1 mean 3.315 ≤ 4 passed"
    assert lines[3] == "fid_classifier champion: gan_r1 worst 3.52 ≤ 3.5 BROKEN"
    assert lines[4].startswith("disc_acc_fake gan mean – ≥ 0.5 BROKEN 1 of 2 seeds: ")
    assert lines[-1] == "2 of 3 gates broken"


def test_the_command_passes_where_all_hold_and_where_there_are_none(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_gates({"metric": "elbo", "model": "all", "of": "worst", "min": -120})
    assert run(monkeypatch) == 0
    out = capsys.readouterr().out
    assert out.count("passed") == 2  # of the VAEs
    assert out.endswith("0 of 2 gates broken\n")
    with_gates()
    assert run(monkeypatch) == 0
    assert "report.gates is empty" in capsys.readouterr().out


def test_a_model_without_results_breaks_its_gates_and_hides_no_other(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with_gates({"metric": "fid_classifier", "model": "all", "of": "mean", "max": 100})
    (paths.METRICS / "vae.json").unlink()
    assert run(monkeypatch) == 1
    out = capsys.readouterr().out
    assert "vae.json: no such file; `dvc repro evaluate@vae` makes it" in out
    assert out.count("passed") == 3

"""`python -m pipelines.diff`: what changed against a commit."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import diff
from pipelines.settings import paths

DIRECTIONS = {"fid_classifier": False, "is_classifier": True, "rate": None}
SHIPPED = paths.PARAMS


def value(mean: float | None, std: float | None = 0.1, n: int = 3) -> dict[str, Any]:
    found = {"mean": mean, "std": std if mean is not None else None, "n": n if mean else 0}
    return found if mean is not None else {**found, "reason": "non_finite_samples"}


# Student's 95 % interval of 1.0 ± 0.1 over 3 seeds is 1.0 ± 0.248.
@pytest.mark.parametrize(
    ("metric", "old", "new", "better", "beyond"),
    [
        ("fid_classifier", value(1.0), value(1.2), False, False),
        ("fid_classifier", value(1.0), value(0.7), True, True),
        ("is_classifier", value(1.0), value(1.3), True, True),
        ("rate", value(1.0), value(1.3), None, True),
        # Outside the old interval, but the old mean lies inside the wide new one.
        ("fid_classifier", value(1.0), value(1.3, std=0.4), False, False),
        ("fid_classifier", value(1.0, std=None, n=1), value(1.3), False, None),
        ("fid_classifier", value(None), value(1.3), None, None),
        ("fid_classifier", value(1.0), value(None), None, None),
    ],
)
def test_a_change_has_a_direction_and_is_held_against_both_intervals(
    metric: str, old: Any, new: Any, better: bool | None, beyond: bool | None
) -> None:
    (found,) = diff.changes({metric: old}, {metric: new}, DIRECTIONS)
    assert (found.better, found.beyond) == (better, beyond)


def test_an_equal_mean_is_no_change() -> None:
    assert diff.changes({"rate": value(1.0)}, {"rate": value(1.0, std=0.2)}, DIRECTIONS) == []


def text(old: Any, new: Any, *, every: bool = False) -> list[str]:
    found = diff.metrics_text(old, new, DIRECTIONS, "fid_classifier", every)
    return [" ".join(line.split()) for line in found.splitlines()]


def test_what_moved_within_the_interval_is_counted_but_for_the_ranking_metric() -> None:
    old = {"vae": {"is_classifier": value(1.0), "rate": value(1.0), "fid_classifier": value(1.0)}}
    new = {"vae": {"is_classifier": value(1.1), "rate": value(1.4), "fid_classifier": value(1.1)}}
    lines = text(old, new)
    assert lines[2] == "vae fid_classifier 1.00 ± 0.10 1.10 ± 0.10 +0.10 worse, within"
    assert lines[3] == "vae rate 1.00 ± 0.10 1.40 ± 0.10 +0.40 beyond"
    assert lines[-1] == "1 more mean moved within that interval; --all shows it."
    everything = text(old, new, every=True)
    assert "vae is_classifier 1.00 ± 0.10 1.10 ± 0.10 +0.10 better, within" in everything
    assert not any("more mean" in line for line in everything)


def test_models_and_metrics_that_came_or_went_are_named_once() -> None:
    old = {"vae": {"rate": value(1.0), "gone": value(1.0)}, "gan": {"rate": value(1.0)}}
    new = {"vae": {"rate": value(1.0), "come": value(1.0)}, "iwae": {"rate": value(1.0)}}
    assert text(old, new) == [
        "Models added: iwae.",
        "Metrics added: come.",
        "Models gone: gan.",
        "Metrics gone: gone.",
    ]


def test_a_value_that_is_lost_and_other_numbers_of_seeds_are_told() -> None:
    lost = text({"vae": {"rate": value(1.0)}}, {"vae": {"rate": value(None)}})
    assert lost[2] == "vae rate 1.000 ± 0.100 – – the model made images that are not finite"
    more = text({"vae": {"rate": value(1.0)}}, {"vae": {"rate": value(2.0, n=5)}})
    assert more[2] == "vae rate 1.00 ± 0.10 2.00 ± 0.10 +1.00 beyond, 3 → 5 seeds"


def test_settings_are_compared_key_by_key_and_a_whole_entry_is_one_line() -> None:
    old = {
        "seeds": [0, 1],
        "models": {"vae": {"beta": 1.0, "kind": "vae"}, "gan": {"kind": "gan", "n": 1}},
    }
    new = {"seeds": [0, 1, 2], "models": {"vae": {"beta": 4.0, "kind": "vae"}}}
    gates = {"report": {"gates": [{"max": 1}, {"max": 2}]}}
    other = {"report": {"gates": [{"max": 1}, {"max": 3}]}}
    assert diff.changed_params(old | gates, new | other) == [
        ("seeds", "[0, 1]", "[0, 1, 2]"),
        ("models.vae.beta", "1.0", "4.0"),
        ("models.gan", "2 settings", "–"),
        ("report.gates.1.max", "2", "3"),
    ]
    assert diff.changed_params(old, old) == []


@pytest.fixture
def repository(checkout: Path) -> Path:
    shutil.copy(SHIPPED, paths.PARAMS)
    write("vae", 10.0)
    write("gan_r1", 5.0)
    git(checkout, "init", "-q")
    commit(checkout, "first")
    return checkout


def write(model: str, mean: float) -> None:
    paths.METRICS.mkdir(parents=True, exist_ok=True)
    document = {"metrics": {"fid_classifier": value(mean)}}
    (paths.METRICS / f"{model}.json").write_text(json.dumps(document))


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", message)


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["diff", *words])
    diff.main()


def test_the_working_tree_is_held_against_a_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch)
    assert capsys.readouterr().out == "no metric and no setting differs from HEAD\n"
    write("vae", 8.0)
    paths.PARAMS.write_text(paths.PARAMS.read_text().replace("beta: 4.0", "beta: 5.0"))
    run(monkeypatch)
    out = capsys.readouterr().out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "vae fid_classifier 10.00 ± 0.10 8.00 ± 0.10 −2.00 better, beyond" in lines
    assert "models.beta_vae.beta 4.0 5.0" in lines
    assert "gan_r1" not in out
    commit(repository, "second")
    run(monkeypatch, "HEAD")
    assert "no metric" in capsys.readouterr().out
    run(monkeypatch, "HEAD~1")
    assert capsys.readouterr().out == out.replace("against HEAD", "against HEAD~1")


@pytest.mark.parametrize("revision", ["nowhere", "--help-me", "HEAD:params.yaml"])
def test_what_is_no_commit_is_one_line(
    repository: Path, monkeypatch: pytest.MonkeyPatch, revision: str
) -> None:
    with pytest.raises(diff.UserError, match=f"{revision}: no such commit"):
        diff.committed(revision)


def test_a_commit_before_there_were_results_adds_them_all(repository: Path) -> None:
    git(repository, "rm", "-rq", "--cached", "reports", "params.yaml")
    git(
        repository,
        "-c",
        "user.name=t",
        "-c",
        "user.email=t@t",
        "commit",
        "-qm",
        "empty",
        "--allow-empty",
    )
    metrics, settings = diff.committed("HEAD")
    assert (metrics, settings) == ({}, {})


def test_metrics_that_are_broken_in_the_commit_are_named(repository: Path) -> None:
    (paths.METRICS / "vae.json").write_text("{")
    commit(repository, "broken")
    with pytest.raises(diff.UserError, match=r"HEAD:reports/metrics/vae.json: not the metrics"):
        diff.committed("HEAD")


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"metrics": 3}'])
def test_metrics_that_are_broken_in_the_working_tree_are_named(
    repository: Path, content: str
) -> None:
    (paths.METRICS / "vae.json").write_text(content)
    with pytest.raises(diff.UserError, match=r"reports/metrics/vae.json: not the metrics"):
        diff.present()

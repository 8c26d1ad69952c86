"""`compare --against`: this checkout compared with a commit, in a small git repository."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines import compare
from pipelines.comparing import commits
from pipelines.comparing.commits import (
    Changes,
    Results,
    as_text,
    changed_settings,
    changed_values,
    changes,
)
from pipelines.settings import paths
from pipelines.settings.errors import UserError

DIRECTIONS = {"fid_classifier": False, "is_classifier": True, "rate": None}
SHIPPED = paths.PARAMS


def value(mean: float | None, std: float | None = 0.1, n: int = 5) -> dict[str, Any]:
    if mean is None:
        return {"mean": None, "std": None, "n": 0, "reason": "non_finite_samples"}
    return {"mean": mean, "std": std, "n": n}


@pytest.mark.parametrize(
    ("metric", "old", "new", "verdict"),
    [
        ("fid_classifier", value(1.0), value(0.7), "better"),
        ("fid_classifier", value(1.0), value(1.3), "worse"),
        ("is_classifier", value(1.0), value(1.3), "better"),
        ("rate", value(1.0), value(1.3), "different"),
        ("unknown", value(1.0), value(1.3), "different"),
        ("fid_classifier", value(1.0), value(1.05), "not distinguishable"),
        ("fid_classifier", value(1.0, n=3), value(9.0, n=3), "not testable"),
        ("fid_classifier", value(1.0, std=None, n=1), value(1.3), "not testable"),
        ("fid_classifier", value(None), value(1.3), None),
        ("fid_classifier", value(1.0), value(None), None),
    ],
)
def test_a_change_has_the_verdict_of_the_one_rule(
    metric: str, old: Any, new: Any, verdict: str | None
) -> None:
    (change,) = changed_values({"vae": ({metric: old}, {metric: new})}, DIRECTIONS)
    assert (change.difference and change.difference.verdict) == verdict


def test_an_equal_mean_is_no_change_and_costs_no_correction() -> None:
    same = {"rate": value(1.0)}, {"rate": value(1.0, std=0.2)}
    moved = {"rate": value(1.0)}, {"rate": value(1.3)}
    assert changed_values({"vae": same}, DIRECTIONS) == []
    (alone,) = changed_values({"vae": moved}, DIRECTIONS)
    (beside,) = changed_values({"gan": same, "vae": moved}, DIRECTIONS)
    assert beside == alone
    both = changed_values({"gan": moved, "vae": moved}, DIRECTIONS)
    assert [change.model for change in both] == ["gan", "vae"]
    assert alone.difference is not None
    assert both[0].difference is not None
    assert both[0].difference.p == 2 * alone.difference.unadjusted


def between(old: Any, new: Any) -> Changes:
    sides = (Results("", metrics, {}, {}) for metrics in (old, new))
    return changes(*sides, DIRECTIONS, [])


def lines(found: Changes, *, every: bool = False) -> list[str]:
    def is_shown(change: Any) -> bool:
        return every or change.difference is None or change.difference.is_significant

    text = as_text(found, is_shown, 100)
    return [" ".join(line.split()) for line in text.splitlines()]


def test_changes_that_are_not_significant_are_counted() -> None:
    old = {"vae": {"is_classifier": value(1.0), "rate": value(1.0), "kid": value(1.0, n=2)}}
    new = {"vae": {"is_classifier": value(1.05), "rate": value(1.4), "kid": value(1.4, n=2)}}
    found = lines(between(old, new))
    assert found[2].startswith("vae rate 1.00 ± 0.10 1.40 ± 0.10 +0.40 different, p ")
    assert found[-1] == (
        "2 other means changed: 1 not distinguishable, 1 not testable. --all shows them."
    )
    every = lines(between(old, new), every=True)
    assert "vae kid 1.00 ± 0.10 1.40 ± 0.10 +0.40 not testable" in every
    assert not any("other means" in line for line in every)


def test_models_and_metrics_that_were_added_or_removed_are_named_once() -> None:
    old = {"vae": {"rate": value(1.0), "gone": value(1.0)}, "gan": {"rate": value(1.0)}}
    new = {"vae": {"rate": value(1.0), "new": value(1.0)}, "iwae": {"rate": value(1.0)}}
    assert [line for line in lines(between(old, new)) if line] == [
        "Models added: iwae.",
        "Models removed: gan.",
        "Metrics added: new.",
        "Metrics removed: gone.",
    ]


def test_a_lost_value_has_its_reason_and_other_numbers_of_seeds_are_shown() -> None:
    lost = lines(between({"vae": {"rate": value(1.0)}}, {"vae": {"rate": value(None)}}))
    assert lost[2] == "vae rate 1.000 ± 0.100 – – the model made images that are not finite"
    more = lines(between({"vae": {"rate": value(1.0, n=4)}}, {"vae": {"rate": value(2.0)}}))
    assert more[2].endswith(", 4 → 5 seeds")


def test_settings_are_compared_key_by_key_and_models_with_the_same_change_share_a_line() -> None:
    old = {
        "seeds": [0, 1],
        "models": {"vae": {"beta": 1.0, "n": 1}, "iwae": {"n": 1}, "gan": {"n": 1}},
        "report": {"gates": [{"max": 1}, {"max": 2}]},
        "tune": {"elsewhere": 1},
    }
    new = {
        "seeds": [0, 1, 2],
        "models": {"vae": {"beta": 4.0, "n": 2}, "iwae": {"n": 2}, "gan": {"n": 3}},
        "report": {"gates": [{"max": 1}, {"max": 3}]},
    }
    assert {(s.key, *s.values) for s in changed_settings(old, new, ["vae", "iwae"])} == {
        ("seeds", "[0, 1]", "[0, 1, 2]"),
        ("models.vae.beta", "1.0", "4.0"),
        ("models.{vae,iwae}.n", "1", "2"),
        ("report.gates.1.max", "2", "3"),
    }
    assert changed_settings(old, old, ["vae"]) == []


@pytest.fixture
def repository(checkout: Path) -> Path:
    shutil.copy(SHIPPED, paths.PARAMS)
    write("vae", 10.0)
    write("gan_r1", 5.0)
    lock("aa")
    git(checkout, "init", "-q")
    commit(checkout, "first")
    return checkout


def write(model: str, mean: float) -> None:
    paths.METRICS.mkdir(parents=True, exist_ok=True)
    document = {"metrics": {"fid_classifier": value(mean), "rate": value(1.0, n=2)}}
    (paths.METRICS / f"{model}.json").write_text(json.dumps(document))


def lock(md5: str) -> None:
    outs = [{"path": "outputs/prepare", "md5": md5}]
    paths.DVC_LOCK.write_text(json.dumps({"stages": {"prepare": {"outs": outs}}}))


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    command = ["git", "-C", str(folder), *identity, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def commit(folder: Path, message: str) -> None:
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", message, "--allow-empty")


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    compare.main()


def test_this_checkout_is_compared_with_a_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--against", "HEAD")
    assert capsys.readouterr().out.startswith("No value and no setting differs from HEAD (")
    write("vae", 8.0)
    lock("bb")
    paths.PARAMS.write_text(paths.PARAMS.read_text().replace("sample_seed: 0", "sample_seed: 5"))
    run(monkeypatch, "--against", "HEAD", "--json", str(repository / "changes.json"))
    out = capsys.readouterr().out
    shown = [" ".join(line.split()) for line in out.splitlines()]
    assert any(
        line.startswith("vae fid_classifier 10.00 ± 0.10 8.00 ± 0.10 −2.00 better, p ")
        for line in shown
    )
    assert "evaluate.sample_seed 0 5" in shown
    assert "Not the same at both commits (dvc.lock): prepared data." in " ".join(shown)
    assert "gan_r1" not in out
    data = json.loads((repository / "changes.json").read_text())
    assert [(c["model"], c["verdict"]) for c in data["changes"]] == [("vae", "better")]
    assert data["settings_that_differ"] == {"evaluate.sample_seed": {"before": "0", "now": "5"}}
    run(monkeypatch, "gan_r1", "--against", "HEAD")
    assert "fid_classifier" not in capsys.readouterr().out
    commit(repository, "second")
    run(monkeypatch, "--against", "HEAD")
    assert "No value" in capsys.readouterr().out
    run(monkeypatch, "--against", "HEAD~1")
    assert capsys.readouterr().out.splitlines()[1:] == out.splitlines()[1:]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--against", "nowhere"], "--against: nowhere: no such commit"),
        (["--against=--help-me"], "--against: --help-me: no such commit"),
        (["--against", "HEAD:params.yaml"], "--against: HEAD:params.yaml: no such commit"),
        (["vea", "--against", "HEAD"], "vea: no results in reports/metrics/ on either side, did"),
        (["--against", "HEAD", "--metric", "fid"], "--metric: fid: not measured"),
    ],
)
def test_a_mistake_is_one_line(
    repository: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, *words)
    assert str(error.value.code).startswith(f"error: {message}")
    assert "\n" not in str(error.value.code)


@pytest.mark.parametrize("words", [["vae", "gan_r1", "--all"], ["--against", "HEAD", "--store"]])
def test_options_that_do_not_fit_are_refused(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    with pytest.raises(SystemExit):
        run(monkeypatch, *words)


def test_a_commit_before_there_were_results_adds_them_all(repository: Path) -> None:
    git(repository, "rm", "-rq", "--cached", "reports", "params.yaml", "dvc.lock")
    git(repository, "commit", "-qm", "empty")
    empty = commits.at_commit("HEAD")
    assert (empty.metrics, empty.settings, empty.inputs) == ({}, {}, {})
    assert changes(empty, commits.of_checkout(), {}, []).one_sided["models_added"] == [
        "vae",
        "gan_r1",
    ]


@pytest.mark.parametrize("content", ["{}", "[]", "{", '{"metrics": 3}'])
def test_broken_metrics_are_named_in_the_commit_and_in_the_checkout(
    repository: Path, content: str
) -> None:
    (paths.METRICS / "vae.json").write_text(content)
    with pytest.raises(UserError, match=r"^reports/metrics/vae.json: not the metrics"):
        commits.of_checkout()
    commit(repository, "broken")
    with pytest.raises(UserError, match=r"^HEAD:reports/metrics/vae.json: not the metrics"):
        commits.at_commit("HEAD")

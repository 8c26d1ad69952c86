"""`genmodels compare`: on files, and on an MLflow store."""

import json
import sys
from pathlib import Path

import pytest

from evaluation.comparing import pairs
from pipelines import compare, publish
from pipelines.comparing import models_text, sources
from pipelines.comparing.text_table import PIPED
from pipelines.settings import files, params, paths
from pipelines.tracking import store
from tests.evaluation.comparing.test_pairs import make_row
from tests.pipelines import conftest
from tests.pipelines.opened_store import client
from tests.pipelines.report_project import DIRECTIONS, make_record, write_params, write_project


@pytest.fixture
def project(checkout: Path) -> Path:
    write_project(checkout)
    return checkout


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    compare.main()
    return capsys.readouterr().out


def refused(monkeypatch: pytest.MonkeyPatch, *words: str) -> str:
    monkeypatch.setattr(sys, "argv", ["compare", *words])
    with pytest.raises(SystemExit) as error:
        compare.main()
    message = str(error.value.code)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message


def test_two_models_stand_side_by_side_within_100_columns(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(monkeypatch, capsys, "vae", "gan_r1")
    assert max(map(len, out.splitlines())) <= PIPED
    lines = [" ".join(line.split()) for line in out.splitlines()]
    place = next(i for i, line in enumerate(lines) if line.startswith("metric"))
    assert lines[place + 2] == (
        "fid_classifier ↓ 8.67 [5.37, 11.97] 3.31 [0.71, 5.92] −5.36 not testable"
    )
    assert "gan_r1 has the better mean in 3 of 3 metrics that differ" in out
    assert "gan_r1 has the lowest fid_classifier: 3.31 ± 0.29 (2 seeds)" in out
    assert "mse, elbo, rate, distortion: gan_r1: the model cannot do what this metric" in out
    assert "learning_rate 0.002 0.0005" in lines


def test_named_metrics_come_alone_each_with_its_verdict(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(monkeypatch, capsys, "vae", "beta_vae", "--metric", "mse", "kid_classifier")
    assert "fid_classifier" not in out
    assert out.index("mse ↓") < out.index("kid_classifier ↓")
    assert "vae has the lowest mse" in " ".join(out.split())
    assert "vae has the lowest kid_classifier" in " ".join(out.split())
    settings = out.split("Settings that differ:")[1].split()
    assert settings[-3:] == ["beta", "1.0", "4.0"]


def test_the_first_model_is_the_baseline_of_the_others(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(monkeypatch, capsys, "vae", "gan", "gan_r1", "--metric", "fid_classifier")
    assert out.index("gan against vae") < out.index("gan_r1 against vae")


def test_a_metric_under_another_protocol_is_refused_and_named(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = paths.EVALUATE / "gan_r1/records.json"
    document = json.loads(path.read_text())
    for records in document["seeds"].values():
        next(r for r in records if r["name"] == "kid_classifier")["n_fake"] = 500
    path.write_text(json.dumps(document))
    out = run(monkeypatch, capsys, "vae", "gan_r1")
    assert "kid_classifier: not comparable: vae and gan_r1 are not comparable: n_fake" in out
    assert "fid_classifier ↓" in out
    assert "kid_classifier ↓" not in out


def test_the_json_file_says_the_same(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(monkeypatch, capsys, "vae", "gan_r1", "--json", str(project / "found.json"))
    found = json.loads((project / "found.json").read_text())
    line = found["comparisons"]["gan_r1"][0]
    assert line["metric"] == "fid_classifier"
    assert line["baseline"]["mean"] == pytest.approx((8.41 + 8.93) / 2)
    assert line["difference"] == pytest.approx((3.11 + 3.52 - 8.41 - 8.93) / 2)
    assert (line["verdict"], line["p"]) == ("not testable", None)
    assert line["seeds_needed"] == 4
    assert f"about {line['seeds_needed']} seeds per model" in " ".join(out.split())
    assert found["settings_that_differ"]["kind"] == {"vae": "vae", "gan_r1": "gan"}
    assert set(found["lacking"]) >= {"mse", "disc_gap"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vae", "gan_r2"], "gan_r2: no such model, did you mean 'gan_r1'?; there are vae, beta_"),
        (["vae", "vae"], "vae: named twice"),
        (["vae", "../train/vae"], "../train/vae: neither the name of a model nor of a run"),
        (["vae", "a' OR 'b", "--store"], "a' OR 'b: neither the name of a model nor of a run"),
        (["vae", "unselected"], "unselected: not evaluated; run `dvc repro evaluate@unselected`"),
        (["vae", "gan", "--metric", "fid"], "--metric: fid: not measured; there are fid_cl"),
        (["vae", "gan", "--metric", "kid_clasifier"], "did you mean 'kid_classifier'?"),
        (["vae", "gan", "--json", "/proc/x.json"], "--json: /proc/x.json: No such file"),
        (["vae", "gan", "--json", "."], "--json: .: a folder; name a file"),
    ],
)
def test_a_mistake_is_one_line(
    project: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    assert message in refused(monkeypatch, *words)


def test_one_model_is_refused_by_the_parser(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["compare", "vae"])
    with pytest.raises(SystemExit):
        compare.main()
    assert "two or more models are needed, or --against COMMIT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("width", "has_sd", "has_interval"), [(200, True, True), (75, False, True), (50, False, False)]
)
def test_a_narrow_terminal_leaves_out_sd_then_intervals(
    width: int, has_sd: bool, has_interval: bool
) -> None:
    rows = [make_row("one", {"fid": [101.0, 102.5]}), make_row("two", {"fid": [80.0, 80.5]})]
    rows = [sources.row(r.name, {**IDENTITY, "seeds": r.records}, {}) for r in rows]
    models = [sources.Compared(row, {}, "files") for row in rows]
    out = models_text.as_text(pairs.compare(rows), models, width, every_verdict=False)
    table = next(line for line in out.splitlines() if line.startswith("fid"))
    assert ("±" in table, "[" in table) == (has_sd, has_interval)
    assert max(map(len, out.splitlines())) <= width


IDENTITY = {"kind": "vae", "family": "vae"}


def test_the_metric_to_rank_by_comes_first() -> None:
    rows = [make_row(name, {"rate": [1.0], "fid": [1.0], "elbo": [1.0]}) for name in "ab"]
    assert compare.choose(rows, [], "fid") == ["fid", "rate", "elbo"]
    assert compare.choose(rows, [], "elbo_gaussian") == ["elbo", "rate", "fid"]
    assert compare.choose(rows, ["elbo", "rate"], "fid") == ["elbo", "rate"]


@pytest.fixture
def published(reproduced: Path, database: Path) -> Path:
    """A store with two models, and records as `evaluate` writes them; no files beside it."""
    for position, model in enumerate(conftest.MODELS):
        seeds = {
            str(seed): [
                make_record(name, 3.0 + position + seed / 10, seed, None) for name in DIRECTIONS
            ]
            for seed in conftest.SEEDS
        }
        document = {"model": model, "kind": model, "family": model, "seeds": seeds}
        files.write_json(paths.EVALUATE / model / "records.json", document)
    publish.publish()
    write_params(reproduced)
    for model in conftest.MODELS:
        (paths.EVALUATE / model / "records.json").rename(reproduced / f"{model}.json")
    return reproduced


def test_without_files_the_store_is_read(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = run(monkeypatch, capsys, "vae", "gan")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0].startswith("vae vae; 1,000 parameters; seeds 0, 1; MLflow run vae-s1-")
    assert lines[0].endswith(", current")
    assert any(line.startswith("fid_classifier ↓ 3.05 ± 0.07") for line in lines)
    assert "kind vae gan" in lines


def test_a_training_with_other_settings_is_not_mixed_in_and_can_be_named(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A newer training of seed 0 alone, with another beta, evaluated by itself."""
    pipeline = store.open_store().experiment_id(store.PIPELINE)
    tags = {"model": "vae", "seed": "0", "fingerprint": "f" * 64, "evaluated": "x"}
    tags |= store.CURRENT
    later = 4_000_000_000_000
    new = client().create_run(pipeline, later, tags, "vae-s0-ffffffff").info.run_id
    client().log_param(new, "beta", "8.0")
    records = [make_record(name, 9.0, 0, None) for name in DIRECTIONS]
    document = {"kind": "vae", "family": "vae", "seeds": {"0": records}}
    client().log_dict(new, document, "evaluate/records.json")
    # A newer one still that has not been evaluated yet.
    client().create_run(pipeline, later + 1, {"model": "vae", "seed": "1"}, "vae-s1-eeeeeeee")
    lines = run(monkeypatch, capsys, "vae", "gan").splitlines()
    assert "seeds 0; MLflow run vae-s0-ffffffff" in lines[0]
    old = next(
        r.info.run_name
        for r in client().search_runs([pipeline], "tags.model = 'vae'")
        if r.info.run_name.startswith("vae-s0") and r.info.run_id != new
    )
    lines = run(monkeypatch, capsys, "vae", old, "--metric", "fid_classifier").splitlines()
    assert "seeds 0, 1; MLflow run" in lines[1]
    assert "current" not in lines[1]
    assert ["beta", "8.0", "1.0"] in [line.split() for line in lines]
    # The settings are changed back: the newest training is no longer the one to compare.
    client().set_tag(new, "current", "false")
    assert "seeds 0, 1; MLflow run" in run(monkeypatch, capsys, "vae", "gan").splitlines()[0]


def test_with_files_the_store_is_read_when_asked_to(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for model in conftest.MODELS:
        (published / f"{model}.json").rename(paths.EVALUATE / model / "records.json")
    for seed in conftest.SEEDS:
        for model in conftest.MODELS:
            path = paths.TRAIN / model / str(seed) / "config.json"
            config = json.loads(path.read_text()) | {"settings": {"kind": model}}
            files.write_json(path, config | {"num_parameters": 7})
    assert "outputs/evaluate/vae" in run(monkeypatch, capsys, "vae", "gan")
    assert "MLflow run vae-s1-" in run(monkeypatch, capsys, "vae", "gan", "--store")


def test_another_store_than_that_of_the_checkout_is_read(
    published: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = published.parent / "other.db"
    paths.MLFLOW_DB.rename(other)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{other}")
    store.open_store.cache_clear()
    assert "MLflow run vae-s1-" in run(monkeypatch, capsys, "vae", "gan", "--store")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "off")
    assert "--store: there is no MLflow store (off)" in refused(
        monkeypatch, "vae", "gan", "--store"
    )


def test_what_the_store_does_not_have_is_one_line(
    published: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = refused(monkeypatch, "vae", "gam", "--store")
    assert "gam: the MLflow store has no evaluated run of it, did you mean 'gan'?" in message
    run_id = client().search_runs(
        [store.open_store().experiment_id(store.PIPELINE)], "tags.model = 'gan'"
    )[0]
    for path in paths.MLFLOW_ARTIFACTS.rglob("records.json"):
        path.unlink()
    assert run_id.data.tags["evaluated"]
    message = refused(monkeypatch, "vae", "gan", "--store")
    assert (
        "has no evaluate/records.json, so its values cannot be compared; `make publish`" in message
    )


def test_a_store_that_is_not_there_is_not_made(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "--store: there is no MLflow store (sqlite:" in refused(
        monkeypatch, "vae", "unselected", "--store"
    )
    assert not paths.MLFLOW_DB.exists()


def test_an_unknown_model_gets_the_nearest_name() -> None:
    with pytest.raises(params.UserError, match="did you mean 'vae'"):
        sources.read(["vea", "gan_r1"], ["vae", "gan_r1"], from_store=False)

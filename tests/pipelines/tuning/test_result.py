"""What a study leaves: its verdict, its page, its runs in MLflow, and the entry of `apply`."""

import json
import re
from statistics import fmean
from types import SimpleNamespace

import pytest
from mlflow import MlflowClient  # noqa: TID251

from pipelines import tune
from pipelines.settings import params, paths
from pipelines.settings.errors import UserError
from pipelines.tracking.run import ROW_MARK
from pipelines.training import rows as training_rows
from pipelines.training import seeds
from pipelines.tuning import apply as tune_apply
from pipelines.tuning import files
from pipelines.tuning import page as tune_page
from pipelines.tuning import retrain as tune_retrain
from pipelines.tuning import study as tune_study
from tests.pipelines.tiny_study import BETA, RAW, TINY, search


@pytest.fixture
def no_store(monkeypatch):
    """Tracking is tested for itself."""
    monkeypatch.setattr(tune.runs, "log", lambda storage, found: 0)


def test_a_study_ends_with_a_verdict_a_page_and_an_entry(project, no_store, monkeypatch):
    one = project()
    storage = search(one)
    told = tune.finish(storage, 1, retrained=True)
    found = tune_page.load(paths.TUNE / "s")
    assert next(iter(found.best["retrained"])) == "start"
    for row in found.best["retrained"].values():
        fid = row["values"]["fid_classifier"]
        assert fid["mean"] == pytest.approx(fmean(fid["seeds"]))
        assert fid["interval"][0] < fid["mean"] < fid["interval"][1]
    assert "fresh seeds" in told
    page = (paths.TUNE / "s" / "index.html").read_text()
    assert tune_page.render(found) == page
    assert "http" not in page.replace("http://www.w3.org", "")
    csv = (paths.TUNE / "s" / "trials.csv").read_text().splitlines()
    assert csv[0] == "number,state,reason,num_parameters,steps,beta,fid_classifier,rate"
    assert len(csv) == 5
    summary = paths.STUDY_SUMMARIES / "s.json"
    assert json.loads(summary.read_text()) == tune_page.summary(found)
    tune.finish(storage, 1, retrained=False)  # Ctrl-C: what was done is not forgotten
    assert json.loads(summary.read_text()) == tune_page.summary(found)
    assert tune_page.load(paths.TUNE / "s") == found
    tune.finish(storage, 1, retrained=True)
    # Trained at the full budget of the entry, not at that of the trials.
    config = paths.RETRAINED / "s" / "start" / "7" / "config.json"
    assert json.loads(config.read_text())["settings"]["num_steps"] == TINY["num_steps"]

    number = found.trials[1].number
    difference = tune_apply.apply("s", number, None)
    settings = params.load()
    assert settings.models["vae_tuned"] == one.full_entry(found.trials[1].settings)
    assert settings.selected == {"vae": "vae", "vae_tuned": "vae"}
    assert difference.count("vae_tuned") >= 2
    before = paths.PARAMS.read_text()
    assert "already" in tune_apply.apply("s", number, None)
    assert paths.PARAMS.read_text() == before


def test_after_a_change_of_code_all_rows_are_of_the_new_code(project, no_store, monkeypatch):
    tune.finish(search(project()), 1, retrained=True)
    for module in (tune_study, training_rows):
        monkeypatch.setattr(module, "code_version", lambda kind: "new")
    changed = tune_study.load("s", params.load())
    tune.finish(search(changed), 1, retrained=True)
    rows = tune_page.load(paths.TUNE / "s").best["retrained"]
    results = [paths.RETRAINED / "s" / row / seed / "result.json" for row in rows for seed in "78"]
    assert [json.loads(path.read_text())["code"] for path in results] == ["new"] * 4


@pytest.mark.parametrize("apart", [True, False])
def test_apply_says_where_the_winner_is_in_doubt(project, no_store, monkeypatch, capsys, apart):
    def verdict(study, done):
        return {"trial": done[-1].trial, "apart": apart}

    monkeypatch.setattr(tune_retrain, "verdict", verdict)
    told = tune.finish(search(project()), 1, retrained=True)
    line = "the intervals of the winner and of the present settings overlap"
    assert (line in told) == (not apart)
    capsys.readouterr()
    for number in (tune_page.load(paths.TUNE / "s").best["winner"]["trial"], None):
        tune_apply.apply("s", number, None)
        said = capsys.readouterr().err
        assert said.startswith(f"s: {line}") == (number is None and not apart)


@pytest.mark.parametrize("objectives", [["fid_classifier"], ["fid_classifier", "elbo"]])
def test_what_is_missing_of_the_best_is_told(project, no_store, objectives):
    one = project(objectives=[{"metric": metric, "direction": None} for metric in objectives])
    storage = search(one)
    tune.finish(storage, 1, retrained=True)
    found = tune_page.load(paths.TUNE / "s")
    row = list(found.best["retrained"])[-1]
    (paths.RETRAINED / "s" / row / "8" / "result.json").unlink()
    told = tune.finish(storage, 1, retrained=False)
    now = tune_page.load(paths.TUNE / "s").best
    assert list(now["retrained"]) == list(found.best["retrained"])[:-1]
    if len(objectives) == 1:
        assert "winner" not in now
        assert "not all of the best were trained anew" in told
        with pytest.raises(UserError, match="were not trained anew yet"):
            tune_apply.apply("s", None, None)
    else:
        assert told.endswith("trained anew: present settings; choose with `apply --trial`")


@pytest.mark.parametrize("options", [[], ["--search-only"]])
def test_ctrl_c_of_a_machine_that_only_searches_writes_nothing(
    project, no_store, monkeypatch, options
):
    one = project()

    def interrupted(*_, **__):
        search(one)
        raise KeyboardInterrupt

    monkeypatch.setattr(tune, "search", interrupted)
    with pytest.raises(SystemExit):
        tune.main(["run", "s", *options])
    assert (paths.TUNE / "s").is_dir() == (not options)


def test_present_settings_outside_the_space_are_told_as_they_are(project, no_store, monkeypatch):
    monkeypatch.setitem(TINY, "beta", 20.0)
    one = project()
    monkeypatch.setattr(tune_retrain, "verdict", lambda *_: {"trial": None, "apart": False})
    told = tune.finish(search(one), 1, retrained=True)
    assert "nothing beats the present settings (beta 20)" in told
    found = tune_page.load(paths.TUNE / "s")
    assert (found.trials[0].point["beta"], found.trials[0].is_start) == (10.0, False)
    assert found.winner is None
    now, *_ = tune_page._means(found, found.axes["beta"], "fid_classifier")
    assert (now.x, now.name) == (20.0, "now")


BRANCHES = {
    "architecture": {"type": "categorical", "choices": ["mlp", "conv"]},
    "width": [
        {"type": "int", "low": 4, "high": 9, "step": 1, "log": True, "when": when}
        for when in ({"architecture": ["mlp"]}, {"architecture": ["conv"]})
    ],
    "beta": BETA["beta"],
}


def apply_as_the_page_says() -> str:
    """What its last section tells the reader to call, which must not be refused."""
    page = (paths.TUNE / "s" / "index.html").read_text()
    (number,) = re.findall(r"pipelines\.tune apply s(?: --trial (\d+))?  ", page)
    return tune_apply.apply("s", int(number) if number else None, None)


def test_the_page_of_a_pruned_study_with_conditions(project, no_store, tmp_path):
    pruner = {"name": "median", "startup_trials": 1, "checks": 2}
    one = project(space=BRANCHES, pruner=pruner, trials=8, retrain={"top": 1, "seeds": [7, 8]})
    storage = search(one)
    trials = files.ended(storage)
    assert {t.state for t in trials} == {"complete", "pruned"}
    for trial in trials:
        assert trial.steps == (
            6 if trial.state == "complete" else max(map(int, trial.intermediate))
        )
    tune.finish(storage, 1, retrained=False)
    page = (paths.TUNE / "s" / "index.html").read_text()
    for title in ("settings of each trial", "fid_classifier during the trials", "width@mlp"):
        assert title in page
    assert "width@conv" in (paths.TUNE / "s" / "trials.csv").read_text()


@pytest.mark.parametrize("lost", [["start"], ["start", "trial"]])
def test_what_diverges_at_the_full_budget_has_lost(project, no_store, monkeypatch, lost):
    one = project()
    storage = search(one)
    whole = seeds.fit

    def fit(entry, *rest):
        if entry["num_steps"] == TINY["num_steps"] and (
            "trial" in lost or entry["beta"] == RAW["models"]["vae"]["beta"]
        ):
            raise FloatingPointError("phase vae, step 3: loss = nan is not finite")
        return whole(entry, *rest)

    monkeypatch.setattr(seeds, "fit", fit)
    told = tune.finish(storage, 1, retrained=True)
    page = (paths.TUNE / "s" / "index.html").read_text()
    assert ("no training at the full budget" in told) == ("trial" in lost)
    assert "<td>diverged</td>" in page
    best = tune_page.load(paths.TUNE / "s").best
    assert "seed 7: phase vae, step 3" in best["retrained"]["start"]["diverged"]
    if "trial" in lost:
        assert best["winner"] is None
        with pytest.raises(UserError, match="no training at the full budget has a value"):
            tune_apply.apply("s", None, None)
        assert "vae_tuned" in apply_as_the_page_says()
    else:
        assert "vae_tuned" in apply_as_the_page_says()
        assert best["winner"]["trial"] is not None
        assert not best["winner"]["apart"]
        assert "no interval to compare with" in told


def test_the_page_of_two_objectives_shows_the_front(project, no_store):
    objectives = [{"metric": m, "direction": None} for m in ("fid_classifier", "elbo")]
    one = project(objectives=objectives, trials=5)
    assert one.directions == ("minimize", "maximize")
    told = tune.finish(search(one), 1, retrained=True)
    assert "two objectives have a front, not a winner" in told
    found = tune_page.load(paths.TUNE / "s")
    assert found.front
    assert "Pareto front" in (paths.TUNE / "s" / "index.html").read_text()
    with pytest.raises(UserError, match=r"choose of the front with --trial \d"):
        tune_apply.apply("s", None, None)
    assert "vae_tuned" in apply_as_the_page_says()


def test_apply_says_what_it_cannot_do(project, no_store):
    one = project()
    with pytest.raises(UserError, match=r"python -m pipelines\.tune run s` makes it"):
        tune_apply.apply("s", None, None)
    tune.finish(search(one), 1, retrained=False)
    with pytest.raises(UserError, match="were not trained anew yet"):
        tune_apply.apply("s", None, None)
    with pytest.raises(UserError, match="--trial 99: s has the trials 0 to 3"):
        tune_apply.apply("s", 99, None)
    with pytest.raises(UserError, match="--as Vae: a name is made of"):
        tune_apply.apply("s", 1, "Vae")
    assert "vae_tuned" in apply_as_the_page_says()


def test_apply_keeps_comments_and_touches_the_named_values(project, no_store):
    one = project()
    search_and_finish = tune.finish(search(one), 1, retrained=False)
    assert "best so far" in search_and_finish
    paths.PARAMS.write_text(SHIPPED_TEXT)
    file = paths.TUNE / "s" / "trials.json"  # as if it had been of the shipped entry
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base": RAW["models"]["vae"]}))
    tune_apply.apply("s", 1, "vae")
    changed = [
        (old, new)
        for old, new in zip(
            SHIPPED_TEXT.splitlines(), paths.PARAMS.read_text().splitlines(), strict=True
        )
        if old != new
    ]
    beta = tune_page.load(paths.TUNE / "s").trials[1].settings["beta"]
    assert changed == [("    beta: 1.0", f"    beta: {beta!r}")]
    tune_apply.apply("s", 1, "vae_tuned")
    after = paths.PARAMS.read_text()
    for line in SHIPPED_TEXT.splitlines():
        assert line in after or line == "    beta: 1.0"
    assert "  vae_tuned: # trial 1 of study s: beta" in after
    tune_apply.apply("s", 2, "vae_tuned")
    again = paths.PARAMS.read_text()
    assert "  vae_tuned: # trial 2 of study s: beta" in again
    assert "trial 1 of study s" not in again
    assert len(again.splitlines()) == len(after.splitlines())


def test_apply_leaves_nothing_of_another_trial_behind(project, no_store):
    space = {
        "likelihood": {"type": "categorical", "choices": ["bernoulli", "gaussian"]},
        "binarize": {"type": "fixed", "value": "none", "when": {"likelihood": ["gaussian"]}},
        "sigma": {"type": "fixed", "value": "optimal", "when": {"likelihood": ["gaussian"]}},
        "beta": BETA["beta"],
    }
    one = project(space=space, trials=6, sampler={"name": "random", "startup_trials": 1})
    tune.finish(search(one), 1, retrained=False)
    trials = tune_page.load(paths.TUNE / "s").trials
    numbers = [
        next(t.number for t in trials if t.settings["likelihood"] == likelihood)
        for likelihood in ("gaussian", "bernoulli")
    ]
    for number in numbers:
        tune_apply.apply("s", number, "vae_tuned")
        expected = one.full_entry(trials[number].settings)
        assert params.load().models["vae_tuned"] == expected


def test_apply_leaves_nothing_of_another_study_behind(project, no_store):
    space = {"latent_dim": {"type": "int", "low": 3, "high": 9, "step": 1, "log": False}}
    tune.finish(search(project(space=space)), 1, retrained=False)
    tune_apply.apply("s", 1, None)
    of_another = params.load().models["vae_tuned"]
    assert of_another["latent_dim"] != TINY["latent_dim"]
    one = project()
    tune.finish(search(one), 1, retrained=False)
    settings = json.loads(paths.PARAMS.read_text())
    settings["models"]["vae_tuned"] = of_another
    paths.PARAMS.write_text(json.dumps(settings))
    difference = tune_apply.apply("s", 1, None)
    trial = tune_page.load(paths.TUNE / "s").trials[1]
    assert params.load().models["vae_tuned"] == one.full_entry(trial.settings)
    assert "latent_dim" in difference


SHIPPED_TEXT = paths.PARAMS.read_text()


def test_apply_refuses_where_the_entry_is_no_longer_that_of_the_trials(project, no_store):
    one = project()
    tune.finish(search(one), 1, retrained=False)
    settings = json.loads(paths.PARAMS.read_text())
    settings["models"]["vae"] |= {"learning_rate": 0.5, "beta": 3.0}
    before = json.dumps(settings)
    paths.PARAMS.write_text(before)
    with pytest.raises(UserError, match=r"models\.vae: learning_rate changed since study s"):
        tune_apply.apply("s", 1, None)
    assert paths.PARAMS.read_text() == before


def test_a_list_that_became_a_word_is_a_setting_that_changed():
    key = "learning_rate_schedule.0.factor"
    base = {"beta": 1.0, "learning_rate_schedule": [{"step": 1, "factor": 0.1}]}
    found = SimpleNamespace(study={"study": "s", "base": base, "space": {key: [], "beta": []}})
    now = {"beta": 2.0, "learning_rate_schedule": "cosine"}
    with pytest.raises(UserError, match=r"m: learning_rate_schedule changed since study s"):
        tune_apply._check_unchanged(now, found, "m")
    now["learning_rate_schedule"] = [{"step": 1, "factor": 0.7}]
    tune_apply._check_unchanged(now, found, "m")


@pytest.mark.slow
def test_a_study_in_mlflow_has_a_parent_and_a_run_a_trial_written_once(project, store_home):
    storage = search(project())
    tune.finish(storage, 1, retrained=False)
    client = MlflowClient(f"sqlite:///{store_home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tuning/s").experiment_id

    def stored():
        runs = client.search_runs([experiment])
        steps = {r.info.run_id: client.get_metric_history(r.info.run_id, ROW_MARK) for r in runs}
        return {
            r.info.run_id: (r.data.metrics, r.data.params, len(steps[r.info.run_id])) for r in runs
        }

    before = stored()
    assert len(before) == 5
    parents = [r.data.tags.get("mlflow.parentRunId") for r in client.search_runs([experiment])]
    assert parents.count(None) == 1
    assert set(parents) - {None} <= set(before)
    assert {r.info.status for r in client.search_runs([experiment])} == {"FINISHED"}
    view = json.loads(
        client.get_experiment_by_name("tuning/s").tags["mlflow.sharedViewState.leaderboard"]
    )
    assert view["orderByKey"] == view["selectedColumns"][0]
    logged = client.search_runs([experiment])
    for column in view["selectedColumns"]:
        place, name = column.rstrip("`").split(".`")
        assert any(name in getattr(run.data, place) for run in logged), column
    assert tune.runs.log(storage, tune_page.load(paths.TUNE / "s")) == 0
    assert stored() == before

    # In a new storage, with another seed, the same numbers are other trials.
    storage.close()
    paths.OPTUNA_DB.unlink()
    other = search(project(seed=1))
    tune.finish(other, 1, retrained=False)
    after = stored()
    added = {float(told["beta"]) for run, (_, told, _) in after.items() if run not in before}
    assert added == {t.params["beta"] for t in other.trials[1:]}

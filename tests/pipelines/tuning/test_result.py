"""What a study leaves: its verdict, its page and its runs in MLflow."""

import json
from statistics import fmean

import pytest
from mlflow import MlflowClient  # noqa: TID251

from pipelines import tune
from pipelines.settings import params, paths
from pipelines.tracking.run import ROW_MARK
from pipelines.training import one_run
from pipelines.training import rows as rows_module
from pipelines.tuning import page as tune_page
from pipelines.tuning import results, retrain
from pipelines.tuning import study as tune_study
from pipelines.tuning.results import verdict
from tests.pipelines.tiny_study import BETA, RAW, TINY, search

#: As many seeds as one comparison needs to be testable.
SEEDS = [7, 8, 9, 10]


@pytest.fixture
def no_store(monkeypatch):
    """Tracking has tests of its own."""
    monkeypatch.setattr(tune.runs, "log", lambda storage, content: 0)


def load():
    return results.load(paths.TUNE / "s")


def page():
    return (paths.TUNE / "s" / "index.html").read_text()


def test_a_study_ends_with_a_verdict_a_page_and_a_summary(project, no_store):
    storage = search(project())
    text = tune.finish(storage, 1, is_complete=True)
    content = load()
    assert text == verdict(content)
    assert next(iter(content.best["retrained"])) == "start"
    for row in content.best["retrained"].values():
        fid = row["values"]["fid_classifier"]
        assert fid["mean"] == pytest.approx(fmean(fid["seeds"]))
        assert fid["interval"][0] < fid["mean"] < fid["interval"][1]
    assert "2 fresh seeds at full length" in text
    assert "http" not in page().replace("http://www.w3.org", "")
    assert "retrained at full length" in page()
    csv = (paths.TUNE / "s" / "trials.csv").read_text().splitlines()
    assert csv[0] == "number,state,reason,num_parameters,steps,beta,fid_classifier,rate"
    assert len(csv) == 5
    summary = (paths.STUDY_SUMMARIES / "s.json").read_text()
    first_page = page()
    tune.finish(storage, 1, is_complete=False)  # Ctrl-C keeps what is there
    assert (paths.STUDY_SUMMARIES / "s.json").read_text() == summary
    assert page() == first_page
    assert load() == content
    # Retrained with the number of steps of the entry, not of the trials.
    config = paths.RETRAINED / "s" / "start" / "7" / "config.json"
    assert json.loads(config.read_text())["settings"]["num_steps"] == TINY["num_steps"]


def test_after_a_change_of_code_all_rows_are_of_the_new_code(project, no_store, monkeypatch):
    tune.finish(search(project()), 1, is_complete=True)
    for module in (tune_study, rows_module):
        monkeypatch.setattr(module, "training_version", lambda kind: "new")
    changed = tune_study.load("s", params.load())
    tune.finish(search(changed), 1, is_complete=True)
    files = [
        paths.RETRAINED / "s" / row / seed / "result.json"
        for row in load().best["retrained"]
        for seed in "78"
    ]
    assert [json.loads(path.read_text())["code"] for path in files] == ["new"] * 4


def row(trial, *seeds, diverged=None):
    values = {"fid": {"seeds": list(seeds), "mean": fmean(seeds), "interval": []}} if seeds else {}
    settings = {} if trial is None else {"beta": 4.0}
    return {"trial": trial, "settings": settings, "diverged": diverged, "values": values}


START = (20.9, 20.4, 20.8, 20.7)


@pytest.mark.parametrize(
    ("trial", "seeds", "winner", "is_better", "text"),
    [
        (1, (20.8, 20.3, 20.7, 20.6), 1, False, "nothing is measurably better than the original"),
        (
            1,
            (20.8, 20.3, 20.7, 20.6),
            1,
            False,
            "settings are not distinguishable (Welch",
        ),
        (1, (10.8, 10.3, 10.7, 10.6), 1, True, "trial 1 (beta 4) is better than the original set"),
        (1, (10.8, 10.3), 1, False, "is not testable with 2 seeds"),
        (
            1,
            (30.8, 30.3, 30.7, 30.6),
            None,
            False,
            "nothing is measurably better than the original",
        ),
        (1, (), None, False, "no trial with other settings has a value"),
    ],
)
def test_the_verdict_is_that_of_the_one_rule(
    project, no_store, monkeypatch, trial, seeds, winner, is_better, text
):
    retrained = {"start": row(None, *START), "trial_1": row(trial, *seeds, diverged="seed 7: nan")}
    won = retrain.winner(retrained, "fid", "minimize")
    assert (won["trial"], won["is_better"]) == (winner, is_better)
    study = {"study": "s", "objectives": ["fid"], "directions": ["minimize"], "num_steps": 500}
    study["start"] = {"beta": 1.0}
    best = {"trials": [{"trial": 1, "settings": {"beta": 4.0}, "objectives": [56.6]}]}
    best |= {"seeds": SEEDS, "retrained": retrained, "winner": won}
    ended = results.EndedTrial(1, "complete", None, {}, {}, [56.6], {}, {}, 1, 1, 1, None)
    content = results.Results(study, [ended], best, [], paths.TUNE)
    said = verdict(content)
    assert text in said
    assert not seeds or said.endswith(
        "The score of trial 1 during the search (500 steps, selection-biased) was 56.6"
    )


@pytest.mark.parametrize("objectives", [["fid_classifier"], ["fid_classifier", "elbo"]])
def test_the_verdict_says_what_is_not_retrained_yet(project, no_store, objectives):
    one = project(objectives=[{"metric": metric, "direction": None} for metric in objectives])
    storage = search(one)
    tune.finish(storage, 1, is_complete=True)
    before = load()
    last = list(before.best["retrained"])[-1]
    (paths.RETRAINED / "s" / last / "8" / "result.json").unlink()
    text = tune.finish(storage, 1, is_complete=False)
    now = load().best
    assert list(now["retrained"]) == list(before.best["retrained"])[:-1]
    if len(objectives) == 1:
        assert "winner" not in now
        assert "not all of the top trials are retrained yet" in text
    else:
        assert text.endswith("retrained: the original settings; choose one with `apply --trial N`")


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


def test_original_settings_outside_the_space_are_shown_as_they_are(project, no_store, monkeypatch):
    monkeypatch.setitem(TINY, "beta", 20.0)
    text = tune.finish(search(project()), 1, is_complete=True)
    assert load().study["start"] == {"beta": 20.0}
    assert text
    content = load()
    assert content.trials[0].point["beta"] == 10.0
    original, *_ = tune_page.retrained_points(content, "beta", "fid_classifier")
    assert (original[0], original[2]) == (20.0, "original")


BRANCHES = {
    "architecture": {"type": "categorical", "choices": ["mlp", "conv"]},
    "width": [
        {"type": "int", "low": 4, "high": 9, "step": 1, "log": True, "when": when}
        for when in ({"architecture": ["mlp"]}, {"architecture": ["conv"]})
    ],
    "beta": BETA["beta"],
}


def test_the_page_of_a_pruned_study_with_conditions(project, no_store):
    pruner = {"name": "median", "startup_trials": 1, "checks": 2}
    storage = search(project(space=BRANCHES, pruner=pruner, trials=8))
    trials = results.ended(storage)
    assert {t.state for t in trials} == {"complete", "pruned"}
    for trial in trials:
        last = 6 if trial.state == "complete" else max(map(int, trial.intermediate))
        assert trial.steps == last
    tune.finish(storage, 1, is_complete=False)
    for title in (
        "Settings of each trial",
        "fid_classifier by step",
        "fid_classifier by setting",
        "width@mlp",
    ):
        assert title in page()
    assert "width@conv" in (paths.TUNE / "s" / "trials.csv").read_text()


@pytest.mark.parametrize("lost", [["start"], ["start", "trial"]])
def test_what_diverges_at_full_length_has_lost(project, no_store, monkeypatch, lost):
    storage = search(project())
    whole = one_run.fit

    def fit(training, *rest):
        entry = training.entry
        if entry["num_steps"] == TINY["num_steps"] and (
            "trial" in lost or entry["beta"] == RAW["models"]["vae"]["beta"]
        ):
            raise FloatingPointError("phase vae, step 3: loss = nan is not finite")
        return whole(training, *rest)

    monkeypatch.setattr(one_run, "fit", fit)
    text = tune.finish(storage, 1, is_complete=True)
    assert "<td>diverged</td>" in page()
    best = load().best
    assert "seed 7: phase vae, step 3" in best["retrained"]["start"]["diverged"]
    if "trial" in lost:
        assert best["winner"] is None
        assert "no retrained model has a fid_classifier; seed 7: phase vae, step 3" in text
    else:
        assert best["winner"]["trial"] is not None
        assert not best["winner"]["is_better"]
        assert "has no rival: the original settings diverged" in text


def test_the_page_of_two_objectives_shows_the_front(project, no_store):
    objectives = [{"metric": m, "direction": None} for m in ("fid_classifier", "elbo")]
    one = project(objectives=objectives, trials=5)
    assert one.directions == ("minimize", "maximize")
    text = tune.finish(search(one), 1, is_complete=True)
    assert "two objectives have a Pareto front and no winner" in text
    assert load().front
    assert 'aria-label="Pareto front"' in page()


def test_the_summary_of_a_search_over_several_settings_has_the_search_plots(project, no_store):
    space = {**BETA, "kl_warmup": {"type": "float", "low": 0.0, "high": 0.5, "log": False}}
    storage = search(project(space=space, trials=6))
    tune.finish(storage, 1, is_complete=False)
    content = load()
    summary = tune_page.summary(storage.study, content, tune_page.draw(storage, content))
    assert [plot.split('"')[3] for plot in summary["plots"]] == [
        "fid_classifier of each trial",
        "Importance of settings for fid_classifier",
    ]


@pytest.mark.slow
def test_a_study_in_mlflow_has_a_parent_and_a_run_a_trial_written_once(project, store_home):
    storage = search(project())
    tune.finish(storage, 1, is_complete=False)
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
    assert tune.runs.log(storage, load()) == 0
    assert stored() == before

    # In a new storage, with another seed, the same numbers are other trials.
    storage.close()
    paths.OPTUNA_DB.unlink()
    other = search(project(seed=1))
    tune.finish(other, 1, is_complete=False)
    after = stored()
    added = {float(told["beta"]) for run, (_, told, _) in after.items() if run not in before}
    assert added == {t.params["beta"] for t in other.trials[1:]}

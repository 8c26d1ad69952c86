"""`apply` writes what a study found: two to six lines of params.yaml."""

import difflib
import json
import re
from types import SimpleNamespace

import pytest

from pipelines import tune
from pipelines.settings import params, paths, yaml_files
from pipelines.settings.errors import UserError
from pipelines.tuning import apply as tune_apply
from pipelines.tuning import results
from tests.pipelines.tiny_study import BETA, TINY, search

SHIPPED = paths.PARAMS.read_text("utf-8")


@pytest.fixture
def study(project, monkeypatch):
    """A function that searches a study `s` and returns its results."""
    monkeypatch.setattr(tune.runs, "log", lambda storage, content: 0)

    def run(*, is_complete=False, **changes):
        tune.finish(search(project(**changes)), 1, is_complete=is_complete)
        return results.load(paths.TUNE / "s")

    return run


def as_shipped():
    """The shipped params.yaml, as if the study had been of its entry."""
    paths.PARAMS.write_text(SHIPPED)
    file = paths.TUNE / "s" / "trials.json"
    base = params.load().models["vae"]
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base": base}))


def changed_lines(before):
    diff = difflib.ndiff(before.splitlines(), paths.PARAMS.read_text().splitlines())
    return [line for line in diff if line[0] in "+-"]


def test_an_entry_is_its_base_and_what_was_found(study):
    trial = study().trials[1]
    as_shipped()
    difference = tune_apply.apply("s", 1, None)
    beta = trial.settings["beta"]
    assert [line for line in changed_lines(SHIPPED) if not line.endswith("vae_tuned: vae")] == [
        "+   vae_tuned: # trial 1 of study s",
        "+     base: vae",
        f"+     beta: {beta}",
    ]
    assert [line[0] for line in difference.splitlines()[2:]].count("+") == 4
    settings = params.load()
    assert settings.models["vae_tuned"] == settings.models["vae"] | {"beta": beta}
    assert settings.selected["vae_tuned"] == "vae"
    again = paths.PARAMS.read_text()
    assert "already" in tune_apply.apply("s", 1, None)
    assert paths.PARAMS.read_text() == again
    tune_apply.apply("s", 2, None)
    assert len(paths.PARAMS.read_text().splitlines()) == len(again.splitlines())
    assert "# trial 2 of study s" in paths.PARAMS.read_text()
    assert "# trial 1 of study s" not in paths.PARAMS.read_text()


def test_the_study_s_own_model_keeps_its_other_lines_and_comments(study):
    trial = study().trials[1]
    as_shipped()
    tune_apply.apply("s", 1, "vae")
    removed, added, *hints = changed_lines(SHIPPED)
    assert (removed.split("#")[0].strip(), added.split("#")[0].strip()) == (
        "-     beta: 1.0",
        f"+     beta: {trial.settings['beta']}",
    )
    assert removed.split("#")[1:] == added.split("#")[1:]
    assert hints == []


def test_nothing_of_another_trial_stays(study):
    space = {
        "likelihood": {"type": "categorical", "choices": ["bernoulli", "gaussian"]},
        "binarize": {"type": "fixed", "value": "none", "when": {"likelihood": ["gaussian"]}},
        "sigma": {"type": "fixed", "value": "optimal", "when": {"likelihood": ["gaussian"]}},
        "beta": BETA["beta"],
    }
    random = {"name": "random", "startup_trials": 1}
    trials = study(space=space, trials=6, sampler=random).trials
    base = params.load().models["vae"]
    for likelihood in ("gaussian", "bernoulli"):
        trial = next(t for t in trials if t.settings["likelihood"] == likelihood)
        tune_apply.apply("s", trial.number, None)
        assert params.load().models["vae_tuned"] == base | trial.settings


def test_nothing_of_another_study_stays(study):
    space = {"latent_dim": {"type": "int", "low": 3, "high": 9, "step": 1, "log": False}}
    study(space=space)
    tune_apply.apply("s", 1, None)
    with_both = paths.PARAMS.read_text()
    assert params.load().models["vae_tuned"]["latent_dim"] != TINY["latent_dim"]
    trial = study().trials[1]
    paths.PARAMS.write_text(with_both)
    assert "latent_dim" in tune_apply.apply("s", 1, None)
    expected = params.load().models["vae"] | trial.settings
    assert params.load().models["vae_tuned"] == expected


def test_a_winner_that_is_not_measurably_better_is_named(study, capsys):
    content = study(is_complete=True)
    capsys.readouterr()
    if content.best["winner"]["trial"] is None:
        with pytest.raises(UserError, match="the original settings win"):
            tune_apply.apply("s", None, None)
    else:
        tune_apply.apply("s", None, None)
        assert "is not testable with 2 seeds" in capsys.readouterr().err


def test_what_cannot_be_applied_is_one_line(study):
    with pytest.raises(UserError, match=r"genmodels tune run s` makes it"):
        tune_apply.apply("s", None, None)
    study()
    with pytest.raises(UserError, match="are not retrained yet"):
        tune_apply.apply("s", None, None)
    with pytest.raises(UserError, match="--trial 99: s has trials 0 to 3"):
        tune_apply.apply("s", 99, None)
    with pytest.raises(UserError, match="--as Vae: a name consists of"):
        tune_apply.apply("s", 1, "Vae")
    page = (paths.TUNE / "s" / "index.html").read_text()
    (number,) = re.findall(r"genmodels tune apply s --trial (\d+)  ", page)
    assert "vae_tuned" in tune_apply.apply("s", int(number), None)


def test_two_objectives_have_no_winner(study):
    study(objectives=[{"metric": m, "direction": None} for m in ("fid_classifier", "elbo")])
    with pytest.raises(UserError, match=r"choose from the front with --trial \d"):
        tune_apply.apply("s", None, None)


def test_a_model_that_has_changed_since_the_study_is_refused(study):
    study()
    raw = yaml_files.read_yaml(paths.PARAMS)
    raw["models"]["vae"] |= {"learning_rate": 0.5, "beta": 3.0}
    before = json.dumps(raw)
    paths.PARAMS.write_text(before)
    with pytest.raises(UserError, match=r"models\.vae: learning_rate changed since study s; its"):
        tune_apply.apply("s", 1, None)
    assert paths.PARAMS.read_text() == before


def test_a_list_that_became_a_word_is_a_setting_that_changed():
    key = "learning_rate_schedule.0.factor"
    base = {"beta": 1.0, "learning_rate_schedule": [{"step": 1, "factor": 0.1}]}
    content = SimpleNamespace(study={"study": "s", "base": base, "space": {key: [], "beta": []}})
    now = {"beta": 2.0, "learning_rate_schedule": "cosine"}
    with pytest.raises(UserError, match=r"m: learning_rate_schedule changed since study s"):
        tune_apply._check_unchanged(now, content, "m")
    now["learning_rate_schedule"] = [{"step": 1, "factor": 0.7}]
    tune_apply._check_unchanged(now, content, "m")

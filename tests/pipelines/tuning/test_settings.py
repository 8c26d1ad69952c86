"""Every mistake in a study ends in one line, before its first trial."""

import io
import json
import re

import pytest
from ruamel.yaml import YAML  # noqa: TID251

from pipelines.settings import params, paths, yaml_files
from pipelines.settings.errors import UserError
from pipelines.tuning import settings as tune_settings
from pipelines.tuning import space as tune_space
from pipelines.tuning import study as tune_study

STUDIES = yaml_files.read_yaml(paths.TUNE_YAML)["tune"]


def refuse(monkeypatch, tmp_path, **studies):
    """Loads and checks studies."""
    path = tmp_path / "tune.yaml"
    path.write_text(json.dumps({"tune": studies}))  # JSON is YAML
    monkeypatch.setattr(paths, "TUNE_YAML", path)
    for name, one in tune_settings.load_studies().items():
        tune_study.check_study(one, params.load(), f"tune.yaml: tune.{name}")


def study(name="vae_beta", **changes):
    return json.loads(json.dumps(STUDIES[name])) | changes


BETA = {"type": "float", "low": 0.1, "high": 10.0, "log": True}
ARCHITECTURE = {"type": "categorical", "choices": ["conv", "mlp"]}
HEAD = {"type": "fixed", "value": 0, "when": {"architecture": ["mlp"]}}


def objective(metric, direction=None):
    return {"objectives": [{"metric": metric, "direction": direction}]}


MALFORMED = [
    (study(modle="vae"), "tune.s.modle: unknown key (value 'vae'), did you mean 'model'?"),
    (study(model="vea"), "tune.s.model: 'vea' is no key of models: (vae, "),
    (study(trials=0), "tune.s.trials: 0 is not allowed: input should be greater"),
    (study(space={"betta": BETA}), "tune.s.space.betta: kind 'vae' has no such setting, did you"),
    (
        study(space={"beta": BETA | {"high": 0.01}}),
        "tune.s.space.beta: low 0.1 is not below high 0.01",
    ),
    (
        study(space={"beta": BETA | {"low": 0.0}}),
        "tune.s.space.beta: low 0.0 with log: true; low must be above 0",
    ),
    (
        study(space={"beta": BETA | {"low": -1.0, "log": False}}),
        "tune.s.space.beta: -1.0 is not allowed: input should be greater than or equal to 0",
    ),
    (study(space={"beta": BETA | {"lgo": 1}}), "space.beta.lgo: unknown key (value 1), did you"),
    (study(space={"beta": {"type": "flaot"}}), "space.beta: type 'flaot' is not one of float, int"),
    (
        study(space={"latent_dim": {"type": "int", "low": 2, "high": 9, "step": 2, "log": False}}),
        "space.latent_dim: steps of 2 from 2 do not reach high 9",
    ),
    (
        study(space={"architecture": ARCHITECTURE}),
        "tune.s.space: head_depth 1 contradicts architecture 'mlp'",
    ),
    (
        study(space={"architecture": {"type": "categorical", "choices": ["conv", "cnov"]}}),
        "tune.s.space.architecture: 'cnov' is not allowed: input should be 'mlp', 'conv'",
    ),
    (
        study(space={"head_depth": HEAD, "architecture": ARCHITECTURE}),
        "when.architecture: architecture must stand above head_depth",
    ),
    (
        study(space={"architecture": ARCHITECTURE, "head_depth": [HEAD, HEAD]}),
        "tune.s.space.head_depth: 2 parts are used at once (architecture: mlp)",
    ),
    (study(space={"num_steps": BETA}), "space.num_steps: cannot be searched; num_steps of the"),
    (
        study(**objective("fid_clasifier")),
        "objectives: 'fid_clasifier' is no value of evaluation/metrics/, did you mean 'fid_clas",
    ),
    (study(**objective("disc_acc")), "objectives: 'disc_acc' cannot be measured for vae (kind"),
    (study("gan", **objective("elbo")), "objectives: 'elbo' cannot be measured for gan_r1 (kin"),
    (study(**objective("rate")), "objectives: 'rate' has no direction of its own"),
    (
        study(**objective("elbo", "minimize")),
        "minimize contradicts 'elbo', which is better when higher",
    ),
    (study(**objective("loss")), "objectives: 'loss' is no value of evaluation/metrics/"),
    (
        study(
            "vae_architecture",
            pruner={"name": "median", "startup_trials": 1, "checks": 1},
            **objective("mse"),
        ),
        "'mse' is not measured during a training, so the pruner cannot use it",
    ),
    (
        study("vae_pareto", pruner={"name": "median", "startup_trials": 1, "checks": 1}),
        "tune.s: pruner 'median' with two objectives, which have no order",
    ),
    (
        study(pruner={"name": "halving", "startup_trials": 1, "checks": 7}),
        "tune.s.pruner: checks 7 with name: halving; at most 6",
    ),
    (
        study(pruner={"name": "halving", "startup_trials": 1, "checks": 4}, num_steps=15),
        "tune.s: num_steps 15 with pruner halving and checks 4: the first check is after 1/16",
    ),
    (
        study(retrain={"top": 1, "seeds": [0, 1]}),
        "tune.s: retrain.seeds [0, 1] must not contain training_seed 0",
    ),
    (
        study(retrain={"top": 1, "seeds": [1, 101]}),
        "tune.s.retrain.seeds: 1 also in seeds: of params.yaml; they must not overlap",
    ),
    (study(space={"beta": BETA | {"type": ["float"]}}), "space.beta: type ['float'] is not one of"),
    (study(space={"beta": BETA | {"type": {}}}), "space.beta: type {} is not one of float, int"),
    (
        study(space={"beta": []}),
        "tune.s.space.beta: [] is not allowed: list should have at least 1",
    ),
    (
        study(space={"beta": {"type": "fixed", "value": 2.0}}),
        "tune.s: space has only fixed parts; there is nothing to search",
    ),
    (
        study(space={"beta": BETA | {"when": {}}}),
        "tune.s.space.beta.when: {} is not allowed: dictionary should have at least 1 item",
    ),
]


@pytest.mark.parametrize(("wrong", "message"), MALFORMED)
def test_a_malformed_study_is_one_line(monkeypatch, tmp_path, wrong, message):
    with pytest.raises(UserError) as error:
        refuse(monkeypatch, tmp_path, s=wrong)
    assert message in str(error.value)
    assert str(error.value).startswith("tune.yaml: tune.s")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"seconds": float("nan")}, "--timeout: seconds: nan is not allowed: input should be"),
        ({"seconds": -1.0}, "--timeout: seconds: -1.0 is not allowed: input should be greater"),
        ({"seed": -1}, "--seed: seed: -1 is not allowed: input should be greater"),
        ({"seed": 2**70}, f"--seed: seed: {2**70} is not allowed: input should be less"),
    ],
)
def test_a_number_of_the_command_line_is_held_to_the_same(given, message):
    with pytest.raises(UserError) as error:
        tune_study.load("vae_beta", params.load(), **given)
    assert str(error.value).startswith(message)


def test_the_shipped_studies_are_accepted():
    studies = tune_settings.load_studies()
    assert list(studies) == ["vae_beta", "vae_architecture", "gan", "vae_pareto"]
    for name, one in studies.items():
        tune_study.check_study(one, params.load(), f"tune.yaml: tune.{name}")


def test_a_study_that_another_setting_made_impossible_stops_nothing_but_itself(tmp_path):
    raw = yaml_files.read_yaml(paths.PARAMS)
    raw["features"]["extractors"] = ["inception"]
    raw["report"] = {"rank_by": "fid_inception", "gates": []}
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(raw))
    settings = params.load(path)
    with pytest.raises(UserError, match="objectives: 'fid_classifier' is no value"):
        tune_study.load("vae_beta", settings)


class Scripted:
    """Draws what it is told, and notes what was asked."""

    def __init__(self, **answers):
        self.answers, self.asked = answers, []

    def _answer(self, name):
        self.asked.append(name)
        return self.answers[name]

    def suggest_float(self, name, low, high, *, log):
        return self._answer(name)

    def suggest_int(self, name, low, high, *, step, log):
        return self._answer(name)

    def suggest_categorical(self, name, choices):
        return self._answer(name)


@pytest.fixture
def architecture():
    return tune_settings.load_studies()["vae_architecture"].space, params.load().models["vae"]


def test_a_conditional_part_counts_only_where_its_condition_holds(architecture):
    space, base = architecture
    answers = {"architecture": "mlp", "width@mlp": 100, "latent_dim": 8, "likelihood": "gaussian"}
    trial = Scripted(**answers)
    values = tune_space.suggest(trial, space, base)
    assert trial.asked == ["architecture", "width@mlp", "latent_dim", "likelihood"]
    assert values == {
        "architecture": "mlp",
        "head_depth": 0,
        "width": 100,
        "latent_dim": 8,
        "likelihood": "gaussian",
        "binarize": "none",
        "sigma": "optimal",
    }
    trial = Scripted(
        **answers | {"architecture": "conv", "likelihood": "bernoulli", "width@conv,resnet": 8}
    )
    values = tune_space.suggest(trial, space, base)
    assert set(values) == {"architecture", "width", "latent_dim", "likelihood"}


def test_the_first_trial_is_the_present_settings(architecture):
    space, base = architecture
    start = tune_space.starting_point(space, base)
    assert start == {
        "architecture": "conv",
        "width@conv,resnet": 16,
        "latent_dim": 16,
        "likelihood": "bernoulli",
    }
    assert tune_space.changed(base, tune_space.suggest(Scripted(**start), space, base)) == base
    outside = tune_space.starting_point(space, {**base, "latent_dim": 500, "width": 17})
    assert (outside["latent_dim"], outside["width@conv,resnet"]) == (64, 16)


@pytest.mark.parametrize(
    ("changes", "is_inside"),
    [
        ({}, True),
        ({"latent_dim": 500}, False),
        ({"width": 17}, False),
        ({"architecture": "rnn"}, False),  # no choice
        ({"architecture": "mlp", "head_depth": 0, "width": 100}, True),
    ],
)
def test_original_settings_outside_the_space_are_no_point_of_it(architecture, changes, is_inside):
    space, base = architecture
    base = {**base, **changes}
    point = tune_space.original_point(space, base)
    assert {key.partition("@")[0]: value for key, value in point.items()}.items() <= base.items()
    assert (point == tune_space.starting_point(space, base)) == is_inside


def test_a_dotted_key_lies_inside_a_list():
    entry = {"a": [{"step": 3, "factor": 0.5}], "b": 1}
    assert tune_space.look_up(entry, "a.0.factor") == 0.5
    changed = tune_space.changed(entry, {"a.0.factor": 0.1, "b": 2})
    assert changed == {"a": [{"step": 3, "factor": 0.1}], "b": 2}
    assert entry["a"][0]["factor"] == 0.5


def test_optuna_is_imported_by_the_tuning_alone():
    for path in (paths.ROOT / "pipelines").rglob("*.py"):
        if re.search(r"^\s*(import|from) optuna", path.read_text(), re.MULTILINE):
            assert path.parent.name == "tuning", path


def test_a_file_of_studies_is_in_the_style_of_dvc():
    """So that `dvc exp run -S tune.yaml:tune.gan.trials=50` changes one line."""
    yaml, written = YAML(), io.StringIO()
    yaml.default_flow_style = False
    text = paths.TUNE_YAML.read_text("utf-8")
    yaml.dump(yaml.load(text), written)
    assert written.getvalue() == text

"""Every mistake in params.yaml is one line with the key, the value and what is allowed."""

import json
import subprocess
import sys

import pytest

from pipelines.settings import params, paths, sections, yaml_files
from pipelines.settings.errors import UserError

TEXT = paths.PARAMS.read_text()


def load(tmp_path, old="", new=""):
    assert old in TEXT
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    return params.load(path)


def test_the_shipped_file_is_accepted(tmp_path):
    loaded = load(tmp_path)
    assert {"vae", "beta_vae", "dcgan", "gan_r1"} <= set(loaded.models)
    assert set(loaded.trained) <= set(loaded.models)
    assert {loaded.models[name]["kind"] for name in loaded.trained} >= {"vae", "gan"}


@pytest.mark.parametrize("spelling", ["1e-3", "1.0e-03", "0.001", "1E-3"])
def test_numbers_are_read_as_dvc_reads_them(tmp_path, spelling):
    loaded = load(tmp_path, "learning_rate: 0.002", f"learning_rate: {spelling}")
    assert loaded.models["vae"]["learning_rate"] == 0.001


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "    beta: 1.0",
            "    betta: 1.0",
            "models.vae.betta: unknown key (value 1.0), did you mean 'beta'?; allowed: kind,",
        ),
        ("    beta: 1.0", "    beta: -1", "models.vae.beta: -1 is not allowed: input should be gr"),
        ("    beta: 1.0", "    beta: '1e-4'", "models.vae.beta: '1e-4' is not allowed"),
        ("    beta: 1.0", "    beta: true", "models.vae.beta: True is not allowed"),
        ("    latent_dim: 16\n", "", "models.vae.latent_dim: this key is missing"),
        ("    kind: vae", "    kind: vea", "models.vae.kind: 'vea' is not one of "),
        ("    kind: vae", "    kind: vea", ", vae, vq_vae, did you mean 'vae'?"),
        ("    kind: vae", "    kin: vae", "models.vae.kind: None is not one of "),
        ("\n  vae: #", "\n  <b>: #", "models: '<b>' is not allowed"),
        (
            "  beta_vae: vae\n",
            "  betavae: vae\n",
            "selected.betavae: no such model, did you mean 'beta_vae'?; there are vae, beta_vae",
        ),
        (
            "  beta_vae: vae\n",
            "  beta_vae: gan\n",
            "selected.beta_vae: 'gan', but models.beta_vae.kind is 'vae'",
        ),
        ("  beta_vae: vae\n", "  beta_vae:\n", "selected.beta_vae: None is not allowed"),
        ("\nselected:", "\nselected: {}\nunselected:", "unselected: unknown key"),
        ("seeds:", "seedz:", "seedz: unknown key (value [0, 1]), did you mean 'seeds'?"),
        ("- 1\n", "- 0\n", "seeds: [0, 0] names a seed twice"),
        ("dataset: mnist5k", "dataset: mnist6k", "prepare.dataset: 'mnist6k' is not allowed"),
        ("valid_fraction: 0.2", "valid_fraction: 0.9", "0.9 + 0.2 leaves no training images"),
        ("sigma: #", "sigma: 0.1 #", "models.vae: likelihood 'bernoulli' needs sigma: null"),
        (
            "sigma: #",
            "sigma: optmal #",
            "sigma: 'optmal' is not allowed: input should be a valid number or 'learned' or 'opti",
        ),
        (
            "learning_rate_schedule: cosine",
            "learning_rate_schedule: [{step: 9, factr: 0.1}]",
            "schedule.0.factr: unknown key (value 0.1), did you mean 'factor'?; allowed: step, fac",
        ),
        (
            "learning_rate_schedule: cosine",
            "learning_rate_schedule: [{step: 9, factor: -1}]",
            "models.vae.learning_rate_schedule.0.factor: -1 is not allowed: input should be great",
        ),
        ("  - kid\n", "  - kidd\n", "unknown metric 'kidd', did you mean 'kid'?"),
        (
            "rank_by: fid_c",
            "rank_by: fidc",
            "cannot rank by 'fidclassifier': it is not measured or has no direction, did you mean",
        ),
        ("rank_by: fid_classifier", "rank_by: rate", "rank_by: cannot rank by 'rate'"),
        ("    max: 5\n", "", "report.gates.1: gate has neither min nor max"),
        ("    max: 5\n", "    max: 5\n    min: 6\n", "report.gates.1: min 6 is above max 5"),
        ("    max: 5\n", "    maxx: 5\n", "gates.1.maxx: unknown key (value 5), did you mean"),
        ("    of: mean\n", "", "report.gates.1.of: this key is missing"),
        ("    of: mean\n", "    of: median\n", "report.gates.1.of: 'median' is not allowed"),
        (
            "model: champion",
            "model: championn",
            "report.gates.1.model: no such model, did you mean 'champion'?; there are all, champ",
        ),
        (
            "metric: copy_share_pixel",
            "metric: copy_share",
            "report.gates.2.metric: 'copy_share' is not measured, did you mean 'copy_share_pixel'?",
        ),
        ("    beta: 1.0", "    beta: .inf", "models.vae.beta: inf is not allowed"),
        ("sample_seed: 0", "sample_seed: 99999999999999999999", "evaluate.sample_seed: 9999"),
        ("threads: 1", "threads: 0", "train.threads: 0 is not allowed"),
        ("prepare:\n", "prepare: [\n", "params.yaml line "),
        ("  gates:\n", "  gates:\n  - 7\n", "report.gates.0: 7 is not allowed"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, old, new, message):
    with pytest.raises(UserError) as error:
        load(tmp_path, old, new)
    text = str(error.value)
    assert text.startswith("params.yaml")
    assert message in text
    assert "\n" not in text


def test_ranking_and_gates_use_values_of_the_selected_extractors(tmp_path):
    raw = yaml_files.read_yaml(paths.PARAMS)
    raw["features"]["extractors"] = ["inception"]
    raw["report"] = {"rank_by": "fid_inception", "gates": []}
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(raw))
    assert params.load(path).report.rank_by == "fid_inception"
    raw["report"]["rank_by"] = "fid_classifier"
    path.write_text(json.dumps(raw))
    with pytest.raises(UserError, match=r"cannot rank by 'fid_classifier'"):
        params.load(path)


def test_an_empty_selection_is_an_error(tmp_path):
    raw = yaml_files.read_yaml(paths.PARAMS) | {"selected": {}}
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(raw))
    with pytest.raises(UserError, match=r"selected: {} is not allowed: dictionary should have at"):
        params.load(path)


def test_models_are_trained_in_the_order_of_their_selection(tmp_path):
    raw = yaml_files.read_yaml(paths.PARAMS) | {"selected": {"gan_r1": "gan", "vae": "vae"}}
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(raw))
    loaded = params.load(path)
    assert loaded.trained == ["gan_r1", "vae"]
    assert list(loaded.models) == list(raw["models"])
    loaded.require_model("beta_vae")  # a stage may be run by hand for it


def test_an_entry_that_is_not_selected_is_checked_too(tmp_path):
    raw = yaml_files.read_yaml(paths.PARAMS) | {"selected": {"gan_r1": "gan"}}
    raw["models"]["vae"]["beta"] = -1
    path = tmp_path / "params.yaml"
    path.write_text(json.dumps(raw))
    with pytest.raises(UserError, match=r"models.vae.beta: -1 is not allowed"):
        params.load(path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"params.yaml: no such file"):
        params.load(tmp_path / "params.yaml")


def test_a_file_without_sections_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="expected sections, found list"):
        params.load(tmp_path / "params.yaml")


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"models.betavae: no such model, did you mean 'beta_vae'"):
        params.load().require_model("betavae")


def test_no_section_has_a_default():
    pending = [params.Params]
    while pending:
        section = pending.pop()
        for name, field in section.model_fields.items():
            # A part of a search space without a condition always counts.
            assert field.is_required() or name == "when", f"{section.__name__}.{name}"
            kind = field.annotation
            if isinstance(kind, type) and issubclass(kind, sections.Section):
                pending.append(kind)


def test_a_command_ends_with_one_line_and_without_a_traceback(tmp_path):
    raw = yaml_files.read_yaml(paths.PARAMS)
    raw["models"]["vae"]["beta"] = -2
    # JSON is valid YAML.
    (tmp_path / "params.yaml").write_text(json.dumps(raw))
    program = (
        "from pathlib import Path; from pipelines import resolve; "
        "from pipelines.settings import paths; "
        f"paths.PARAMS = Path({str(tmp_path / 'params.yaml')!r}); resolve.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: params.yaml: models.vae.beta: -2 is not allowed")


def test_a_setting_that_is_probably_unwanted_prints_a_warning_of_one_line(tmp_path, capsys):
    loaded = load(tmp_path, "binarize: dynamic # dynamic", "binarize: none # dynamic")
    params.warn(loaded, "vae")
    printed = capsys.readouterr().err
    assert printed.startswith("warning: params.yaml: models.vae: likelihood 'bernoulli'")
    assert printed.count("\n") == 1
    params.warn(loaded, "sigma_vae")
    assert capsys.readouterr().err == ""

"""Every mistake in params.yaml ends in one line that names key, value and what is allowed."""

import json
import subprocess
import sys

import pytest

from pipelines import params, paths
from pipelines.errors import UserError

TEXT = paths.PARAMS.read_text()


def load(tmp_path, old="", new=""):
    assert old in TEXT
    path = tmp_path / "params.yaml"
    path.write_text(TEXT.replace(old, new, 1))
    return params.load(path)


def test_the_shipped_file_is_accepted(tmp_path):
    loaded = load(tmp_path)
    assert list(loaded.models) == ["vae", "beta_vae", "dcgan", "gan_r1"]


@pytest.mark.parametrize("spelling", ["1e-3", "1.0e-03", "0.001", "1E-3"])
def test_numbers_are_read_as_dvc_reads_them(tmp_path, spelling):
    loaded = load(tmp_path, "learning_rate: 2e-3", f"learning_rate: {spelling}")
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
        ("    beta: 1.0\n", "", "models.vae.beta: this key is missing"),
        ("kind: vae", "kind: vea", "models.vae.kind: 'vea' is not one of gan, vae, did you mean"),
        ("    kind: vae", "    kin: vae", "models.vae.kind: None is not one of gan, vae"),
        ("  vae:", "  <b>:", "models.name: '<b>' is not allowed"),
        ("seeds:", "seedz:", "seedz: unknown key (value [0, 1]), did you mean 'seeds'?"),
        ("  - 1\n", "  - 0\n", "seeds: [0, 0] names a seed twice"),
        ("dataset: mnist5k", "dataset: mnist6k", "prepare.dataset: 'mnist6k' is not allowed"),
        ("valid_fraction: 0.2", "valid_fraction: 0.9", "0.9 + 0.2 leaves nothing to train on"),
        ("sigma: null", "sigma: 0.1", "models.vae: likelihood 'bernoulli' needs sigma: null"),
        ("    - kid\n", "    - kidd\n", "unknown metric 'kidd', did you mean 'kid'?"),
        (
            "rank_by: fid_c",
            "rank_by: fidc",
            "'fidclassifier' is nothing to rank by, did you mean",
        ),
        ("rank_by: fid_classifier", "rank_by: rate", "rank_by: 'rate' is nothing to rank by"),
        ("    beta: 1.0", "    beta: .inf", "models.vae.beta: inf is not allowed"),
        ("sample_seed: 0", "sample_seed: 99999999999999999999", "evaluate.sample_seed: 9999"),
        ("threads: 1", "threads: 0", "train.threads: 0 is not allowed"),
        ("prepare:", "prepare: [", "params.yaml line "),
        ("\nreport:\n  rank_by: ", "\nreport: ", "report: 'fid_classifier' is not allowed"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, old, new, message):
    with pytest.raises(UserError) as error:
        load(tmp_path, old, new)
    text = str(error.value)
    assert text.startswith("params.yaml")
    assert message in text
    assert "\n" not in text


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"params.yaml: no such file"):
        params.load(tmp_path / "params.yaml")


def test_a_file_of_something_else_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="expected sections, found list"):
        params.load(tmp_path / "params.yaml")


def test_an_unknown_model_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match=r"models.betavae: no such model, did you mean 'beta_vae'"):
        params.load().require_model("betavae")


def test_no_section_has_a_default():
    waiting = [params.Params]
    while waiting:
        section = waiting.pop()
        for name, field in section.model_fields.items():
            assert field.is_required(), f"{section.__name__}.{name}"
            if isinstance(field.annotation, type) and issubclass(field.annotation, params.Section):
                waiting.append(field.annotation)


def test_a_command_ends_with_one_line_and_without_a_traceback(tmp_path):
    raw = params.read_yaml(paths.PARAMS)
    raw["models"]["vae"]["beta"] = -2
    # JSON is YAML, too.
    (tmp_path / "params.yaml").write_text(json.dumps(raw))
    program = (
        "from pathlib import Path; from pipelines import params, paths; "
        f"paths.PARAMS = Path({str(tmp_path / 'params.yaml')!r}); params.main()"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: params.yaml: models.vae.beta: -2 is not allowed")

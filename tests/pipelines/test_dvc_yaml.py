"""dvc.yaml agrees with the code: settings, names, outputs."""

import pytest

from pipelines.settings import paths, yaml_files
from pipelines.settings.paths import ROOT
from pipelines.settings.resolved import STAGES as SETTINGS
from pipelines.training import fingerprint

STAGES = yaml_files.read_yaml(paths.DVC_YAML)["stages"]


def body(stage):
    return STAGES[stage].get("do", STAGES[stage])


def test_each_stage_but_resolve_has_settings():
    assert set(STAGES) == {"resolve", *SETTINGS}


@pytest.mark.parametrize("stage", SETTINGS)
def test_a_stage_depends_on_its_settings_and_on_no_code_or_params(stage):
    model = "/${key}" if "model" in SETTINGS[stage].model_fields else ""
    assert body(stage)["deps"][0] == f"outputs/resolve/{stage}{model}.json"
    assert "params" not in body(stage)
    tops = {dep.split("/")[0] for dep in body(stage)["deps"]}
    assert tops <= {"outputs", "reports", "${prepare.folder}"}


def test_resolve_depends_on_all_code_and_all_settings():
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    assert set(body("resolve")["deps"]) == {"params.yaml", "tune.yaml", *packages}


@pytest.mark.parametrize("stage", STAGES)
def test_stage_module_and_output_folder_share_a_name(stage):
    assert (ROOT / "pipelines" / f"{stage}.py").is_file()
    assert body(stage)["cmd"].split()[:3] == ["python", "-m", f"pipelines.{stage}"]
    if stage not in ("report", "publish"):
        assert body(stage)["outs"][0].startswith(f"outputs/{stage}")


def test_studies_are_stages_of_a_file_of_their_own():
    studies = yaml_files.read_yaml(ROOT / "pipelines/tuning/dvc.yaml")
    stage = studies["stages"]["tune"]
    assert "../../tune.yaml" in studies["vars"]
    assert stage["foreach"] == "${tune}"
    assert stage["do"]["outs"][0] == "outputs/tune/${key}"
    assert stage["do"]["deps"][0] == "outputs/resolve/tune/${key}.json"
    assert "params" not in stage["do"]
    read = {dep.split("/${")[0] for s in STAGES for dep in body(s)["deps"]}
    for out in stage["do"]["outs"]:  # a plain `dvc repro` runs what its stages read
        assert not any(out.startswith(f"{dep}/") or out == dep for dep in read), out


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_stage_per_model_uses_the_selected_models(stage):
    assert STAGES[stage]["foreach"] == "${selected}"


def test_the_deps_of_train_are_the_files_of_the_fingerprint_and_the_seeds():
    listed = [dep.replace("${key}", "vae") for dep in body("train")["deps"]]
    files = fingerprint.run_files("vae")
    assert sorted(listed) == sorted([*files, "outputs/resolve/seeds.json"])


def test_train_does_not_depend_on_the_test_split():
    assert not any("test" in dep for dep in body("train")["deps"])


def test_measured_times_are_neither_outs_nor_deps():
    for stage in STAGES:
        outs = [str(out) for out in body(stage)["outs"]]
        assert not any("timing" in name for name in [*outs, *body(stage)["deps"]])

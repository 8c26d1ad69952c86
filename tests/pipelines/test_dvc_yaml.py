"""dvc.yaml against the code: dependencies, words, outputs."""

import re

import pytest

from genmodels.build import kinds
from pipelines.settings import params, paths
from tests.closure import ROOT, import_closure

STAGES = params.read_yaml(paths.DVC_YAML)["stages"]

#: Code that decides no result: it checks, places, shows or logs. An edit here retrains nothing.
DECIDES_NOTHING = {
    "evaluation/plan.py",  # says what would be computed
    "pipelines/__init__.py",  # environment variables
    "pipelines/settings/refusals.py",  # what is told of a refused setting
    "pipelines/settings/errors.py",  # how a command ends
    "pipelines/training/fingerprint.py",  # names runs
    "pipelines/tracking/live_run.py",  # MLflow
    "pipelines/settings/params.py",  # refuses, converts nothing
    "pipelines/settings/paths.py",  # places files
    "pipelines/training/progress.py",  # bars
    "pipelines/tracking/origin.py",  # tags
    "pipelines/tracking/run.py",  # MLflow
    "pipelines/settings/sections.py",  # the form of params.yaml
    "pipelines/tracking/store.py",  # MLflow
}


def body(stage):
    return STAGES[stage].get("do", STAGES[stage])


def code_deps(stage, kind):
    deps = [dep.replace("${item}", kind) for dep in body(stage)["deps"]]
    found = set()
    for dep in deps:
        path = ROOT / dep
        if dep.split("/")[0] in ("pipelines", "genmodels", "evaluation"):
            assert path.exists(), f"stage {stage}: {dep}"
            found |= {str(p.relative_to(ROOT)) for p in path.rglob("*.py")} or {dep}
    return found


def closure(stage, kind):
    modules = [f"pipelines.{stage}"]
    if stage in ("train", "evaluate"):  # imported by name at run time
        modules.append(f"genmodels.models.{kind}")
    if stage in ("references", "evaluate", "report"):
        metrics = sorted(p.stem for p in (ROOT / "evaluation/metrics").glob("[a-z]*.py"))
        assert metrics
        modules += [f"evaluation.metrics.{name}" for name in metrics]
    return import_closure(*modules)


@pytest.mark.parametrize("kind", kinds())
@pytest.mark.parametrize("stage", STAGES)
def test_deps_cover_the_import_closure(stage, kind):
    assert closure(stage, kind) - code_deps(stage, kind) - DECIDES_NOTHING == set()


@pytest.mark.parametrize("stage", STAGES)
def test_no_dep_is_listed_that_nothing_imports(stage):
    used = set().union(*(closure(stage, kind) for kind in kinds()))
    listed = set().union(*(code_deps(stage, kind) for kind in kinds()))
    assert {path for path in listed - used if path.endswith(".py")} == set()


def test_the_list_of_exceptions_holds_nothing_unused():
    used = set().union(*(closure(stage, kind) for stage in STAGES for kind in kinds()))
    assert DECIDES_NOTHING - used == set()


@pytest.mark.parametrize("stage", STAGES)
def test_stage_module_and_output_share_one_word(stage):
    assert (ROOT / "pipelines" / f"{stage}.py").is_file()
    assert body(stage)["cmd"].split()[:3] == ["python", "-m", f"pipelines.{stage}"]
    if stage not in ("report", "publish"):
        assert body(stage)["outs"][0].startswith(f"outputs/{stage}")


def test_every_section_of_params_is_the_param_of_a_stage_and_exists():
    sections = set(params.Params.model_fields)
    used = {re.split(r"[.$]", name)[0] for s in STAGES for name in body(s)["params"]}
    assert used == sections


def test_studies_are_stages_of_a_file_of_their_own():
    studies = params.read_yaml(ROOT / "pipelines/tuning/dvc.yaml")
    stage = studies["stages"]["tune"]
    assert studies["vars"] == ["../../tune.yaml"]
    assert stage["foreach"] == "${tune}"
    assert stage["do"]["outs"][0] == "outputs/tune/${key}"
    read = {dep.split("/${")[0] for s in STAGES for dep in body(s)["deps"]}
    for out in stage["do"]["outs"]:  # a plain `dvc repro` runs what its stages read
        assert not any(out.startswith(f"{dep}/") or out == dep for dep in read), out
    assert {"tune.yaml": ["tune.${key}"]} in stage["do"]["params"]
    assert "models.${item.model}" in stage["do"]["params"]


@pytest.mark.parametrize("stage", ["train", "evaluate"])
def test_a_stage_of_a_model_is_made_for_what_is_selected(stage):
    assert STAGES[stage]["foreach"] == "${selected}"


@pytest.mark.parametrize("stage", ["report", "publish"])
def test_what_reads_results_runs_for_another_selection_and_for_no_preset_s_settings(stage):
    assert "selected" in body(stage)["params"]
    assert not any(name.startswith("models") for name in body(stage)["params"])


def test_gates_are_a_setting_of_what_shows_results_and_of_no_other_stage():
    for name in ("report", "report.gates"):
        asked = {s for s in STAGES if any(name.startswith(p) for p in body(s)["params"])}
        assert asked == {"report", "publish"}


def test_train_depends_on_files_and_never_sees_the_test_split():
    deps = body("train")["deps"]
    assert all("." in dep.split("/")[-1] for dep in deps)
    assert not any("test" in dep for dep in deps)


def test_nothing_that_a_clock_measures_is_read_before_publish():
    for stage in STAGES:
        if stage != "publish":
            assert not any("timing" in dep for dep in body(stage)["deps"])

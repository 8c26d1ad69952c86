"""The stages that a change reruns: those whose file in `outputs/resolve/` it changes."""

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from genmodels.build import kinds
from pipelines.settings import code_version, params, paths, resolved, resolving, yaml_files
from pipelines.settings.code_version import NO_EFFECT, TRACKING, closure

ROOT = paths.ROOT
PACKAGES = ("pipelines", "genmodels", "evaluation")
GANS = ("dcgan", "gan_r1", "r3gan", "conditional_gan")
#: Product files that import a module by name, each with the test that covers what it imports.
BY_NAME = {
    "pipelines/__main__.py",  # test_main.py: the command that is called
    "evaluation/metrics/__init__.py",  # a metric of evaluate.metrics: below
    "genmodels/build.py",  # a kind: below
}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the code and of params.yaml, from which the versions are computed."""
    for package in PACKAGES:
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignored)
    for name in ("params.yaml", "tune.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    monkeypatch.setattr(code_version, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PARAMS", tmp_path / "params.yaml")
    monkeypatch.setattr(paths, "TUNE_YAML", tmp_path / "tune.yaml")
    return tmp_path


def stage_files(folder: Path) -> dict[str, bytes]:
    """The files that `resolve` writes: their bytes by stage, or by stage and model."""
    settings = params.load()
    shutil.rmtree(folder, ignore_errors=True)
    resolving.write(settings, list(resolved.STAGES.values()), settings.trained, folder)
    resolving.write_studies(settings, folder)
    return {
        str(path.relative_to(folder).with_suffix("")).replace("/", "@"): path.read_bytes()
        for path in folder.rglob("*.json")
    }


@pytest.fixture
def rerun(source: Path) -> Callable[[Callable[[], None]], set[str]]:
    """The stages that a change reruns directly; a stage behind them reruns if their outs change."""

    def changed(change: Callable[[], None]) -> set[str]:
        before = stage_files(source / "resolve")
        change()
        after = stage_files(source / "resolve")
        assert before.keys() == after.keys()
        return {name for name in after if before[name] != after[name]}

    return changed


def all_models(*stages: str) -> set[str]:
    return {f"{stage}@{model}" for stage in stages for model in params.load().trained}


def studies_of(*models: str) -> set[str]:
    studies = yaml_files.read_yaml(paths.TUNE_YAML)["tune"]
    return {f"tune@{name}" for name, study in studies.items() if study["model"] in models}


def edited(path: Path, old: str, new: str) -> Callable[[], None]:
    def change() -> None:
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return change


def appended(path: Path, text: str) -> Callable[[], None]:
    return lambda: path.write_text(path.read_text() + text)


CODE = "\nADDED = 1\n"


def test_a_comment_a_docstring_and_a_reformatting_rerun_nothing(source, rerun):
    def change():
        for path in source.glob("genmodels/**/*.py"):
            text = path.read_text()
            tree = ast.parse(text)
            assert ast.get_docstring(tree)
            tree.body[0].value.value = "Another docstring."
            path.write_text(f"# a comment\n{ast.unparse(tree)}\n")

    assert rerun(change) == set()


def test_a_setting_of_a_base_reruns_the_heirs_that_do_not_set_it(source, rerun):
    change = edited(source / "params.yaml", "    num_steps: 2000\n", "    num_steps: 2001\n")
    heirs = ("vae", "beta_vae", "sigma_vae", "autoencoder_gmm", "conditional_vae")
    assert rerun(change) == {f"train@{model}" for model in heirs} | studies_of("vae")


def test_a_setting_of_an_heir_reruns_that_model(source, rerun):
    change = edited(source / "params.yaml", "    beta: 4.0\n", "    beta: 8.0\n")
    assert rerun(change) == {"train@beta_vae"}


@pytest.mark.parametrize(
    ("path", "models"),
    [
        ("genmodels/objectives/penalties.py", GANS),
        ("genmodels/objectives/adversarial.py", GANS),
        ("genmodels/objectives/mmd.py", ()),  # info_vae is not selected
        ("genmodels/models/iwae.py", ("iwae",)),
        ("genmodels/base/codebook.py", ("vq_vae",)),
    ],
)
def test_code_of_some_kinds_reruns_their_models(source, rerun, path, models):
    expected = {f"{stage}@{model}" for stage in ("train", "evaluate") for model in models}
    assert rerun(appended(source / path, CODE)) == expected | studies_of(*models)


def test_the_training_loop_retrains_all_models(source, rerun):
    change = appended(source / "genmodels/training/loop.py", CODE)
    assert rerun(change) == all_models("train") | studies_of("vae", "gan_r1")


def test_a_metric_reruns_the_stages_that_measure_and_the_report(source, rerun):
    change = appended(source / "evaluation/metrics/kid.py", CODE)
    expected = {"references", "report", *all_models("evaluate"), *studies_of("vae", "gan_r1")}
    assert rerun(change) == expected


def test_a_metric_that_is_not_selected_reruns_no_stage_of_the_pipeline(source, rerun):
    assert "mifid" not in params.load().evaluate.metrics
    change = appended(source / "evaluation/metrics/mifid.py", CODE)
    assert rerun(change) == studies_of("vae", "gan_r1")  # a study may have any metric


def test_the_docstring_of_a_metric_is_printed_in_the_report_and_so_reruns_it(source):
    path = source / "evaluation/metrics/kid.py"
    tree = ast.parse(path.read_text())
    reports = []
    for change in (lambda: None, edited(path, ast.get_docstring(tree)[:20], "Another definition ")):
        change()
        subprocess.run([sys.executable, "-m", "pipelines.resolve"], cwd=source, check=True)
        reports.append((source / "outputs/resolve/report.json").read_text())
    assert "Another definition" not in reports[0]
    assert "Another definition" in reports[1]


def test_a_template_reruns_the_report(source, rerun):
    change = appended(source / "pipelines/reporting/templates/style.css", "\n/* */\n")
    assert rerun(change) == {"report"}


def test_code_without_effect_on_results_reruns_nothing(source, rerun):
    def change():
        for module in NO_EFFECT:
            appended(source / f"{module.replace('.', '/')}.py", CODE)()

    assert rerun(change) == set()


@pytest.mark.parametrize("name", ["files", "escape"])
def test_code_that_writes_outs_is_no_exception(source, rerun, name):
    assert "report" in rerun(appended(source / f"pipelines/settings/{name}.py", CODE))


def test_tracking_reruns_the_publication_alone(source, rerun):
    change = appended(source / "pipelines/tracking/registry.py", CODE)
    assert rerun(change) == {"publish"}


def test_every_module_without_effect_is_imported_by_a_stage():
    used = set().union(*(closure(f"pipelines.{stage}") for stage in resolved.STAGES))
    for prefix in (*NO_EFFECT, TRACKING):
        assert any(name == prefix or name.startswith(f"{prefix}.") for name in used), prefix


def test_the_closure_of_a_kind_has_its_file_and_no_other_kind():
    for kind in kinds():
        names = closure("pipelines.train", f"genmodels.models.{kind}", ignored=NO_EFFECT)
        imported_kinds = {name for name in names if name.startswith("genmodels.models.")}
        assert imported_kinds == {f"genmodels.models.{kind}"}


def test_only_known_files_import_by_name():
    importers = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            names = {
                node.id if isinstance(node, ast.Name) else node.attr
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Name | ast.Attribute)
            }
            if names & {"import_module", "__import__", "exec", "spec_from_file_location"}:
                importers.add(str(path.relative_to(ROOT)))
    assert importers == BY_NAME

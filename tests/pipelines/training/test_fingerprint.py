import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings import paths
from pipelines.settings.errors import UserError
from pipelines.training import fingerprint

PARAMS = """\
seeds:
  - 0
  - 1
train:
  threads: 1
  learning_rate: 1e-4
selected:
  vae: vae
  gan_r1: gan
models:
  vae:
    kind: vae
    beta: 1.0
    rate: 2e-05
    large: 1e3
    widths:
      - 8
      - 16
    nested:
      on: true
      none: null
      word: "1e-4"
  gan_r1:
    kind: gan
    gamma: 3
"""

DVC_YAML = """\
stages:
  train:
    foreach: ${selected}
    do:
      cmd: mkdir -p outputs/train/${key} && cp kinds/${item}.py outputs/train/${key}/
      deps:
        - kinds/${item}.py
        - data.bin
      params:
        - models.${key}
        - seeds
        - train
      outs:
        - outputs/train/${key}
"""


def point_paths_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setattr(paths, "PARAMS", root / "params.yaml")
    monkeypatch.setattr(paths, "DVC_YAML", root / "dvc.yaml")
    monkeypatch.setattr(paths, "DVC_LOCK", root / "dvc.lock")


def write_project(root: Path) -> None:
    (root / "kinds").mkdir()
    (root / "kinds/vae.py").write_bytes(b"x = 1\r\n")
    (root / "kinds/gan.py").write_text("x = 2\n")
    (root / "data.bin").write_bytes(bytes(range(256)))
    (root / "params.yaml").write_text(PARAMS)
    (root / "dvc.yaml").write_text(DVC_YAML)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_project(tmp_path)
    point_paths_to(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One real `dvc repro` for all the tests that only read its lock file."""
    root = tmp_path_factory.mktemp("reproduced")
    write_project(root)
    environment = os.environ | {"DVC_NO_ANALYTICS": "1"}
    environment["DVC_GLOBAL_CONFIG_DIR"] = environment["DVC_SITE_CACHE_DIR"] = str(root / ".config")
    for arguments in (["init", "--no-scm", "-q"], ["repro", "-q"]):
        command = [sys.executable, "-m", "dvc", *arguments]
        subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True)
    return root


@pytest.mark.parametrize("model", ["vae", "gan_r1"])
@pytest.mark.parametrize("seed", [0, 1])
def test_files_and_the_lock_of_a_real_repro_give_the_same_fingerprint(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch, model: str, seed: int
) -> None:
    point_paths_to(reproduced, monkeypatch)
    assert fingerprint.from_files(model, seed) == fingerprint.from_lock(model, seed)


def test_the_lock_names_the_hash_of_an_out(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_paths_to(reproduced, monkeypatch)
    lock = fingerprint.read_lock()
    md5 = fingerprint.out_md5("train@vae", "outputs/train/vae", lock)
    assert md5 is not None
    assert md5.endswith(".dir")
    assert fingerprint.out_md5("train@vae", "elsewhere", lock) is None
    assert fingerprint.out_md5("prepare", "outputs/prepare", lock) is None


def test_another_process_gives_the_same_fingerprint(project: Path) -> None:
    here = fingerprint.from_files("vae", 0)
    code = (
        "import sys, pathlib; from pipelines.settings import paths; from pipelines.training import fingerprint;"
        "r = pathlib.Path(sys.argv[1]);"
        "paths.ROOT, paths.PARAMS, paths.DVC_YAML = r, r / 'params.yaml', r / 'dvc.yaml';"
        "print(fingerprint.from_files('vae', 0))"
    )
    checkout = Path(fingerprint.__file__).parents[2]
    environment = os.environ | {"PYTHONHASHSEED": "7", "PYTHONPATH": str(checkout)}
    command = [sys.executable, "-c", code, str(project)]
    there = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    assert there.stdout.strip() == here


def test_the_order_of_keys_and_the_time_of_a_file_do_not_matter(project: Path) -> None:
    before = fingerprint.from_files("gan_r1", 0)
    text = PARAMS.replace("    kind: gan\n    gamma: 3\n", "    gamma: 3\n    kind: gan\n")
    assert text != PARAMS
    (project / "params.yaml").write_text(text)
    os.utime(project / "data.bin", (1, 1))
    assert fingerprint.from_files("gan_r1", 0) == before


def test_another_spelling_of_a_number_does_not_matter(project: Path) -> None:
    before = fingerprint.from_files("vae", 0)
    text = PARAMS.replace("2e-05", "0.00002").replace(
        "learning_rate: 1e-4", "learning_rate: 0.0001"
    )
    (project / "params.yaml").write_text(text)
    assert fingerprint.from_files("vae", 0) == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("params.yaml", "beta: 1.0", "beta: 2.0"),
        ("params.yaml", "threads: 1", "threads: 2"),
        ("kinds/vae.py", "x = 1", "x = 3"),
        ("data.bin", "abc", "abd"),
    ],
)
def test_settings_code_and_data_change_the_fingerprint(
    project: Path, file: str, old: str, new: str
) -> None:
    before = fingerprint.from_files("vae", 0)
    path = project / file
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode()))
    assert fingerprint.from_files("vae", 0) != before


def test_the_seed_changes_the_fingerprint(project: Path) -> None:
    assert fingerprint.from_files("vae", 0) != fingerprint.from_files("vae", 1)


def test_two_names_with_equal_settings_are_two_runs(project: Path) -> None:
    text = PARAMS + "  twin:\n    gamma: 3\n    kind: gan\n"
    (project / "params.yaml").write_text(text)
    assert fingerprint.from_files("twin", 0) != fingerprint.from_files("gan_r1", 0)


def test_another_model_and_an_added_seed_leave_the_fingerprint_alone(project: Path) -> None:
    before = fingerprint.from_files("vae", 0)
    text = PARAMS.replace("gamma: 3", "gamma: 4").replace("  - 1\n", "  - 1\n  - 2\n")
    (project / "params.yaml").write_text(text)
    (project / "kinds/gan.py").write_text("x = 5\n")
    assert fingerprint.from_files("vae", 0) == before


def test_a_folder_among_the_dependencies_is_refused(project: Path) -> None:
    (project / "dvc.yaml").write_text(DVC_YAML.replace("- data.bin", "- kinds"))
    with pytest.raises(UserError, match="kinds is a folder"):
        fingerprint.from_files("vae", 0)


def test_a_missing_dependency_is_named(project: Path) -> None:
    (project / "data.bin").unlink()
    with pytest.raises(UserError, match=r"^data\.bin: no such file"):
        fingerprint.from_files("vae", 0)


def test_a_model_that_is_not_selected_has_a_fingerprint_and_selecting_it_changes_none(
    project: Path,
) -> None:
    before = fingerprint.from_files("gan_r1", 0), fingerprint.from_files("vae", 0)
    (project / "params.yaml").write_text(PARAMS.replace("  gan_r1: gan\n", ""))
    assert (fingerprint.from_files("gan_r1", 0), fingerprint.from_files("vae", 0)) == before


def test_an_unknown_model_is_named(project: Path) -> None:
    with pytest.raises(UserError, match=r"models\.nosuch: no such model"):
        fingerprint.from_files("nosuch", 0)


def test_without_a_lock_file_the_command_that_makes_it_is_named(project: Path) -> None:
    with pytest.raises(UserError, match=r"dvc\.lock: no such file; `dvc repro`"):
        fingerprint.from_lock("vae", 0)


def test_a_model_or_seed_that_the_lock_lacks_is_named(
    reproduced: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(reproduced / "dvc.lock", tmp_path)
    point_paths_to(tmp_path, monkeypatch)
    with pytest.raises(UserError, match="model iwae is not in it; `dvc repro`"):
        fingerprint.from_lock("iwae", 0)
    with pytest.raises(UserError, match=r"seeds \[0, 1\], not 5"):
        fingerprint.from_lock("vae", 5)

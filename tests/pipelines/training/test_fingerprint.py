import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings import files, paths
from pipelines.settings.errors import UserError
from pipelines.training import fingerprint

MODELS = ("vae", "gan_r1")
#: The deps of `train` as in the project's own dvc.yaml, which a test compares with the code.
DVC_YAML = """\
stages:
  train:
    foreach:
    - vae
    - gan_r1
    do:
      cmd: mkdir -p outputs/train && cp outputs/prepare/train.npy outputs/train/${item}
      deps:
      - outputs/resolve/train/${item}.json
      - outputs/resolve/seeds.json
      - outputs/prepare/manifest.json
      - outputs/prepare/train.npy
      - outputs/prepare/valid.npy
      outs:
      - outputs/train/${item}
"""


def point_paths_to(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "DVC_LOCK", root / "dvc.lock")
    monkeypatch.setattr(paths, "RESOLVE", root / "outputs/resolve")
    monkeypatch.setattr(paths, "PREPARE", root / "outputs/prepare")
    monkeypatch.setattr(paths, "ROOT", root)


def write_project(root: Path) -> None:
    for model in MODELS:
        settings = {"code": "1", "model": model, "entry": {"beta": 1.0}}
        files.write_json(root / f"outputs/resolve/train/{model}.json", settings)
    files.write_json(root / "outputs/resolve/seeds.json", [0, 1])
    files.write_json(root / "outputs/prepare/manifest.json", {"splits": {}})
    for split in ("train", "valid"):
        files.write_bytes(root / f"outputs/prepare/{split}.npy", split.encode() + b"\r\n")
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


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("seed", [0, 1])
def test_files_and_the_lock_of_a_real_repro_give_the_same_fingerprint(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch, model: str, seed: int
) -> None:
    point_paths_to(reproduced, monkeypatch)
    assert fingerprint.from_files(model, seed) == fingerprint.from_lock(
        model, seed, fingerprint.read_lock()
    )


def test_the_lock_names_the_hash_of_an_out(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_paths_to(reproduced, monkeypatch)
    lock = fingerprint.read_lock()
    md5 = fingerprint.out_md5("train@vae", "outputs/train/vae", lock)
    assert md5 == files.md5(reproduced / "outputs/train/vae")
    assert fingerprint.out_md5("train@vae", "elsewhere", lock) is None
    assert fingerprint.out_md5("prepare", "outputs/prepare", lock) is None


@pytest.mark.parametrize(
    ("file", "changes"),
    [
        ("outputs/resolve/train/vae.json", True),  # settings and the version of the code
        ("outputs/prepare/manifest.json", True),
        ("outputs/prepare/train.npy", True),
        ("outputs/prepare/valid.npy", True),
        ("outputs/resolve/train/gan_r1.json", False),  # another model
        ("outputs/resolve/seeds.json", False),  # a run has one seed
        ("dvc.yaml", False),
    ],
)
def test_only_files_that_a_run_depends_on_change_its_fingerprint(
    project: Path, file: str, changes: bool
) -> None:
    before = fingerprint.from_files("vae", 0)
    (project / file).write_bytes((project / file).read_bytes() + b" ")
    assert (fingerprint.from_files("vae", 0) != before) == changes


def test_the_time_of_a_file_does_not_matter(project: Path) -> None:
    before = fingerprint.from_files("vae", 0)
    os.utime(project / "outputs/prepare/train.npy", (1, 1))
    assert fingerprint.from_files("vae", 0) == before


def test_the_seed_changes_the_fingerprint(project: Path) -> None:
    assert fingerprint.from_files("vae", 0) != fingerprint.from_files("vae", 1)


def test_two_names_with_equal_files_are_two_runs(project: Path) -> None:
    twin = project / "outputs/resolve/train/twin.json"
    twin.write_bytes((project / "outputs/resolve/train/vae.json").read_bytes())
    assert fingerprint.from_files("twin", 0) != fingerprint.from_files("vae", 0)


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    assert fingerprint.digest({"a": 1, "b": 2}) == fingerprint.digest({"b": 2, "a": 1})


def test_an_error_names_a_missing_file(project: Path) -> None:
    (project / "outputs/prepare/train.npy").unlink()
    with pytest.raises(UserError, match=r"^outputs/prepare/train\.npy: no such file; `dvc repro`"):
        fingerprint.from_files("vae", 0)


def test_without_a_lock_file_the_error_names_the_command_that_makes_it(project: Path) -> None:
    with pytest.raises(UserError, match=r"dvc\.lock: no such file; `dvc repro`"):
        fingerprint.read_lock()


def test_an_error_names_a_model_that_is_not_in_the_lock(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_paths_to(reproduced, monkeypatch)
    with pytest.raises(UserError, match="model iwae is not in it; `dvc repro`"):
        fingerprint.from_lock("iwae", 0, fingerprint.read_lock())

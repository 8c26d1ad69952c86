import subprocess
import sys

import pytest
import torch

from evaluation import torchvision_ops


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_torchvision_and_torchmetrics_import_after_evaluation() -> None:
    done = run(
        "import evaluation, torchvision, torchvision.transforms.v2, torchmetrics.functional.image"
    )
    assert done.returncode == 0, done.stderr


def test_evaluation_imports_neither_torchvision_nor_torchmetrics() -> None:
    done = run(
        "import sys, evaluation, evaluation.runner, evaluation.measuring.classifier\n"
        "print(sorted({'torchvision', 'torchmetrics', 'scipy', 'matplotlib', 'pandas'}"
        " & set(sys.modules)))"
    )
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_a_second_call_does_nothing() -> None:
    # Importing `evaluation` was the first call.
    assert torchvision_ops.declare_missing() is False


class Registry:
    """Stands in for torch.ops before anything of torchvision is known."""

    torchvision = object()

    def __init__(self, error: OSError | None) -> None:
        self.error, self.loaded = error, []

    def load_library(self, path: str) -> None:
        self.loaded.append(path)
        if self.error:
            raise self.error


class Library:
    declared: list[str] = []  # noqa: RUF012

    def __init__(self, namespace: str, kind: str) -> None:
        assert (namespace, kind) == ("torchvision", "FRAGMENT")

    def define(self, schema: str) -> None:
        self.declared.append(schema)


@pytest.fixture
def process(monkeypatch, tmp_path):
    """A process in which nothing is declared yet, with a torchvision package in a folder."""
    (tmp_path / "_C.so").touch()
    monkeypatch.setattr(torchvision_ops, "_kept_alive", [])
    monkeypatch.setattr(torchvision_ops, "_package_folder", lambda: tmp_path)
    monkeypatch.setattr(Library, "declared", [])
    monkeypatch.setattr(torch.library, "Library", Library)

    def with_extension(error: OSError | None) -> Registry:
        registry = Registry(error)
        monkeypatch.setattr(torch, "ops", registry)
        return registry

    return with_extension


def test_nothing_is_declared_where_the_extension_loads(process, tmp_path) -> None:
    registry = process(None)
    assert torchvision_ops.declare_missing() is False
    assert registry.loaded == [str(tmp_path / "_C.so")]
    assert Library.declared == []


def test_both_schemas_are_declared_and_kept_where_the_extension_does_not_load(process) -> None:
    process(OSError("libcudart.so.13: cannot open shared object file"))
    assert torchvision_ops.declare_missing() is True
    assert [schema.split("(")[0] for schema in Library.declared] == ["nms", "qnms"]
    assert len(torchvision_ops._kept_alive) == 1
    assert torchvision_ops.declare_missing() is False
    assert len(Library.declared) == 2


def test_nothing_is_declared_without_torchvision(process, monkeypatch) -> None:
    process(OSError("never asked"))
    monkeypatch.setattr(torchvision_ops, "_package_folder", lambda: None)
    assert torchvision_ops.declare_missing() is False
    assert Library.declared == []

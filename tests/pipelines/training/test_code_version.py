"""Which files are the code of a kind, and what of them counts."""

from pathlib import Path

import pytest

from pipelines.settings import files, paths
from pipelines.training import code_version


@pytest.fixture
def source(checkout: Path) -> Path:
    folder = checkout / "genmodels"
    for path, text in {
        "__init__.py": "",
        "training.py": "from genmodels import base\n",
        "base.py": '"""A base."""\n\n\ndef f(x):\n    """Doubles."""\n    return 2 * x\n',
        "models/__init__.py": "",
        "models/vae.py": "from genmodels.base.model import f\n",
        "models/gan.py": "from genmodels import penalties\n",
        "penalties.py": "A = 1\n",
    }.items():
        files.write_text(folder / path, text)
    return folder


def test_comments_and_docstrings_are_not_code(source):
    before = code_version.code_version("vae")
    text = '"""Base."""\n# a comment\ndef f(x):\n    """Twice x."""\n    return 2*x\n'
    files.write_text(source / "base.py", text)
    assert code_version.code_version("vae") == before
    files.write_text(source / "base.py", text.replace("2*x", "3*x"))
    assert code_version.code_version("vae") != before


def test_code_that_a_kind_does_not_import_is_not_its_code(source):
    vae_before, gan_before = map(code_version.code_version, ("vae", "gan"))
    files.write_text(source / "penalties.py", "A = 2\n")
    assert code_version.code_version("vae") == vae_before
    assert code_version.code_version("gan") != gan_before


def test_the_code_of_a_kind_is_in_its_hash():
    found = code_version._closure(paths.ROOT, "genmodels.models.vae", code_version.LOOP)
    names = {str(path) for path in found}
    assert {
        "genmodels/models/vae.py",
        "genmodels/training/loop.py",
        "genmodels/base/vae.py",
    } <= names
    assert "genmodels/models/gan.py" not in names

"""What a publication refuses, each with one line and before it writes anything."""

import json
from pathlib import Path

import pytest

from pipelines import publish
from pipelines.settings import paths
from pipelines.settings.errors import UserError

REMOVED: list[tuple[str, str]] = [
    ("dvc.lock", "dvc.lock: no such file"),
    ("outputs/train/vae/0/history.csv", "history.csv: no such file"),
    ("outputs/train/vae/0/weights.safetensors", "weights.safetensors: no such file"),
    ("outputs/train/vae/0/config.json", "config.json: no such file"),
    ("outputs/evaluate/gan/records.json", "records.json: no such file"),
    ("reports/index.html", "index.html: no such file"),
]


@pytest.mark.parametrize(("name", "message"), REMOVED)
def test_a_missing_output_is_one_line_that_names_dvc_repro(
    reproduced: Path, name: str, message: str
) -> None:
    (reproduced / name).unlink()
    with pytest.raises(UserError, match=message) as error:
        publish.publish()
    assert "dvc repro" in str(error.value)
    assert not paths.TRACKING.exists()


def test_a_model_that_was_never_trained_is_named(reproduced: Path) -> None:
    path = paths.RESOLVE / "publish.json"
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | {"selected": ["vae", "iwae"]}))
    with pytest.raises(UserError, match=r"model iwae is not in it; `dvc repro`"):
        publish.publish()


@pytest.mark.parametrize(
    ("section", "value", "message"),
    [
        ("selected", {}, r"^publish.json: selected: \{\} is not allowed"),
        ("report", {}, r"^publish.json: report.rank_by: this key is missing"),
    ],
)
def test_what_it_reads_of_the_settings_is_checked(
    reproduced: Path, section: str, value: object, message: str
) -> None:
    path = paths.RESOLVE / "publish.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {section: value}))
    with pytest.raises(UserError, match=message):
        publish.publish()

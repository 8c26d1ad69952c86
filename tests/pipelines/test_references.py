import json
from pathlib import Path

import pytest

from evaluation.comparing import reference_rows
from pipelines import features, references
from pipelines.data import extractors
from pipelines.settings import paths, sections
from pipelines.settings.resolved import ReferencesSettings
from tests.pipelines.test_features import SETTINGS, prepare

METRICS = ["fid", "mse", "discriminator"]


@pytest.fixture
def made(checkout: Path, settings) -> dict:
    references.make(settings)
    return json.loads((paths.REFERENCES / "rows.json").read_text())


@pytest.fixture
def settings(checkout: Path):
    evaluate = sections.Evaluate(
        metrics=METRICS, max_samples=30, sample_sets=2, sample_seed=0, metric_seed=0, grid_images=1
    )
    prepare(labelled=True)
    features.make(SETTINGS)
    return ReferencesSettings(code="1", evaluate=evaluate, features=SETTINGS, threads=1)


def test_every_row_is_measured_by_what_images_alone_can_have(made) -> None:
    assert list(made["rows"]) == list(reference_rows.ROWS)
    for row in made["rows"].values():
        assert row["reason"] is None
        assert list(row["records"]) == ["fid_classifier"]
        record = row["records"]["fid_classifier"]
        # max_samples is 30, and both sides have the same number.
        assert (record["n_real"], record["n_fake"], made["num"]) == (30, 30, 30)
        assert record["reference"]["split"] == "test"
        assert record["seed"]["train"] is None
        assert len(record["params"]["replicas"]) == 1
        # A set of images is one set, however many a model would draw.
        assert "sample_sets" not in record["params"]
    held_out = made["rows"]["held_out"]["records"]["fid_classifier"]["value"]
    assert 0 < held_out < made["rows"]["uniform_noise"]["records"]["fid_classifier"]["value"]


def test_each_row_has_a_picture_and_a_time(made) -> None:
    pictures = {path.stem for path in paths.REFERENCES.glob("*.png")}
    timed = json.loads((paths.TIMING / "references.json").read_text())
    assert pictures == set(timed) == set(reference_rows.ROWS)


def test_theory_expects_a_floor_for_each_extractor(made, settings) -> None:
    assert list(made["expected_floor"]) == ["fid_classifier"]
    assert 0 < made["expected_floor"]["fid_classifier"] < 100


def test_a_row_that_the_data_cannot_give_says_why(settings) -> None:
    evaluate = settings.evaluate.model_copy(update={"max_samples": 45})
    settings = settings.model_copy(update={"evaluate": evaluate})
    made = references.make(settings)  # 40 held-out images for 45 of the test split
    assert made["held_out"] == {"records": {}, "reason": "fewer_held_out_images"}
    assert made["train_copies"]["reason"] is None


def test_data_without_labels_keeps_the_rows_that_need_none(checkout, settings) -> None:
    import shutil

    from pipelines import features

    shutil.rmtree(paths.PREPARE)
    prepare(labelled=False)
    features.make(SETTINGS)
    made = references.make(settings)
    assert made["prototypes"]["reason"] == "no_labels"
    assert made["blur"]["records"]["fid_classifier"]["reason"] == "no_extractor"
    floor = references.expected_floor(
        extractors.load_extracted(SETTINGS), references._real(settings)[1]["test"], 30
    )
    assert floor == {"fid_classifier": None}

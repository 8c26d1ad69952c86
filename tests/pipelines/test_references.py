import json
from pathlib import Path

import pytest

from evaluation.comparing import reference_rows
from pipelines import features, references
from pipelines.data.prepared import Prepared
from pipelines.settings import paths, sections
from pipelines.settings.resolved import ReferencesSettings
from tests.pipelines.test_features import SETTINGS, prepare

METRICS = ["fid", "mse", "discriminator"]


@pytest.fixture
def written(checkout: Path, settings) -> dict:
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


def test_every_row_is_measured_with_the_metrics_of_images(written) -> None:
    assert list(written["rows"]) == list(reference_rows.ROWS)
    for row in written["rows"].values():
        assert row["reason"] is None
        assert list(row["records"]) == ["fid_classifier"]
        record = row["records"]["fid_classifier"]
        # max_samples is 30, and both sides have the same number.
        assert (record["n_real"], record["n_fake"], written["num"]) == (30, 30, 30)
        assert record["reference"]["split"] == "test"
        assert record["seed"]["train"] is None
        assert len(record["params"]["replicas"]) == 1
        # A reference row is one set of images, for any number of sample sets.
        assert "sample_sets" not in record["params"]
    held_out = written["rows"]["held_out"]["records"]["fid_classifier"]["value"]
    assert 0 < held_out < written["rows"]["uniform_noise"]["records"]["fid_classifier"]["value"]


def test_each_row_has_a_picture_and_a_time(written) -> None:
    pictures = {path.stem for path in paths.REFERENCES.glob("*.png")}
    timed = json.loads((paths.TIMING / "references.json").read_text())
    assert pictures == set(timed) == set(reference_rows.ROWS)


def test_each_extractor_has_an_expected_distance_of_real_images(written) -> None:
    assert list(written["expected_floor"]) == ["fid_classifier"]
    assert 0 < written["expected_floor"]["fid_classifier"] < 100


def test_a_row_that_the_data_cannot_provide_has_a_reason(settings) -> None:
    evaluate = settings.evaluate.model_copy(update={"max_samples": 45})
    settings = settings.model_copy(update={"evaluate": evaluate})
    rows = references.make(settings)  # 40 held-out images for 45 of the test split
    assert rows["held_out"] == {"records": {}, "reason": "fewer_held_out_images"}
    assert rows["train_copies"]["reason"] is None


def test_data_without_labels_keeps_the_rows_that_need_none(checkout, settings) -> None:
    import shutil

    from pipelines import features

    shutil.rmtree(paths.PREPARE)
    prepare(labelled=False)
    features.make(SETTINGS)
    rows = references.make(settings)
    assert rows["prototypes"]["reason"] == "no_labels"
    assert rows["blur"]["records"]["fid_classifier"]["reason"] == "no_extractor"
    data = Prepared.of_pipeline(SETTINGS)
    extracted = data.extracted()
    floor = references.expected_floor(extracted, data.real(extracted, "test").reference, 30)
    assert floor == {"fid_classifier": None}

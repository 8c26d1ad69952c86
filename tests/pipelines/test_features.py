import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines import extracted, features, files, params, paths, splits
from pipelines.errors import UserError

COUNTS = {"train": 200, "valid": 40, "test": 50}
SETTINGS = params.Features(
    seed=0,
    width=4,
    num_features=8,
    epochs=4,
    batch_size=16,
    learning_rate=0.01,
    weight_decay=0.01,
    max_shift=1,
    min_accuracy=0.5,
)


def prepare(labelled: bool) -> None:
    """Writes what stage `prepare` would: bright squares in one of four corners."""
    rng = np.random.default_rng(0)
    manifest = {
        "dataset": "corners",
        "image_shape": [1, 12, 12],
        "num_classes": 4 if labelled else None,
        "splits": {},
    }
    paths.PREPARE.mkdir(parents=True)
    for name, count in COUNTS.items():
        labels = rng.integers(4, size=count)
        images = rng.integers(80, size=(count, 1, 12, 12), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = 7 * (label // 2), 7 * (label % 2)
            image[0, row : row + 4, column : column + 4] += 150
        np.save(paths.PREPARE / f"{name}.npy", images)
        if labelled:
            np.save(paths.PREPARE / f"{name}_labels.npy", labels)
        sha256 = hashlib.sha256(images.tobytes()).hexdigest()
        manifest["splits"][name] = {"count": count, "sha256": sha256}
    files.write_json(paths.PREPARE / "manifest.json", manifest)


@pytest.fixture
def stage(checkout: Path, monkeypatch):
    """Runs the stage on tiny data with the settings given."""

    class Loaded:
        features = SETTINGS
        train = params.Train(
            device="cpu", precision="fp32", threads=1, num_snapshots=1, snapshot_images=1
        )
        evaluate = params.Evaluate(
            metrics=["fid"], max_samples=30, sample_seed=0, metric_seed=0, grid_images=1
        )

    monkeypatch.setattr(params, "load", Loaded)

    def run(labelled: bool = True, **changed) -> Path:
        prepare(labelled)
        monkeypatch.setattr(Loaded, "features", SETTINGS.model_copy(update=changed))
        features.main()
        return paths.FEATURES

    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)


def test_the_stage_writes_an_extractor_its_card_the_features_and_the_floor(stage, capsys) -> None:
    folder = stage()
    assert sorted(path.name for path in folder.iterdir()) == [
        "card.json",
        "extractor.pt",
        "floor.json",
        "test.npy",
        "train.npy",
        "valid.npy",
    ]
    made = extracted.load_extracted()
    assert made.card["extractor"] == f"sha256:{made.extractor.sha256}"
    assert made.card["warning"] is None
    for name, count in COUNTS.items():
        assert made.features[name].shape == (count, 8)
        assert made.features[name].dtype == torch.float32
        fresh = made.extractor.features(splits.load_split(name).images)
        assert torch.equal(made.features[name], fresh)
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "epoch 4 of 4" in err


def test_the_floor_holds_the_held_out_row_and_what_theory_expects(stage) -> None:
    floor = json.loads((stage() / "floor.json").read_text())
    held_out = floor["rows"]["held_out"]
    assert list(held_out) == ["fid_classifier", "kid_classifier", "is_classifier"]
    fid = held_out["fid_classifier"]
    # max_samples is 30, and both sides have the same number.
    assert (fid["n_real"], fid["n_fake"], floor["analytic_n"]) == (30, 30, 30)
    assert fid["reference"]["split"] == "test"
    assert fid["reference"]["dataset"] == "corners"
    assert fid["seed"]["train"] is None
    assert 0 < fid["value"] < 100
    assert 0 < floor["analytic"]["fid_classifier"] < 100


def test_the_stage_repeats_bit_for_bit(stage) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in paths.FEATURES.iterdir()}

    stage()
    first = contents()
    features.main()
    assert contents() == first


def test_data_without_labels_has_no_extractor_and_says_why(stage) -> None:
    folder = stage(labelled=False)
    assert sorted(path.name for path in folder.iterdir()) == ["card.json", "floor.json"]
    made = extracted.load_extracted()
    assert made.extractor is None
    assert made.features == {}
    assert "no labels" in made.card["reason"]
    floor = json.loads((folder / "floor.json").read_text())
    assert floor["analytic"]["fid_classifier"] is None
    for record in floor["rows"]["held_out"].values():
        assert (record["value"], record["reason"]) == (None, "no_extractor")


def test_a_weak_extractor_carries_a_warning(stage, capsys) -> None:
    stage(min_accuracy=1.0, epochs=1, learning_rate=1e-6)
    warning = extracted.load_extracted().card["warning"]
    assert "below features.min_accuracy 1.0" in warning
    assert warning in capsys.readouterr().err


def test_a_training_that_diverges_ends_in_one_line(stage) -> None:
    with pytest.raises(SystemExit, match=r"^error: features: the classifier diverged in epoch 1"):
        stage(learning_rate=1e30)
    assert not paths.FEATURES.exists()


def test_a_real_split_carries_its_identity(stage) -> None:
    stage()
    split = splits.load_split("test")
    real = extracted.real_images("test", split, None)
    assert torch.equal(real.images, split.images)
    assert torch.equal(real.labels, split.labels)
    assert (real.dataset, real.split) == ("corners", "test")
    assert real.sha256 == splits.load_manifest()["splits"]["test"]["sha256"]


def test_reading_before_the_stage_has_run_names_the_command(checkout) -> None:
    with pytest.raises(UserError, match="`dvc repro features` makes it"):
        extracted.load_extracted()


def test_a_damaged_extractor_is_refused_in_one_line(stage) -> None:
    (stage() / "extractor.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"extractor\.pt: .*makes it anew"):
        extracted.load_extracted()


def test_values_in_the_card_are_finite(stage) -> None:
    card = json.loads((stage() / "card.json").read_text())
    assert all(math.isfinite(value) for value in card["trace"].values())
    assert card["trace"]["train"] == pytest.approx(100, rel=1e-5)

import hashlib
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.measuring.extractors import MissingExtractor
from pipelines import features
from pipelines.data import extractors, splits
from pipelines.settings import files, paths, resolved, sections
from pipelines.settings.errors import UserError
from pipelines.settings.resolved import FeaturesSettings

COUNTS = {"train": 200, "valid": 40, "test": 50}
SETTINGS = sections.Features(
    extractors=["classifier"],
    replicas=1,
    inception_weights=None,
    inception_download=False,
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
    """Writes the outputs of stage `prepare`: bright squares in one of four corners."""
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
    """Runs the stage on tiny data with changed settings."""

    monkeypatch.setenv("DVC_STAGE", "features")  # so that the stage does not run `resolve`

    def run(labelled: bool = True, **changed) -> Path:
        prepare(labelled)
        settings = FeaturesSettings(
            features=SETTINGS.model_copy(update=changed), threads=1, code="any"
        )
        files.write_json(resolved.path("features"), settings.model_dump())
        features.main()
        return paths.FEATURES

    threads = torch.get_num_threads()
    yield run
    torch.set_num_threads(threads)


def test_the_stage_writes_an_extractor_a_replica_its_card_and_the_features(stage, capsys) -> None:
    folder = stage()
    assert sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()) == [
        "card.json",
        "classifier/extractor.safetensors",
        "classifier/test.safetensors",
        "classifier/train.safetensors",
        "classifier/valid.safetensors",
        "replicas/1.safetensors",
    ]
    extracted = extractors.load_extracted(SETTINGS)
    (extractor,) = extracted.extractors
    card = extracted.cards["classifier"]
    assert card["extractor"] == f"sha256:{extractor.sha256}"
    assert card["warning"] is None
    for name, count in COUNTS.items():
        stored = extracted.features[name][extractor.sha256]
        assert stored.shape == (count, 8)
        assert stored.dtype == torch.float32
        assert torch.equal(stored, extractor.features(splits.load_split(name).images))
    (replica,) = extracted.replicas
    assert replica.sha256 != extractor.sha256
    out, err = capsys.readouterr()
    assert out.count("\n") == 1
    assert "features: seed 0 done (1 of 2)" in err
    assert "features: seed 1 done (2 of 2)" in err


def test_the_stage_repeats_bit_for_bit(stage) -> None:
    def contents() -> dict[str, bytes]:
        paths_of_files = (path for path in paths.FEATURES.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in paths_of_files}

    stage()
    first = contents()
    features.main()
    assert contents() == first


def test_data_without_labels_has_no_classifier_and_says_why(stage) -> None:
    folder = stage(labelled=False)
    assert [path.name for path in folder.iterdir()] == ["card.json"]
    extracted = extractors.load_extracted(SETTINGS)
    assert extracted.extractors == (MissingExtractor("classifier", "no_extractor"),)
    assert extracted.replicas == ()
    assert extracted.features == {name: {} for name in splits.SPLITS}
    assert "no labels" in extracted.cards["classifier"]["reason"]


def test_a_weak_extractor_carries_a_warning(stage, capsys) -> None:
    stage(min_accuracy=1.0, epochs=1, learning_rate=1e-6)
    warning = extractors.load_extracted(SETTINGS).cards["classifier"]["warning"]
    assert "below features.min_accuracy 1.0" in warning
    assert warning in capsys.readouterr().err


def test_a_training_that_diverges_ends_in_one_line(stage) -> None:
    with pytest.raises(SystemExit, match=r"^error: features: the classifier diverged in epoch 1"):
        stage(learning_rate=1e30)
    assert not paths.FEATURES.exists()


def test_a_real_split_carries_its_identity(stage) -> None:
    stage()
    split = splits.load_split("test")
    extracted = extractors.load_extracted(SETTINGS)
    real = extractors.real_images("test", extracted)
    assert real.features == extracted.features["test"]
    assert torch.equal(real.images, split.images)
    assert torch.equal(real.labels, split.labels)
    assert (real.dataset, real.split) == ("corners", "test")
    assert real.sha256 == splits.load_manifest()["splits"]["test"]["sha256"]


def test_reading_before_the_stage_has_run_names_the_command(checkout) -> None:
    with pytest.raises(UserError, match="`dvc repro features` makes it"):
        extractors.load_extracted(SETTINGS)


@pytest.mark.parametrize("name", ["extractor.safetensors", "test.safetensors"])
def test_a_damaged_file_is_refused_in_one_line(stage, name: str) -> None:
    (stage() / "classifier" / name).write_bytes(b"damaged")
    with pytest.raises(UserError, match=rf"{name}: .*makes it again"):
        extractors.load_extracted(SETTINGS)


def test_features_of_an_extractor_from_another_run_are_refused(stage) -> None:
    folder = stage()
    replica = folder / "replicas" / "1.safetensors"
    replica.rename(folder / "classifier" / "extractor.safetensors")
    with pytest.raises(UserError, match=r"features of extractor [0-9a-f]{8}, expected [0-9a-f]{8}"):
        extractors.load_extracted(SETTINGS)


def test_features_of_the_wrong_split_are_refused(stage) -> None:
    folder = stage() / "classifier"
    shutil.copy(folder / "train.safetensors", folder / "test.safetensors")
    with pytest.raises(UserError, match=r"features of images [0-9a-f]{8}, expected [0-9a-f]{8}"):
        extractors.load_extracted(SETTINGS)


def test_values_in_the_card_are_finite(stage) -> None:
    card = json.loads((stage() / "card.json").read_text())
    trace = card["classifier"]["trace"]
    assert all(math.isfinite(value) for value in trace.values())
    assert trace["train"] == pytest.approx(100, rel=1e-5)

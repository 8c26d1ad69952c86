import hashlib

import numpy as np
import pytest
import torch

from pipelines import prepare
from pipelines.data import splits
from pipelines.data.datasets import Source
from pipelines.settings import params, paths, sections
from pipelines.settings.errors import UserError

PREPARE = params.load().prepare


def settings(**changes) -> sections.Prepare:
    return PREPARE.model_copy(update=changes)


def source(n=200, classes=4, official_test=0) -> Source:
    """A data set sorted by label, like mnist5k."""
    images = np.arange(n * 4, dtype=np.int64).reshape(n, 1, 2, 2).astype(np.uint8)
    labels = np.sort(np.arange(n) % classes)
    names = [f"class {c}" for c in range(classes)]
    return Source(images, labels, names, n - official_test)


@pytest.mark.parametrize("design", ["random", "stratified"])
def test_splits_are_disjoint_complete_and_hold_every_class(design):
    data = source()
    parts = prepare.split_indices(data, settings(split_design=design))
    assert {name: len(part) for name, part in parts.items()} == {
        "train": 120,
        "valid": 40,
        "test": 40,
    }
    assert sorted(np.concatenate(list(parts.values()))) == list(range(200))
    for part in parts.values():
        assert set(data.labels[part]) == {0, 1, 2, 3}
        assert (np.diff(data.labels[part]) != 0).sum() > 10  # shuffled, not sorted by label


def test_a_stratified_split_has_equal_shares_of_each_class_and_a_random_one_need_not():
    data = source()
    counts = {
        design: np.bincount(
            data.labels[prepare.split_indices(data, settings(split_design=design))["test"]]
        ).tolist()
        for design in ("stratified", "random")
    }
    assert counts["stratified"] == [10, 10, 10, 10]
    assert counts["random"] != [10, 10, 10, 10]


def test_the_split_is_a_function_of_its_seed():
    first, same, other = (
        prepare.split_indices(source(), settings(split_seed=seed))["train"] for seed in (1, 1, 2)
    )
    assert (first == same).all()
    assert not (first == other).all()


def test_an_official_test_set_is_the_test_split():
    parts = prepare.split_indices(source(official_test=50), settings())
    assert sorted(parts["test"]) == list(range(150, 200))
    assert len(parts["valid"]) == 30


@pytest.mark.parametrize("official_test", [0, 50])
def test_max_images_limits_the_number_of_images(official_test):
    parts = prepare.split_indices(source(official_test=official_test), settings(max_images=100))
    assert sum(len(part) for part in parts.values()) == 100
    assert len(parts["test"]) == 20


def test_an_error_names_a_class_that_is_missing_from_a_split():
    data = source(n=203, classes=1)
    labels = data.labels.copy()
    labels[:3] = 1
    data = Source(data.images, labels, ["many", "few"], 203)
    parts = {"train": np.arange(100), "valid": np.arange(100, 150), "test": np.arange(150, 203)}
    with pytest.raises(UserError, match=r"class 'few' has too few images \(3\): none .* valid"):
        prepare.check_classes(data, parts)


def test_too_few_images_for_the_splits_are_refused():
    data = source(n=2, classes=1)
    with pytest.raises(UserError, match="split is empty: 2 images are too few"):
        prepare.check_classes(data, prepare.split_indices(data, settings()))


def test_stratifying_without_labels_is_refused():
    data = Source(source().images, None, None, 200)
    with pytest.raises(UserError, match="split_design: 'stratified' needs labels"):
        prepare.split_indices(data, settings(split_design="stratified"))


def test_written_splits_are_equal_after_reading(checkout):
    data = source()
    parts = prepare.split_indices(data, settings())
    prepare.write_splits(data, parts, settings())
    manifest = splits.load_manifest()
    assert manifest["image_shape"] == [1, 2, 2]
    assert manifest["num_classes"] == 4
    for name, part in parts.items():
        split = splits.load_split(name)
        assert split.images.dtype == torch.float32
        assert (split.images.mul(255).round().numpy() == data.images[part]).all()
        assert (split.labels.numpy() == data.labels[part]).all()
        entry = manifest["splits"][name]
        assert entry["count"] == len(part)
        assert entry["sha256"] == hashlib.sha256(data.images[part].tobytes()).hexdigest()
        assert sum(entry["class_counts"]) == len(part)


def test_data_without_labels_has_none_afterwards(checkout):
    data = Source(source().images, None, None, 200)
    prepare.write_splits(data, prepare.split_indices(data, settings()), settings())
    assert splits.load_split("train").labels is None
    assert splits.load_manifest()["num_classes"] is None


def test_an_error_names_a_damaged_array(checkout):
    data = source()
    prepare.write_splits(data, prepare.split_indices(data, settings()), settings())
    path = paths.PREPARE / "train.npy"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match=r"train.npy: damaged \(.*`dvc repro prepare` makes"):
        splits.load_split("train")


def test_an_error_names_the_stage_that_has_not_run(checkout):
    with pytest.raises(UserError, match=r"train.npy: no such file; `dvc repro prepare` makes it"):
        splits.load_split("train")

import pytest
import torch

from evaluation.measuring.extractors import Classifier, Extractor
from pipelines.data import tensor_file
from pipelines.data.extractors import (
    load_extractor,
    load_features,
    save_extractor,
    save_features,
)

FILE = "extractor.safetensors"


@pytest.fixture
def extractor() -> Extractor:
    network = Classifier((1, 12, 12), 4, 4, 8)
    network.initialise(torch.Generator().manual_seed(1))
    sizes = {"num_classes": 4, "width": 4, "num_features": 8}
    return Extractor(network, image_shape=(1, 12, 12), scale=10.0 / 3, **sizes)


def test_an_extractor_is_equal_after_writing_and_reading(extractor, tmp_path) -> None:
    save_extractor(extractor, tmp_path / FILE)
    loaded = load_extractor(tmp_path / FILE)
    x = torch.rand(9, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    assert loaded.sha256 == extractor.sha256
    assert loaded.scale == extractor.scale
    assert torch.equal(loaded.features(x), extractor.features(x))
    assert [file.name for file in tmp_path.iterdir()] == [FILE]


def test_a_changed_weight_is_refused(extractor, tmp_path) -> None:
    path = tmp_path / FILE
    save_extractor(extractor, path)
    weights, settings = tensor_file.read(path, "a command")
    weights["head.bias"][0] += 1
    tensor_file.write(path, weights, settings)
    with pytest.raises(ValueError, match=r"the weights have SHA-256 \w{8}, expected"):
        load_extractor(path)


def test_another_preprocessing_is_refused(extractor, tmp_path) -> None:
    path = tmp_path / FILE
    save_extractor(extractor, path)
    weights, settings = tensor_file.read(path, "a command")
    tensor_file.write(path, weights, settings | {"preprocessing": 0})
    with pytest.raises(ValueError, match="preprocessing version 0"):
        load_extractor(path)


def test_weights_of_another_network_are_refused_in_one_line(extractor, tmp_path) -> None:
    path = tmp_path / FILE
    save_extractor(extractor, path)
    weights, settings = tensor_file.read(path, "a command")
    for changed in (settings | {"width": 5}, {}):
        tensor_file.write(path, weights, changed)
        with pytest.raises(ValueError, match=r"extractor\.safetensors: not a readable") as error:
            load_extractor(path)
        assert "\n" not in str(error.value)


def test_features_of_the_wrong_split_or_of_another_extractor_are_refused_by_their_identity(
    tmp_path,
) -> None:
    path = tmp_path / "test.safetensors"
    features = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    save_features(features, path, extractor="e" * 64, images="a" * 64)
    assert torch.equal(load_features(path, extractor="e" * 64, images="a" * 64), features)
    with pytest.raises(ValueError, match="features of images aaaaaaaa, expected bbbbbbbb"):
        load_features(path, extractor="e" * 64, images="b" * 64)
    with pytest.raises(ValueError, match="features of extractor eeeeeeee, expected ffffffff"):
        load_features(path, extractor="f" * 64, images="a" * 64)
    tensor_file.write(path, {"features": features})
    with pytest.raises(ValueError, match="features of extractor none"):
        load_features(path, extractor="e" * 64, images="a" * 64)

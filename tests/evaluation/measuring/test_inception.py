"""The Inception extractor against that of torch-fidelity, with random weights from a seed."""

import hashlib
import io
import logging
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from evaluation.measuring import inception
from evaluation.measuring.context import Seeds
from evaluation.measuring.extractors import MissingExtractor
from evaluation.measuring.images import quantise, to_uint8
from evaluation.measuring.inception import (
    OFFICIAL,
    InceptionExtractor,
    load_inception,
    open_extractor,
)
from evaluation.measuring.moments import frechet_parts, total_variance
from evaluation.measuring.real_images import RealImages
from evaluation.metrics.inception_score import class_score
from evaluation.runner import Settings, evaluate_images


class _Undrawn(FeatureExtractorInceptionV3):
    """The network without its weights."""

    def load_state_dict(self, state: object) -> None:
        pass


def _seeded_state() -> dict[str, Tensor]:
    """Random weights that keep the scale of activations from layer to layer."""
    empty = io.BytesIO()
    torch.save({}, empty)
    empty.seek(0)
    with torch.random.fork_rng(devices=[]):
        network = _Undrawn("seeded", ["2048"], empty)
    rng = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.normal_(0, (2 / module.weight[0].numel()) ** 0.5, generator=rng)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1, generator=rng)
            module.running_var.uniform_(0.8, 1.2, generator=rng)
    network.fc.weight.mul_(30)  # so that the predicted classes differ
    network.fc.bias.normal_(0, 3, generator=rng)
    return dict(network.state_dict())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("inception") / "seeded.pth"
    torch.save(_seeded_state(), path)
    return path


@pytest.fixture(scope="session")
def extractor(weights: Path) -> InceptionExtractor:
    return load_inception(weights, _sha256(weights))


@pytest.fixture(scope="session")
def grey() -> tuple[Tensor, Tensor]:
    """Two sets of four grey images of different brightness, rounded to 8 bits."""
    rng = torch.Generator().manual_seed(1)
    x = torch.rand(8, 1, 12, 12, generator=rng) * torch.linspace(0.3, 1, 8)[:, None, None, None]
    return tuple(quantise(x).split(4))


@pytest.fixture(scope="session")
def ours(extractor: InceptionExtractor, grey: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return extractor.features(grey[0]), extractor.features(grey[1])


@pytest.fixture(scope="session")
def theirs(weights: Path, grey: tuple[Tensor, Tensor]) -> list[dict[str, Tensor]]:
    """The features and logits of torch-fidelity for the same images and weights."""
    names = ["2048", "logits_unbiased", "logits"]
    with torch.random.fork_rng(devices=[]):
        peer = FeatureExtractorInceptionV3("peer", names, feature_extractor_weights_path=weights)
    images = [to_uint8(side).expand(-1, 3, -1, -1) for side in grey]
    return [peer.convert_features_tuple_to_dict(peer(side)) for side in images]


@pytest.fixture(autouse=True)
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty download cache of torch."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "torch" / "hub" / "checkpoints"


def test_features_and_logits_are_those_of_torch_fidelity(extractor, ours, theirs) -> None:
    for features, peer in zip(ours, theirs, strict=True):
        assert features.shape == (4, 2048)
        assert features.dtype == torch.float32
        torch.testing.assert_close(features, peer["2048"], rtol=1e-5, atol=1e-5)
        logits = extractor.classify(features)
        assert logits.shape == (4, 1008)
        torch.testing.assert_close(logits, peer["logits_unbiased"], rtol=1e-5, atol=1e-5)
        # The bias is there and left out.
        assert (logits - peer["logits"]).abs().max() > 1


def test_fid_and_class_score_are_those_of_torch_fidelity(extractor, ours, theirs) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_isc import isc_features_to_metric

    peer = [side["2048"].double() for side in theirs]
    # In the 8 dimensions that the images span, because its eigenvalues in 2,048 take seconds.
    span = torch.linalg.qr(torch.cat(peer).T).Q
    one, two = (fid_features_to_statistics(side @ span) for side in peer)
    expected = fid_statistics_to_metric(one, two, verbose=False)["frechet_inception_distance"]
    scale = sum(total_variance(side) for side in peer)
    assert expected > 0.1 * scale
    # Of singular covariances: torch-fidelity takes roots of rounded zeros.
    assert sum(frechet_parts(*ours)) == pytest.approx(expected, abs=1e-7 * scale)

    logits = torch.cat([side["logits_unbiased"] for side in theirs])
    score = isc_features_to_metric(logits, splits=1)["inception_score_mean"]
    assert score > 1.01
    assert class_score(extractor.classify(torch.cat(ours))) == pytest.approx(score, rel=1e-6)


def test_features_do_not_depend_on_the_batch(extractor, grey, ours) -> None:
    one = extractor.features(grey[0][:1])
    torch.testing.assert_close(one, ours[0][:1], rtol=1e-5, atol=1e-5)
    assert (ours[0] - ours[1]).abs().max() > 1e-3
    assert extractor.features(grey[0][:0]).shape == (0, 2048)


def test_a_grey_image_equals_one_of_three_equal_channels(extractor, grey) -> None:
    colour = extractor.features(grey[0][:2].repeat(1, 3, 1, 1))
    assert torch.equal(colour, extractor.features(grey[0][:2]))


def test_pixels_are_rounded_and_not_truncated(extractor, grey) -> None:
    x = grey[0][:1]
    assert torch.equal(extractor.features(x - 0.3 / 255), extractor.features(x))


def test_metrics_accept_it_like_the_classifier(extractor, grey, ours) -> None:
    real = RealImages(grey[0], None, {}, "toy", "test", "ab" * 32)
    judged = evaluate_images(
        grey[1],
        ["fid", "inception_score"],
        reference=real,
        train=real,
        extractors=[extractor],
        settings=Settings(Seeds(None, 0, 0), 4),
    )
    fid, score = judged.records
    assert (fid.name, fid.extractor) == ("fid_inception", f"sha256:{extractor.sha256}")
    assert fid.value == sum(frechet_parts(*ours))
    assert score.name == "is_inception"
    assert score.value == class_score(extractor.classify(ours[1]))


@pytest.mark.parametrize("shape", [(2, 4, 12, 12), (2, 12, 12)])
def test_images_of_other_channels_are_refused(extractor, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="grey or RGB images"):
        extractor.features(torch.zeros(shape))


def test_the_identity_depends_on_the_weights(extractor, weights: Path) -> None:
    assert not extractor.network.training
    assert not any(parameter.requires_grad for parameter in extractor.network.parameters())
    assert (extractor.name, len(extractor.sha256)) == ("inception", 64)
    state = torch.load(weights, weights_only=True)  # noqa: TID251
    state["fc.bias"][0] += 1
    assert inception.InceptionExtractor(inception._network(state)).sha256 != extractor.sha256


def test_loading_leaves_the_network_and_the_global_state_alone(
    weights: Path, extractor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError("network access")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 - watched
    again = open_extractor(weights, download=True, sha256=_sha256(weights))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002 - watched
    assert again.sha256 == extractor.sha256


def test_weights_in_the_format_of_2020_are_read(weights: Path, extractor, tmp_path: Path) -> None:
    old = tmp_path / "old.pth"
    state = torch.load(weights, weights_only=True)  # noqa: TID251
    torch.save(state, old, _use_new_zipfile_serialization=False)
    assert load_inception(old, _sha256(old)).sha256 == extractor.sha256


class _Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("exploded",)


@pytest.fixture
def bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that makes a folder when it is unpickled."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bomb.pth"
    torch.save(_Bomb(), path)
    return path


def test_a_file_with_another_hash_is_refused_before_it_is_read(bomb: Path) -> None:
    with pytest.raises(ValueError, match=r"SHA-256 is .*, expected 6726825d") as refused:
        open_extractor(bomb, download=False)
    assert str(refused.value).startswith(f"{bomb}: ")
    assert not Path("exploded").exists()


def test_code_in_a_file_is_not_run_even_if_its_hash_is_expected(bomb: Path) -> None:
    with pytest.raises(ValueError, match="no readable weights") as refused:
        load_inception(bomb, _sha256(bomb))
    assert "\n" not in str(refused.value)
    assert not Path("exploded").exists()


@pytest.mark.parametrize("content", [{"fc.bias": torch.zeros(1008)}, [1, 2], torch.zeros(3)])
def test_a_file_of_other_weights_is_refused_in_one_line(tmp_path: Path, content: object) -> None:
    path = tmp_path / "other.pth"
    torch.save(content, path)
    with pytest.raises(ValueError, match="no Inception weights") as refused:
        load_inception(path, _sha256(path))
    assert "\n" not in str(refused.value)


def test_without_weights_the_extractor_is_missing_and_a_warning_names_the_remedy(
    downloads: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        extractor = open_extractor(None, download=False)
    assert extractor == MissingExtractor("inception", "no_weights")
    (line,) = caplog.messages
    assert "\n" not in line
    for part in (OFFICIAL.name, "95,628,359 bytes", OFFICIAL.sha256, str(downloads)):
        assert part in line

"""The linear probe, and the labels that it shares with the mutual information gap."""

import math

import pytest
import torch
from torch import Tensor

from evaluation.measuring.metric import Measurement
from evaluation.measuring.records import UnavailableError
from evaluation.metrics import linear_probe, mig_class
from evaluation.metrics.linear_probe import probe
from tests.evaluation.metrics.latents import (
    CLASSES,
    PixelEncoder,
    generator,
    images_of,
    normal,
    one_hot,
)


@pytest.fixture
def probed(measure):
    """The probe of three sets of latents and labels: train, valid, test."""

    def run(train, valid, test) -> Measurement:
        return measure(
            linear_probe,
            *test,
            train=images_of(*train, split="train"),
            valid=images_of(*valid, split="valid"),
        )

    return run


def test_one_hot_labels_have_accuracy_1(probed) -> None:
    measured = probed(one_hot(300, 1), one_hot(100, 2), one_hot(200, 3))
    assert measured.value == 1
    assert measured.params == {
        "train_images": 300,
        "valid_images": 100,
        "C": 0.01,
        "valid_accuracy": 1.0,
    }
    assert measured.interval["high"] == pytest.approx(1)
    assert measured.interval["low"] < 1


def test_permuted_labels_have_chance_accuracy(probed) -> None:
    def permuted(n: int, seed: int) -> tuple[Tensor, Tensor]:
        latents, labels = one_hot(n, seed)
        return latents, labels[torch.randperm(n, generator=generator(seed + 10))]

    n = 2000
    measured = probed(permuted(500, 1), permuted(300, 2), permuted(n, 3))
    error = math.sqrt(0.1 * 0.9 / n)
    assert measured.value == pytest.approx(1 / CLASSES, abs=4 * error)


def test_noise_on_the_latents_lowers_the_accuracy(probed) -> None:
    ramp = [
        probed(one_hot(400, 1, s), one_hot(200, 2, s), one_hot(500, 3, s)).value
        for s in (0.0, 0.4, 0.8, 1.6)
    ]
    assert ramp == sorted(set(ramp), reverse=True)


def test_the_probe_is_that_of_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def scaled(n: int, seed: int) -> tuple[Tensor, Tensor]:
        latents, labels = one_hot(n, seed, noise=0.6)
        return 3 * latents * torch.arange(1, CLASSES + 1) - 5, labels

    train, valid, test = scaled(150, 1), scaled(300, 2), scaled(300, 3)
    correct, selection = probe(train, valid, test)
    peers = {}
    for c in (0.01, 0.1, 1, 10):
        peer = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=1000))
        peers[c] = peer.fit(train[0].numpy(), train[1].numpy())
    scores = {c: peer.score(valid[0].numpy(), valid[1].numpy()) for c, peer in peers.items()}
    assert selection["C"] == max(scores, key=scores.get)
    assert selection["valid_accuracy"] == pytest.approx(max(scores.values()), rel=1e-12)
    assert len(set(scores.values())) > 1
    predicted = peers[selection["C"]].predict(test[0].numpy())
    assert (correct.numpy() == (predicted == test[1].numpy())).all()


def test_a_constant_train_dimension_is_ignored(probed) -> None:
    def with_constant(n: int, seed: int) -> tuple[Tensor, Tensor]:
        latents, labels = one_hot(n, seed)
        return torch.cat([latents, torch.full((n, 1), 7.0)], 1), labels

    measured = probed(with_constant(300, 1), with_constant(100, 2), with_constant(200, 3))
    assert measured.value == 1


def test_large_data_sets_are_fitted_by_their_first_images(probed, monkeypatch) -> None:
    monkeypatch.setattr(linear_probe, "MAX_TRAIN", 250)
    latents, labels = one_hot(500, 1)
    labels[250:] = 0  # wrong labels that must not be used
    measured = probed((latents, labels), one_hot(100, 2), one_hot(200, 3))
    assert measured.value == 1
    assert measured.params["train_images"] == 250


def test_without_validation_images_the_probe_is_null(measure) -> None:
    with pytest.raises(UnavailableError, match=r"^no_valid_images$"):
        measure(linear_probe, *one_hot(20, 1), valid=None)


def test_a_probe_of_one_class_is_null(probed) -> None:
    latents, labels = one_hot(50, 1)
    with pytest.raises(UnavailableError, match=r"^one_class$"):
        probed((latents, torch.zeros_like(labels)), one_hot(20, 2), one_hot(20, 3))


@pytest.mark.parametrize("module", [linear_probe, mig_class])
def test_a_conditional_encoder_is_null(measure, module) -> None:
    sets = {"train": images_of(*one_hot(50, 1)), "valid": images_of(*one_hot(30, 2))}
    with pytest.raises(UnavailableError, match=r"^label_is_given$"):
        measure(module, *one_hot(20, 3), model=PixelEncoder(conditional=True), **sets)


@pytest.mark.parametrize("module", [linear_probe, mig_class])
def test_images_without_labels_are_null(measure, module) -> None:
    with pytest.raises(UnavailableError, match=r"^no_labels$"):
        measure(module, normal(20, 3), None, train=images_of(normal(50, 3), None, "train"))


@pytest.mark.parametrize("module", [linear_probe, mig_class])
def test_a_deterministic_encoder_has_a_value(measure, module) -> None:
    sets = {"train": images_of(*one_hot(50, 1)), "valid": images_of(*one_hot(30, 2))}
    assert measure(module, *one_hot(40, 3), model=PixelEncoder(std=None), **sets).value is not None

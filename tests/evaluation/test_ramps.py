"""Distances increase with the strength of every distortion of the data."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.measuring.context import Seeds
from evaluation.measuring.images import quantise
from evaluation.measuring.real_images import RealImages
from evaluation.runner import Settings, evaluate_images

NUM = 600
METRICS = ("fid", "kid", "fid_infinity", "mind", "c2st")


def blurred(images: Tensor, strength: float) -> Tensor:
    padded = F.pad(images, [1] * 4, mode="replicate")
    return quantise((1 - strength) * images + strength * F.avg_pool2d(padded, 3, stride=1))


@pytest.fixture
def distances(extractor, make_pictures):
    reference = RealImages(make_pictures(NUM, 1), None, {}, "toy", "test", "ab" * 32)

    def measure(images: Tensor) -> dict[str, float]:
        evaluation = evaluate_images(
            images,
            METRICS,
            reference=reference,
            train=reference,
            extractors=[extractor],
            settings=Settings(Seeds(None, 0, 7), NUM),
        )
        return {record.name: record.value for record in evaluation.records}

    return measure


def assert_rising(values: list[dict[str, float]]) -> None:
    assert len(values[0]) == 6
    for name in values[0]:
        ramp = [value[name] for value in values]
        assert ramp == sorted(set(ramp)), (name, ramp)


def test_with_noise(distances, make_pictures, rng) -> None:
    real = make_pictures(NUM, 5)
    noise = torch.randn(real.shape, generator=rng)
    assert_rising([distances(quantise(real + s * noise)) for s in (0.0, 0.05, 0.1, 0.2, 0.3)])


def test_with_blur(distances, make_pictures) -> None:
    real = make_pictures(NUM, 5)
    assert_rising([distances(blurred(real, strength)) for strength in (0.0, 0.25, 0.5, 0.75)])


def test_with_dropped_classes(distances, make_pictures) -> None:
    assert_rising([distances(make_pictures(NUM, 5, classes)) for classes in (4, 3, 2, 1)])


def test_with_the_share_of_noise_images(distances, make_pictures, rng) -> None:
    real = make_pictures(NUM, 5)
    noise = quantise(torch.rand(real.shape, generator=rng))
    mixed = [torch.cat([noise[:k], real[k:]]) for k in (0, 60, 150, 300, 600)]
    assert_rising([distances(images) for images in mixed])

"""A metric that does not get worse when images get worse measures nothing."""

import pytest
import torch

from evaluation.context import RealImages, Seeds
from evaluation.images import quantise
from evaluation.runner import Settings, evaluate_images

NAMES = ("fid_classifier", "kid_classifier")


@pytest.fixture
def distances(extractor, make_pictures):
    reference = RealImages(make_pictures(400, 1), None, {}, "toy", "test", "ab" * 32)

    def measure(images: torch.Tensor) -> dict[str, float]:
        evaluation = evaluate_images(
            images,
            ["fid", "kid"],
            reference=reference,
            train=reference,
            extractors=[extractor],
            settings=Settings(Seeds(None, 0, 0), 400),
        )
        return {record.name: record.value for record in evaluation.records}

    return measure


def assert_rising(values: list[dict[str, float]]) -> None:
    for name in NAMES:
        ramp = [value[name] for value in values]
        assert ramp == sorted(set(ramp)), (name, ramp)


def test_noise_raises_the_distances(distances, make_pictures, rng) -> None:
    real = make_pictures(400, 5)
    noise = torch.randn(real.shape, generator=rng)
    assert_rising([distances(quantise(real + s * noise)) for s in (0.0, 0.1, 0.2, 0.3)])


def test_dropped_classes_raise_the_distances(distances, make_pictures) -> None:
    assert_rising([distances(make_pictures(400, 5, classes)) for classes in (4, 3, 2, 1)])

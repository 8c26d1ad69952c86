import doctest

import pytest
import torch

import evaluation
from evaluation.context import RealImages


def test_the_example_of_the_package_runs_as_it_is_printed() -> None:
    result = doctest.testmod(evaluation)
    assert result.attempted > 8
    assert result.failed == 0


def test_every_public_name_is_there_and_no_other() -> None:
    for name in evaluation._PUBLIC:
        assert getattr(evaluation, name)
    with pytest.raises(AttributeError, match="no attribute 'evaluat'"):
        evaluation.evaluat  # noqa: B018


def test_real_images_are_identified_by_their_pixels(make_pictures) -> None:
    one, two = make_pictures(5, 0), make_pictures(5, 1)
    assert RealImages.of(one).sha256 == RealImages.of(one.clone()).sha256
    assert RealImages.of(one).sha256 != RealImages.of(two).sha256
    assert (RealImages.of(one).images == one).all()


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(3, 1, 8, 8, dtype=torch.uint8),
        torch.full((3, 1, 8, 8), 255.0),
        torch.full((3, 1, 8, 8), -1.0),
    ],
)
def test_images_in_another_range_are_refused_and_not_clamped(images, reference) -> None:
    with pytest.raises(ValueError, match=r"images are floats in \[0, 1\], got torch\."):
        RealImages.of(images)


def test_images_of_another_shape_are_named(make_pictures, reference, train, extractor) -> None:
    with pytest.raises(ValueError, match=r"differ in shape: \(1, 8, 8\) and \(1, 12, 12\)"):
        evaluation.evaluate_images(
            torch.zeros(3, 1, 8, 8),
            ["fid"],
            reference=reference,
            train=train,
            extractors=[extractor],
            settings=evaluation.Settings(evaluation.Seeds(None, 0, 0), 10),
        )

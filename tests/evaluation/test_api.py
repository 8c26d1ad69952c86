import doctest

import pytest

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

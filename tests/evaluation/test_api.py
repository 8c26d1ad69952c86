import doctest

import pytest
import torch

import evaluation
from evaluation.measuring.context import Seeds
from evaluation.measuring.real_images import RealImages
from evaluation.runner import Settings, evaluate_images


def test_the_example_of_the_package_runs_as_it_is_printed() -> None:
    result = doctest.testmod(evaluation)
    assert result.attempted > 8
    assert result.failed == 0


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
def test_images_in_another_range_are_refused_instead_of_clamped(images, reference) -> None:
    with pytest.raises(ValueError, match=r"images are floats in \[0, 1\], got torch\."):
        RealImages.of(images)


def test_images_of_another_shape_are_named(make_pictures, reference, train, extractor) -> None:
    with pytest.raises(ValueError, match=r"differ in shape: \(1, 8, 8\) and \(1, 12, 12\)"):
        evaluate_images(
            torch.zeros(3, 1, 8, 8),
            ["fid"],
            reference=reference,
            train=train,
            extractors=[extractor],
            settings=Settings(Seeds(None, 0, 0), 10),
        )


SETTINGS = Settings(Seeds(None, 0, 0), max_samples=5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.tensor([0, 1, -1, 0, 1]), "labels are integers from 0, got torch.int64 from -1"),
        (torch.zeros(5), "labels are integers from 0, got torch.float32"),
        (torch.zeros(4, dtype=torch.int64), r"5 images, but labels of shape \(4,\)"),
    ],
)
def test_labels_that_are_no_classes_are_refused(
    make_pictures, extractor, reference, train, labels, message: str
) -> None:
    images = make_pictures(5, 0)
    with pytest.raises(ValueError, match=message):
        RealImages.of(images, labels)
    with pytest.raises(ValueError, match=message):
        evaluate_images(
            images,
            ["fid_per_class"],
            labels=labels,
            reference=reference,
            train=train,
            extractors=[extractor],
            settings=SETTINGS,
        )


def test_no_extractor_at_all_is_refused(make_pictures, reference, train) -> None:
    arguments = {"reference": reference, "train": train, "settings": SETTINGS}
    with pytest.raises(ValueError, match="extractors is empty; pass a MissingExtractor"):
        evaluate_images(make_pictures(5, 0), ["c2st_pixel"], extractors=[], **arguments)

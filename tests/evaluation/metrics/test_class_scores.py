from dataclasses import replace
from statistics import fmean

import pytest
import torch
from torch import Tensor

from evaluation.measuring.images import quantise
from evaluation.measuring.moments import covariance, frechet_floor, frechet_parts
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError
from evaluation.metrics import class_accuracy, fid, fid_per_class
from evaluation.runner import FixedImages

PER_CLASS = fid_per_class.NAME


def squares(labels: Tensor, seed: int) -> Tensor:
    """Noise and a bright square in the corner that the label says."""
    rng = torch.Generator().manual_seed(seed)
    images = 0.4 * torch.rand((len(labels), 1, 12, 12), generator=rng)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = 6 * (label // 2), 6 * (label % 2)
        image[:, row : row + 6, column : column + 6] += 0.4
    return quantise(images)


def real(n: int, seed: int, split: str) -> RealImages:
    labels = torch.randint(4, (n,), generator=torch.Generator().manual_seed(seed))
    return RealImages(squares(labels, seed), labels, {}, "toy", split, f"{seed:064d}")


class Painter:
    """Draws squares for the labels, wrongly as often and as noisily as asked."""

    conditional = True

    def __init__(self, wrong: float = 0.0, noise: float = 0.0) -> None:
        self.wrong, self.noise = wrong, noise

    def sample(self, n: int, rng: torch.Generator, labels: Tensor) -> Tensor:
        other = torch.rand(n, generator=rng) < self.wrong
        drawn = squares(torch.where(other, (labels + 1) % 4, labels), 77 + n)
        return quantise(drawn + self.noise * torch.randn(drawn.shape, generator=rng))


@pytest.fixture
def measure(make_context):
    def run(metric, model: object = None, **changed):
        given = {"reference": real(200, 1, "test"), "train": real(300, 2, "train")}
        context = make_context(model or Painter(), batch_size=50, **(given | changed))
        (value,) = metric.METRIC.compute(context).values()
        return value

    return run


def test_of_one_class_there_is_nothing_to_learn(measure) -> None:
    """A network that has seen one class calls everything that class: accuracy 1, of any model."""
    one = real(200, 1, "test")
    one = replace(one, labels=torch.zeros_like(one.labels))
    with pytest.raises(UnavailableError, match="one_class"):
        measure(class_accuracy, reference=one)


def test_the_images_of_a_good_model_teach_as_much_as_real_ones(measure) -> None:
    value, held_out = measure(class_accuracy), real(200, 5, "valid")
    floor = measure(class_accuracy, FixedImages(held_out.images, held_out.labels))
    assert floor.value > 0.95
    assert value.value == pytest.approx(floor.value, abs=0.05)
    assert value.interval["low"] <= value.value <= value.interval["high"]
    assert value.params["train_images"] == floor.params["train_images"] == 200


def test_wrong_classes_teach_less(measure) -> None:
    ramp = [measure(class_accuracy, Painter(wrong=share)).value for share in (0.0, 0.5, 1.0)]
    assert ramp == sorted(set(ramp), reverse=True)
    assert ramp[-1] < 0.05


def test_noise_teaches_less(measure) -> None:
    assert measure(class_accuracy, Painter(noise=3.0)).value < measure(class_accuracy).value


@pytest.mark.parametrize("metric", [class_accuracy, fid_per_class])
def test_images_are_judged_by_their_own_classes_not_by_the_reference_s(measure, metric) -> None:
    held_out = real(200, 5, "valid")
    right, wrong = (
        measure(metric, FixedImages(held_out.images, labels)).value
        for labels in (held_out.labels, (held_out.labels + 1) % 4)
    )
    assert (right < wrong) != metric.METRIC.values[0].higher_is_better
    for labelled in (FixedImages(held_out.images), Painter()):
        reference = real(200, 1, "test")
        if isinstance(labelled, Painter):
            reference = replace(reference, labels=None)
        with pytest.raises(UnavailableError, match="no_labels"):
            measure(metric, labelled, reference=reference)


def test_a_set_that_lacks_a_class_has_no_distance_within_it(measure) -> None:
    held_out = real(200, 5, "valid")
    kept = (held_out.labels != 2).nonzero().squeeze(1)[torch.arange(200) % 140]
    lacking = held_out.images[kept], held_out.labels[kept]
    with pytest.raises(UnavailableError, match="class_missing"):
        measure(fid_per_class, FixedImages(*lacking))
    assert measure(class_accuracy, FixedImages(*lacking)).value < 0.85


def test_the_distance_within_classes_is_the_mean_over_them(measure, extractor) -> None:
    value, test = measure(fid_per_class), real(200, 1, "test")
    drawn = torch.cat(
        [Painter().sample(50, torch.Generator(), part) for part in test.labels.split(50)]
    )
    one, other = extractor.features(test.images), extractor.features(quantise(drawn))
    members = [test.labels == label for label in range(4)]
    expected = [sum(frechet_parts(one[m], other[m])) for m in members]
    assert value.params["classes"] == pytest.approx(expected, rel=1e-9)
    assert value.value == pytest.approx(fmean(expected), rel=1e-9)
    counts = [int(m.sum()) for m in members]
    assert value.params["class_counts"] == value.params["generated_counts"] == counts
    floors = [frechet_floor(covariance(one[m]), int(m.sum()), int(m.sum())) for m in members]
    assert value.params["iid_floor"] == pytest.approx(fmean(floors), rel=1e-9)
    assert value.params["skipped_classes"] == 0


def test_wrong_classes_raise_it_where_the_distance_of_the_whole_sees_nothing(measure) -> None:
    ramp = [Painter(wrong=share) for share in (0.0, 0.5, 1.0)]
    within = [measure(fid_per_class, model).value for model in ramp]
    assert within == sorted(set(within))
    whole = [measure(fid, model).value for model in ramp]
    assert within[2] - within[0] > 10 * abs(whole[2] - whole[0])


def test_noise_raises_it(measure) -> None:
    ramp = [measure(fid_per_class, Painter(noise=s)).value for s in (0.0, 0.1, 0.3)]
    assert ramp == sorted(set(ramp))


def test_two_images_of_a_class_are_enough_and_one_is_skipped(measure) -> None:
    labels = torch.tensor([0, 0, 0, 1, 3, 3])
    few = RealImages(squares(labels, 4), labels, {}, "toy", "test", "9" * 64)
    value = measure(fid_per_class, reference=few)
    known = [distance is not None for distance in value.params["classes"]]
    assert known == [True, False, False, True]
    assert value.params["skipped_classes"] == 2
    assert value.params["rank_deficient"]
    alone = replace(few.first(2), labels=torch.tensor([0, 1]))
    with pytest.raises(UnavailableError, match="too_few_samples"):
        measure(fid_per_class, reference=alone)


def test_a_class_of_more_images_than_features_has_full_rank(measure) -> None:
    assert not measure(fid_per_class).params["rank_deficient"]

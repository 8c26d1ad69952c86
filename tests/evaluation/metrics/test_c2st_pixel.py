import pytest
import torch
from torch import Tensor

from evaluation.measuring.images import quantise
from evaluation.measuring.metric_classifier import halves, num_epochs
from evaluation.measuring.records import UnavailableError
from evaluation.metrics import c2st_pixel
from evaluation.metrics.c2st_pixel import held_out_scores
from evaluation.runner import FixedImages


@pytest.fixture
def on_pixels(make_context, make_pictures, reference):
    """The values of images against 400 real ones."""
    real = type(reference)(make_pictures(400, 1), None, {}, "toy", "test", "ab" * 32)

    def measure(images: Tensor) -> dict[str, c2st_pixel.Measurement]:
        return c2st_pixel.METRIC.compute(make_context(FixedImages(images), reference=real))

    return measure


def test_held_out_images_are_not_separable(on_pixels, make_pictures) -> None:
    for value in on_pixels(make_pictures(400, 5)).values():
        assert value.interval["low"] < 0.5 < value.interval["high"]
        assert value.params.get("p_value", 1) > 0.05


def test_stronger_noise_has_a_higher_accuracy(on_pixels, make_pictures, rng) -> None:
    real = make_pictures(400, 5)
    noise = torch.randn(real.shape, generator=rng)
    ramp = [on_pixels(quantise(real + s * noise)) for s in (0.0, 0.1, 0.2)]
    accuracies = [values["c2st_pixel"].value for values in ramp]
    assert accuracies == sorted(set(accuracies))
    assert ramp[-1]["c2st_pixel"].value > 0.9
    assert ramp[-1]["c2st_pixel_auroc"].value > 0.95
    assert ramp[-1]["c2st_pixel"].params["p_value"] < 1e-6


def test_missing_classes_raise_the_accuracy(on_pixels, make_pictures) -> None:
    ramp = [on_pixels(make_pictures(400, 5, k))["c2st_pixel"].value for k in (4, 2, 1)]
    assert ramp == sorted(set(ramp))


def test_half_of_the_images_are_held_out(on_pixels, make_pictures) -> None:
    values = on_pixels(make_pictures(400, 5))
    assert values["c2st_pixel"].params["train_images"] == 400
    assert values["c2st_pixel"].interval["count"] == 400
    assert values["c2st_pixel_auroc"].interval["count"] == 200
    fitted, tested = halves(7, torch.Generator().manual_seed(0))
    assert (len(fitted), len(tested)) == (3, 4)
    assert sorted(torch.cat([fitted, tested]).tolist()) == list(range(7))


def test_the_network_is_tested_on_images_outside_its_training_set(monkeypatch) -> None:
    used: dict[str, list[int]] = {"fitted": [], "tested": []}

    class Recorder:
        def logits(self, x: Tensor) -> Tensor:
            used["tested"] += x.flatten().int().tolist()
            return torch.zeros(len(x), 2)

    def train(images: Tensor, labels: Tensor, num_classes: int, seed: int) -> Recorder:
        used["fitted"] += images.flatten().int().tolist()
        assert torch.equal(labels, (images.flatten() >= 10).long())
        return Recorder()

    monkeypatch.setattr(c2st_pixel, "train_metric_classifier", train)
    real, fake = torch.arange(20.0).view(2, 10, 1, 1, 1)
    held_out_scores(real, fake, 0)
    assert len(used["fitted"]) == len(used["tested"]) == 10
    assert sorted(used["fitted"] + used["tested"]) == list(range(20))


def test_the_training_has_a_budget() -> None:
    assert [num_epochs(n) for n in (2, 30, 1000, 2000, 10_000, 20_000)] == [10, 10, 10, 5, 1, 1]


def test_a_network_repeats_with_its_seed(make_pictures) -> None:
    real, fake = make_pictures(60, 1), make_pictures(60, 2)
    one, again, other = (held_out_scores(real, fake, seed)[0] for seed in (3, 3, 4))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_equal_images_cannot_train_a_network() -> None:
    same = torch.zeros(20, 1, 12, 12)
    with pytest.raises(UnavailableError, match="judge_not_trainable"):
        held_out_scores(same, same, 0)

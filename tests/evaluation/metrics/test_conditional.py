"""Which labels a conditional model is told, and that no other model is told any."""

from dataclasses import replace

import pytest
import torch

from evaluation.measuring.context import Seeds
from evaluation.measuring.protocols import is_conditional
from evaluation.runner import Settings, evaluate, evaluate_images

SETTINGS = Settings(Seeds(train=3, sample=1, metric=2), max_samples=30, batch_size=16)


@pytest.fixture
def sets(reference, train, extractor):
    return {"reference": reference, "train": train, "extractors": [extractor]}


def told(model, method: str) -> torch.Tensor:
    return torch.cat(model.received_labels[method])


def test_samples_are_drawn_for_the_labels_of_the_reference_images(sets, make_conditional) -> None:
    model = make_conditional()
    evaluate(model, ["fid", "kid"], settings=SETTINGS, **sets)
    assert torch.equal(told(model, "sample"), sets["reference"].labels[:30])


@pytest.mark.parametrize(
    ("metric", "method"), [("mse", "reconstruct"), ("elbo", "rate_distortion")]
)
def test_images_are_encoded_with_their_own_labels(
    sets, make_conditional, metric: str, method: str
) -> None:
    model = make_conditional()
    evaluate(model, [metric], settings=SETTINGS, **sets)
    assert torch.equal(told(model, method), sets["reference"].labels[:30])


def test_generated_images_are_judged_with_the_labels_that_they_were_drawn_for(
    sets, make_conditional
) -> None:
    model = make_conditional()
    sets["train"] = sets["train"].first(20)  # fewer than the 30 reference images
    evaluate(model, ["discriminator"], settings=SETTINGS, **sets)
    assert torch.equal(told(model, "sample"), sets["reference"].labels[:30])
    train, test, fake = told(model, "discriminate").split(20)
    assert torch.equal(train, sets["train"].labels)
    assert torch.equal(test, sets["reference"].labels[:20])
    assert torch.equal(fake, told(model, "sample")[:20])


def test_a_model_that_listens_gives_images_of_the_labels(sets, make_conditional) -> None:
    class Listening(make_conditional):
        def sample(self, n, rng, labels):
            return (labels / 255).reshape(n, 1, 1, 1).expand(n, 1, 12, 12)

    samples = evaluate(Listening(), ["fid"], settings=SETTINGS, **sets).samples
    drawn = (samples[:, 0, 0, 0] * 255).round().long()
    expected = sets["reference"].labels[:30].bincount(minlength=4)
    assert drawn.bincount(minlength=4).tolist() == expected.tolist()


@pytest.mark.parametrize("value", [False, None, 0])
def test_a_model_that_is_not_conditional_is_told_nothing(sets, make_model, value) -> None:
    model = make_model()  # its methods take no labels
    model.conditional = value
    assert not is_conditional(model)
    records = evaluate(model, ["fid", "mse", "elbo", "discriminator"], settings=SETTINGS, **sets)
    assert all(record.reason is None for record in records.records)


def test_a_fixed_set_of_images_needs_no_labels(sets, make_pictures) -> None:
    sets["reference"] = replace(sets["reference"], labels=None)
    (fid,) = evaluate_images(make_pictures(30, 3), ["fid"], settings=SETTINGS, **sets).records
    assert fid.reason is None


def test_without_labels_a_conditional_model_has_no_samples(sets, make_conditional) -> None:
    sets["reference"] = replace(sets["reference"], labels=None)
    assert evaluate(make_conditional(), ["fid"], settings=SETTINGS, **sets).samples is None


def test_the_first_images_keep_their_labels(reference) -> None:
    assert torch.equal(reference.first(7).labels, reference.labels[:7])

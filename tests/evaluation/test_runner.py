from dataclasses import replace

import pytest
import torch

from evaluation.measuring.context import Seeds
from evaluation.metrics import load_metric
from evaluation.runner import FixedImages, Settings, evaluate, evaluate_images

SETTINGS = Settings(Seeds(train=3, sample=1, metric=2), max_samples=30, batch_size=16)


@pytest.fixture
def sets(reference, train, extractor):
    return {"reference": reference, "train": train, "extractors": [extractor]}


def test_a_record_identifies_its_data_extractor_and_seeds(model, sets) -> None:
    fid, mse = evaluate(model, ["fid", "mse"], settings=SETTINGS, **sets).records
    assert fid.name == "fid_classifier"
    assert (fid.n_real, fid.n_fake, mse.n_fake) == (30, 30, None)
    assert fid.reference == {"dataset": "toy", "split": "test", "sha256": "ab" * 32}
    assert fid.extractor == f"sha256:{sets['extractors'][0].sha256}"
    assert mse.extractor is None
    assert fid.seed == {"train": 3, "sample": 1, "metric": 2}
    assert (fid.higher_is_better, fid.ideal) == (False, 0)
    assert fid.params["mean_part"] + fid.params["covariance_part"] == pytest.approx(fid.value)
    assert fid.params["rank_deficient"] is False
    assert mse.interval["low"] < mse.value < mse.interval["high"]


def test_fewer_images_than_features_are_flagged(model, sets) -> None:
    settings = Settings(SETTINGS.seeds, max_samples=8)
    (fid,) = evaluate(model, ["fid"], settings=settings, **sets).records
    assert fid.params["rank_deficient"] is True


def test_the_model_samples_once_for_all_metrics_and_progress_is_reported(sets, make_model) -> None:
    class Counting(make_model):
        drawn = 0

        def sample(self, n, rng):
            self.drawn += n
            return super().sample(n, rng)

    model, reported = Counting(), []
    names = ["fid", "kid", "inception_score", "discriminator"]
    evaluation = evaluate(model, names, settings=SETTINGS, progress=reported.append, **sets)
    assert model.drawn == 30
    assert reported == names
    assert evaluation.samples.shape == (30, 1, 12, 12)


def test_samples_are_rounded_to_eight_bits(make_context, model) -> None:
    samples = make_context(model).samples
    assert torch.equal(samples, (samples * 255).round() / 255)


def test_a_sampling_seed_gives_the_samples(model, sets) -> None:
    one, two = (evaluate(model, ["fid"], settings=SETTINGS, **sets).samples for _ in range(2))
    other = Settings(Seeds(3, 9, 2), 30, 16)
    assert torch.equal(one, two)
    assert not torch.equal(one, evaluate(model, ["fid"], settings=other, **sets).samples)


def test_a_model_without_a_sampler_has_no_samples(sets) -> None:
    assert evaluate(object(), ["fid"], settings=SETTINGS, **sets).samples is None


def test_a_model_without_a_posterior_has_reconstructions_and_no_likelihood(sets) -> None:
    class Autoencoder:
        observation = "gaussian"

        def sample(self, n, rng):
            return torch.rand((n, 1, 12, 12), generator=rng)

        def reconstruct(self, x):
            return x

    names = ["fid", "mse", "elbo", "rate", "distortion", "bits_per_dim"]
    records = evaluate(Autoencoder(), names, settings=SETTINGS, **sets).records
    reasons = {record.name: record.reason for record in records}
    assert reasons.pop("fid_classifier") is reasons.pop("mse") is None
    assert set(reasons.values()) == {"not_supported"}


def test_images_of_another_shape_are_refused(sets) -> None:
    class Wrong:
        def sample(self, n, rng):
            return torch.zeros(n, 3, 12, 12)

    with pytest.raises(ValueError, match=r"Wrong.sample\(16\) returned shape \(16, 3, 12, 12\)"):
        evaluate(Wrong(), ["fid"], settings=SETTINGS, **sets)


@pytest.mark.parametrize(
    ("turn", "found"),
    [
        (lambda x: 2 * x - 1, r"torch.float32 in \[-0.\d+, 0.\d+\]"),
        (lambda x: 255 * x, r"torch.float32 in \[0.\d+, 2\d\d.\d\]"),
        (lambda x: (255 * x).byte(), r"torch.uint8 in \[0, 2\d\d\]"),
        (lambda x: x.index_fill(0, torch.tensor(0), torch.nan) + 1, r"torch.float32 in \[1, 2\]"),
    ],
)
def test_images_of_another_range_are_refused(sets, turn, found: str) -> None:
    class Wrong:
        def sample(self, n, rng):
            return turn(torch.rand(n, 1, 12, 12, generator=rng))

    with pytest.raises(ValueError, match=rf"Wrong.sample\(16\) returned {found}, expected floats"):
        evaluate(Wrong(), ["fid"], settings=SETTINGS, **sets)


def test_floating_point_error_beyond_the_range_is_accepted(sets) -> None:
    class Exact:
        def sample(self, n, rng):
            return torch.rand(n, 1, 12, 12, generator=rng).round()

    class Rounded(Exact):
        def sample(self, n, rng):
            return (super().sample(n, rng) - 0.5) * 1.001 + 0.5

    exact, rounded = (
        evaluate(model, ["fid"], settings=SETTINGS, **sets).records[0].value
        for model in (Exact(), Rounded())
    )
    assert exact == rounded


def test_stored_features_are_used_and_equal_fresh_ones(sets, model) -> None:
    reference, extractor = sets["reference"], sets["extractors"][0]
    fresh = evaluate(model, ["fid", "kid"], settings=SETTINGS, **sets).records
    sets["reference"] = replace(
        reference, features={extractor.sha256: extractor.features(reference.images)}
    )
    again = evaluate(model, ["fid", "kid"], settings=SETTINGS, **sets).records
    # Features of a slice and slices of features differ in the last bits of float32 at most.
    for one, two in zip(fresh, again, strict=True):
        assert one.value == pytest.approx(two.value, rel=1e-4)


def test_stored_features_that_are_not_finite_give_a_null_with_the_reason(sets, model) -> None:
    reference, extractor = sets["reference"], sets["extractors"][0]
    stored = extractor.features(reference.images)
    stored[3, 0] = torch.nan
    sets["reference"] = replace(reference, features={extractor.sha256: stored})
    records = evaluate(model, ["fid", "kid"], settings=SETTINGS, **sets).records
    assert {(r.value, r.reason) for r in records} == {(None, "non_finite_features")}


def test_fixed_images_are_returned_in_order(make_pictures, rng) -> None:
    images = make_pictures(7, 0)
    fixed = FixedImages(images)
    assert torch.equal(torch.cat([fixed.sample(4, rng), fixed.sample(3, rng)]), images)


def test_a_fixed_set_is_compared_at_equal_counts(sets, make_pictures) -> None:
    settings = Settings(Seeds(None, 0, 0), 1000, 16)
    images = make_pictures(25, 3)
    evaluation = evaluate_images(images, ["fid", "elbo"], settings=settings, **sets)
    fid, elbo = evaluation.records
    assert (fid.n_real, fid.n_fake, fid.seed["train"]) == (25, 25, None)
    assert torch.equal(evaluation.samples, images)
    assert elbo.reason == "not_supported"


def test_the_same_images_are_at_no_distance(sets) -> None:
    reference = sets["reference"]
    settings = Settings(Seeds(None, 0, 0), 1000)
    (fid,) = evaluate_images(reference.images, ["fid"], settings=settings, **sets).records
    assert fid.value == pytest.approx(0, abs=1e-8)


def test_all_values_of_a_metric_come_in_the_order_of_its_specs(sets, model) -> None:
    records = evaluate(model, ["discriminator"], settings=SETTINGS, **sets).records
    assert [r.name for r in records] == [spec.name for spec in load_metric("discriminator").values]


def test_a_value_is_the_mean_over_the_sets_of_samples(sets, model) -> None:
    three = Settings(SETTINGS.seeds, max_samples=30, sample_sets=3, batch_size=16)
    fid, mse = evaluate(model, ["fid", "mse"], settings=three, **sets).records
    singles = []
    for seed in (1, 2, 3):
        one = Settings(replace(SETTINGS.seeds, sample=seed), max_samples=30, batch_size=16)
        singles.append(evaluate(model, ["fid"], settings=one, **sets).records[0].value)
    assert fid.params["sample_sets"] == singles
    assert fid.value == pytest.approx(sum(singles) / 3, rel=1e-12)
    assert fid.params["sample_sets_sd"] == pytest.approx(torch.tensor(singles).std().item())
    # A metric without samples is computed once.
    assert "sample_sets" not in mse.params


def test_a_value_that_fails_on_one_set_is_null(sets, make_model) -> None:
    class Fickle(make_model):
        def sample(self, n, rng):
            broken = rng.initial_seed() == 2
            return super().sample(n, rng) * (torch.nan if broken else 1)

    two = Settings(SETTINGS.seeds, max_samples=30, sample_sets=2, batch_size=16)
    (fid,) = evaluate(Fickle(), ["fid"], settings=two, **sets).records
    assert (fid.value, fid.reason) == (None, "non_finite_samples")


def test_several_extractors_each_give_their_own_record(sets, model, make_extractor) -> None:
    other = make_extractor(seed=7)
    other.name = "other"
    sets["extractors"] = [*sets["extractors"], other]
    records = evaluate(model, ["fid", "mse"], settings=SETTINGS, **sets).records
    assert [record.name for record in records] == ["fid_classifier", "fid_other", "mse"]
    assert len({record.extractor for record in records}) == 3
    assert records[0].value != records[1].value


def test_replicas_of_the_first_extractor_stand_beside_its_value(
    sets, model, make_extractor
) -> None:
    replica = make_extractor(seed=7)
    given = evaluate(model, ["fid", "kid"], settings=SETTINGS, replicas=[replica], **sets).records
    sets["extractors"] = [replica]
    (alone,) = evaluate(model, ["fid"], settings=SETTINGS, **sets).records
    assert given[0].params["replicas"] == [alone.value]
    assert given[0].value != alone.value
    assert "replicas" not in given[1].params

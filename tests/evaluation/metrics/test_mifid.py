import pytest
import torch

from evaluation.metrics.mifid import METRIC, cosine_distance


def directions(rng, n: int, d: int = 8) -> torch.Tensor:
    return torch.randn(n, d, generator=rng, dtype=torch.float64)


def test_the_distance_is_a_mean_over_the_generated_features_and_not_over_the_others(rng) -> None:
    """Half of the generated features are copies: their distance is half of what the rest have."""
    train = directions(rng, 60)
    new = directions(rng, 20)
    half = torch.cat([train[:20], new])
    assert cosine_distance(half, train) == pytest.approx(cosine_distance(new, train) / 2, abs=1e-12)
    # The other way round most training features have no copy: a larger mean, another number.
    assert cosine_distance(half, train) < 0.7 * cosine_distance(train, half)


def test_it_is_that_of_torchmetrics_with_its_arguments_swapped(rng) -> None:
    from torchmetrics.image.mifid import _compute_cosine_distance

    generated, train = directions(rng, 30, 3), directions(rng, 90, 3)
    peer = _compute_cosine_distance(generated, train, cosine_distance_eps=2.0).item()
    assert cosine_distance(generated, train) == pytest.approx(peer, rel=1e-12)


def test_lengths_play_no_part_and_a_feature_without_one_is_far_from_all(rng) -> None:
    train = directions(rng, 10)
    assert cosine_distance(3 * train, train) == pytest.approx(0, abs=1e-12)
    assert cosine_distance(torch.zeros(2, 8), train) == 1


def test_copies_cost_more_than_new_images_of_the_same_quality(
    make_context, model, train, make_pictures
) -> None:
    from evaluation.runner import FixedImages

    values = {
        name: METRIC.compute(make_context(FixedImages(images)))["mifid_{extractor}"].value
        for name, images in (("copies", train.images[:40]), ("new", make_pictures(40, 11)))
    }
    assert values["copies"] > 100 * values["new"]

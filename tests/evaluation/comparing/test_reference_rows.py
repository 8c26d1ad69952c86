import pytest
import torch

from evaluation.comparing import reference_rows
from evaluation.comparing.reference_rows import ROWS, Sources, broken_pairs, make
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError

ORDERED = {
    "held_out": 1.0,
    "train_copies": 1.1,
    "mild_noise": 3.0,
    "strong_noise": 30.0,
    "blur": 20.0,
    "mode_drop_light": 4.0,
    "mode_drop_heavy": 25.0,
    "prototypes": 24.0,
    "pca_gaussian": 50.0,
    "mean_image": 160.0,
    "uniform_noise": 150.0,
}


@pytest.fixture
def sources(valid, train) -> Sources:
    return Sources(valid, train, 40)


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_as_many_8_bit_images_as_asked_for_and_says_what_it_is(
    name: str, sources
) -> None:
    images, labels = make(name, sources, seed=0)
    assert images.shape == (40, 1, 12, 12)
    assert labels is None or labels.shape == (40,)
    assert torch.equal(images, (images * 255).round() / 255)
    assert images.min() >= 0
    assert images.max() <= 1
    assert reference_rows.MEANING[name]


@pytest.mark.parametrize("name", ROWS)
def test_a_seed_gives_a_row_and_leaves_the_global_state_alone(name: str, sources) -> None:
    before = torch.get_rng_state()
    assert torch.equal(make(name, sources, 3)[0], make(name, sources, 3)[0])
    assert torch.equal(torch.get_rng_state(), before)


def test_held_out_images_are_the_first_ones_and_copies_are_training_images(
    sources, valid, train
) -> None:
    assert torch.equal(make("held_out", sources, 0)[0], valid.images[:40])
    copies, labels = make("train_copies", sources, 0)
    same = (copies[:, None] == train.images[None]).flatten(2).all(2)
    assert (same.sum(1) >= 1).all()
    assert len(copies.unique(dim=0)) == len(copies)
    assert torch.equal(labels, train.labels[same.int().argmax(1)])


def labels_of(images: torch.Tensor, real: RealImages) -> set[int]:
    same = (images[:, None] == real.images[None]).flatten(2).all(2)
    return set(real.labels[same.int().argmax(1)].tolist())


def test_dropped_classes_are_gone_and_the_others_are_repeated(sources, valid) -> None:
    base = valid.first(40)
    assert len(base.labels.unique()) == 4
    for row, kept in (("mode_drop_light", 3), ("mode_drop_heavy", 2)):
        images, labels = make(row, sources, 0)
        assert labels_of(images, base) == set(labels.tolist())
        assert len(labels.unique()) == kept


def test_a_blur_and_a_mean_have_a_closed_form(sources, train) -> None:
    flat = RealImages(torch.full((40, 1, 12, 12), 0.4), None, {}, "flat", "valid", "0" * 64)
    same, _ = make("blur", Sources(flat, train, 40), 0)
    assert torch.equal(same, (flat.images * 255).round() / 255)
    dot = flat.images.clone().zero_()
    dot[:, :, 6, 6] = 1.0
    spot = RealImages(dot, None, {}, "dot", "valid", "0" * 64)
    blurred = make("blur", Sources(spot, train, 40), 0)[0][0, 0]
    assert blurred[6, 6].item() == pytest.approx(0.25, abs=1 / 255)
    assert blurred[6, 5].item() == pytest.approx(0.125, abs=1 / 255)
    assert blurred[5, 5].item() == pytest.approx(1 / 16, abs=1 / 255)
    mean, _ = make("mean_image", sources, 0)
    assert torch.allclose(mean[7], train.images.mean(0), atol=1 / 255)


def test_a_gaussian_of_all_components_has_the_moments_of_the_training_images(train) -> None:
    # Small variances around 0.5: nothing is clamped, rounding adds 1e-6.
    rng = torch.Generator().manual_seed(0)
    images = 0.5 + 0.05 * torch.randn((400, 1, 8, 8), generator=rng).cumsum(-1) / 3
    real = RealImages(images, None, {}, "toy", "train", "0" * 64)
    drawn = make("pca_gaussian", Sources(real, real, 4000), 0)[0].flatten(1).double()
    assert torch.allclose(drawn.mean(0), images.flatten(1).double().mean(0), atol=0.005)
    total = drawn.var(0).sum() / images.flatten(1).double().var(0).sum()
    assert 0.95 < total < 1.02  # 50 of 64 components


def test_rows_that_the_data_cannot_give_say_why(train, valid) -> None:
    few = Sources(valid, train, 55)  # more than the 50 held-out images, fewer than 60 for training
    with pytest.raises(UnavailableError, match="fewer_held_out_images"):
        make("held_out", few, 0)
    with pytest.raises(UnavailableError, match="fewer_held_out_images"):
        make("mode_drop_light", few, 0)
    assert len(make("train_copies", few, 0)[0]) == 55
    with pytest.raises(UnavailableError, match="fewer_images_than_the_reference"):
        make("train_copies", Sources(valid, train, 61), 0)
    bare = RealImages(train.images, None, {}, "toy", "train", "0" * 64)
    for name in ("mode_drop_light", "prototypes"):
        with pytest.raises(UnavailableError, match="no_labels"):
            make(name, Sources(bare, bare, 40), 0)


def test_the_expected_order_breaks_no_rule_in_either_direction() -> None:
    assert broken_pairs(ORDERED, higher_is_better=False) == []
    assert broken_pairs({k: -v for k, v in ORDERED.items()}, higher_is_better=True) == []


@pytest.mark.parametrize(
    ("row", "value", "pair"),
    [
        ("mild_noise", 0.9, ("held_out", "mild_noise")),
        ("mild_noise", 1.0, ("held_out", "mild_noise")),  # a tie says nothing either
        ("strong_noise", 2.0, ("mild_noise", "strong_noise")),
        ("mode_drop_heavy", 3.5, ("mode_drop_light", "mode_drop_heavy")),
        ("blur", 0.5, ("held_out", "blur")),
        ("prototypes", 0.5, ("held_out", "prototypes")),
        ("pca_gaussian", 155.0, ("pca_gaussian", "uniform_noise")),
        ("mean_image", 10.0, ("blur", "mean_image")),
    ],
)
def test_every_rule_can_be_broken(row: str, value: float, pair: tuple[str, str]) -> None:
    assert pair in broken_pairs(ORDERED | {row: value}, higher_is_better=False)


def test_the_two_worst_rows_and_the_copies_have_no_fixed_order() -> None:
    swapped = ORDERED | {"mean_image": 150.0, "uniform_noise": 160.0, "train_copies": 0.0}
    assert broken_pairs(swapped, higher_is_better=False) == []


def test_rows_without_a_value_are_not_compared() -> None:
    assert broken_pairs(ORDERED | {"held_out": None, "mild_noise": 0.0}, False) == []
    assert broken_pairs(dict.fromkeys(ORDERED), False) == []


def test_copies_of_training_images_have_to_come_last_in_novelty() -> None:
    shares = dict.fromkeys(ORDERED, 0.01) | {"train_copies": 1.0, "prototypes": 1.0}
    assert broken_pairs(shares, higher_is_better=False, order="novelty") == []
    blind = shares | {"train_copies": 0.01}
    broken = broken_pairs(blind, higher_is_better=False, order="novelty")
    assert ("held_out", "train_copies") in broken
    assert all(worse == "train_copies" for _, worse in broken)

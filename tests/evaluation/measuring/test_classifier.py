import dataclasses
import json

import pytest
import torch
from torch import Tensor

from evaluation.measuring.classifier import ClassifierSettings, describe, shifted, train_classifier
from evaluation.measuring.moments import total_variance

SETTINGS = ClassifierSettings(
    width=4,
    num_features=8,
    epochs=6,
    batch_size=16,
    learning_rate=0.01,
    weight_decay=0.01,
    max_shift=1,
)


def labelled(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Bright squares in one of four corners."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(4, (n,), generator=rng)
    images = 0.3 * torch.rand((n, 1, 12, 12), generator=rng)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = 7 * (label // 2), 7 * (label % 2)
        image[:, row : row + 4, column : column + 4] += 0.6
    return images, labels


@pytest.fixture(scope="module")
def trained():
    losses = []
    extractor = train_classifier(
        *labelled(200, 0), 4, SETTINGS, 0, lambda epoch, loss: losses.append((epoch, loss))
    )
    return extractor, losses


def test_it_learns_and_reports_every_epoch(trained) -> None:
    extractor, losses = trained
    images, labels = labelled(100, 1)
    assert (extractor.logits(images).argmax(1) == labels).float().mean() > 0.95
    assert [epoch for epoch, _ in losses] == [1, 2, 3, 4, 5, 6]
    assert losses[-1][1] < 0.5 * losses[0][1]


def test_the_train_features_have_a_total_variance_of_one_hundred(trained) -> None:
    extractor, _ = trained
    features = extractor.features(labelled(200, 0)[0])
    assert total_variance(features) == pytest.approx(100, rel=1e-5)


def test_a_seed_gives_the_weights_and_the_global_state_is_left_alone(trained) -> None:
    before = torch.get_rng_state()
    again = train_classifier(*labelled(200, 0), 4, SETTINGS, 0)
    other = train_classifier(*labelled(200, 0), 4, dataclasses.replace(SETTINGS, epochs=1), 1)
    assert torch.equal(torch.get_rng_state(), before)
    assert again.sha256 == trained[0].sha256
    assert other.sha256 != trained[0].sha256


def test_a_training_that_diverges_is_refused_in_one_line() -> None:
    wild = dataclasses.replace(SETTINGS, learning_rate=1e30)
    with pytest.raises(ValueError, match="diverged in epoch"):
        train_classifier(*labelled(50, 0), 4, wild, 0)


def test_shifts_move_whole_images_and_repeat_the_border(rng) -> None:
    x = torch.rand((50, 2, 6, 5), generator=rng)
    moved = shifted(x, 2, rng)
    assert moved.shape == x.shape
    for image, other in zip(x, moved, strict=True):
        padded = torch.nn.functional.pad(image[None], [2] * 4, mode="replicate")[0]
        found = [
            torch.equal(padded[:, i : i + 6, j : j + 5], other) for i in range(5) for j in range(5)
        ]
        assert any(found)
    assert not torch.equal(moved, x)
    assert shifted(x, 0, rng) is x


def test_the_card_is_json_and_counts_every_test_image(trained) -> None:
    extractor, _ = trained
    splits = {
        name: labelled(n, seed)
        for seed, (name, n) in enumerate({"train": 200, "valid": 30, "test": 50}.items())
    }
    features = {name: extractor.features(images) for name, (images, _) in splits.items()}
    card = describe(extractor, splits, features, SETTINGS, seed=0)
    assert json.loads(json.dumps(card, allow_nan=False)) == card
    assert card["extractor"] == f"sha256:{extractor.sha256}"
    matrix = torch.tensor(card["confusion_matrix"])
    assert matrix.sum() == 50
    assert matrix.sum(1).tolist() == splits["test"][1].bincount(minlength=4).tolist()
    assert card["accuracy"]["test"] == pytest.approx(matrix.trace().item() / 50)
    assert card["trace"]["train"] == pytest.approx(100, rel=1e-5)
    assert 1 <= card["effective_rank"] <= 8
    assert card["dead_units"] == 0


def test_a_unit_that_never_moves_is_counted_as_dead(trained) -> None:
    extractor, _ = trained
    splits = {name: labelled(40, 0) for name in ("train", "test")}
    features = {name: extractor.features(images) for name, (images, _) in splits.items()}
    features["train"][:, 3] = 0.5
    assert describe(extractor, splits, features, SETTINGS, seed=0)["dead_units"] == 1

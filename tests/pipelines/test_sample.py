import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.figures import grids
from pipelines import sample
from pipelines.settings import paths
from tests.pipelines import tiny_model as trained
from tests.pipelines.tiny_model import first_seed, preset_of, write_params


@pytest.fixture
def checkout_with(checkout, monkeypatch):
    return trained.in_another_folder(checkout, monkeypatch)


def run(monkeypatch, *arguments):
    trained.run(sample.main, monkeypatch, *arguments)


def refused(monkeypatch, *arguments):
    return trained.refused(sample.main, monkeypatch, *arguments)


def pixels(path):
    with Image.open(path) as opened:
        return np.asarray(opened)


def test_the_picture_holds_the_samples_of_the_seed(checkout_with, monkeypatch, capsys, tmp_path):
    model = checkout_with("vae")
    run(monkeypatch, "vae", "--num", "9", "--seed", "3", "--out", "grid.png")
    expected = grids.image_grid(model.sample(9, torch.Generator().manual_seed(3)), 3)
    assert np.array_equal(pixels("grid.png"), np.asarray(expected))
    out = capsys.readouterr().out
    seed = first_seed()
    assert out == f"grid.png: 9 samples of vae (training seed {seed}), drawn with seed 3\n"


def test_without_options_it_is_64_samples_in_this_folder(checkout_with, monkeypatch):
    model = checkout_with("vae")
    run(monkeypatch, "vae")
    expected = grids.image_grid(model.sample(64, torch.Generator().manual_seed(0)), 8)
    assert np.array_equal(pixels("samples.png"), np.asarray(expected))


@pytest.mark.parametrize("kind", ["gan", "autoencoder", "vq_vae"])
def test_every_family_samples(checkout_with, monkeypatch, kind):
    checkout_with(preset_of(kind))
    run(monkeypatch, preset_of(kind), "--num", "5")
    assert pixels("samples.png").shape == (2 * (2 * 13 - 1), 2 * (3 * 13 - 1))


def test_another_training_seed_is_another_model(checkout_with, monkeypatch):
    checkout_with("vae", seed=11)
    run(monkeypatch, "vae", "--training-seed", "11")
    message = refused(monkeypatch, "vae")
    wanted = f"vae was not trained with seed {first_seed()} but with 11; choose one with"
    assert wanted in message


def test_a_conditional_model_shows_a_class_a_column_or_the_wanted_one(checkout_with, monkeypatch):
    model = checkout_with("conditional_vae")
    run(monkeypatch, "conditional_vae", "--num", "20", "--out", "all.png")
    rng = torch.Generator().manual_seed(0)
    expected = grids.image_grid(model.sample(20, rng, torch.arange(20) % 10), 10)
    assert np.array_equal(pixels("all.png"), np.asarray(expected))
    run(monkeypatch, "conditional_vae", "--num", "4", "--class", "7", "--out", "sevens.png")
    rng = torch.Generator().manual_seed(0)
    expected = grids.image_grid(model.sample(4, rng, torch.full((4,), 7)), 2)
    assert np.array_equal(pixels("sevens.png"), np.asarray(expected))


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["vae", "--class", "3"], "is not conditional"),
        (["vae", "--out", "grid.jpg"], "--out grid.jpg: the name of the file has to end in .png"),
        (["vae", "--out", "folder.png"], "--out: folder.png: a folder"),
        (["vae", "--out", "a_file/x.png"], "--out: a_file/x.png: a_file is a file"),
        (["vea"], "vea: no such model or alias, did you mean 'vae'?"),
        (["champoin"], "did you mean 'champion'?"),
        (["champion", "--training-seed", "1"], "alias 'champion' names one training"),
    ],
)
def test_a_mistake_is_one_line_and_no_file(checkout_with, monkeypatch, tmp_path, arguments, told):
    checkout_with("vae")
    here = tmp_path / "elsewhere"
    (here / "folder.png").mkdir()
    (here / "a_file").touch()
    assert told in refused(monkeypatch, *arguments)
    assert {path.name for path in here.iterdir()} == {"folder.png", "a_file"}


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [("--num", "0", "1 to 10,000"), ("--num", "10001", "1 to 10,000"), ("--seed", "-1", "0 to 9,")],
)
def test_a_number_out_of_range_is_refused_with_the_range(capsys, option, value, allowed):
    with pytest.raises(SystemExit) as ended:
        sample.parse(["vae", option, value])
    assert ended.value.code == 2
    line = f"error: argument {option}: '{value}': expected a whole number, {allowed}"
    assert line in capsys.readouterr().err


@pytest.mark.parametrize("wanted", ["-1", "10"])
def test_a_class_that_there_is_not_is_refused(checkout_with, monkeypatch, wanted):
    checkout_with("conditional_vae")
    message = refused(monkeypatch, "conditional_vae", "--class", wanted)
    assert f"--class {wanted}: the classes of conditional_vae" in message
    assert message.endswith("are 0 to 9")


def test_a_model_that_was_not_trained_is_told_with_the_command_that_does(checkout, monkeypatch):
    write_params()
    seed = first_seed()
    message = refused(monkeypatch, "vae")
    assert f"outputs/train/vae/{seed}/weights.safetensors: no such file" in message
    assert "; `dvc repro train@vae` makes it" in message
    # DVC knows the selected ones alone.
    assert "`genmodels train vae_2d` makes it" in refused(monkeypatch, "vae_2d")


def test_damaged_weights_are_refused_in_one_line(checkout_with, monkeypatch):
    checkout_with("vae")
    path = paths.TRAIN / "vae" / str(first_seed()) / "weights.safetensors"
    path.write_bytes(b"damaged")
    message = refused(monkeypatch, "vae")
    assert str(path) in message
    assert "`dvc repro train@vae` makes it again" in message


def test_the_help_shows_examples(capsys):
    with pytest.raises(SystemExit):
        sample.parse(["--help"])
    text = capsys.readouterr().out
    for word in ("examples:", "champion", "--training-seed", "--class", "--num", "--seed", "--out"):
        assert word in text

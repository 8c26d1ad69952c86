import json

import pytest
import torch

from genmodels.base.model import Images
from genmodels.training.loop import LoopSettings, Trainer
from pipelines.data import tensor_file
from pipelines.settings.errors import UserError
from pipelines.settings.sections import Train
from pipelines.training.one_run import Training, write_seed
from pipelines.training.weights import (
    CONFIG,
    SNAPSHOTS,
    WEIGHTS,
    read_model,
    read_snapshots,
    write_model,
)
from tests.conftest import NUM_CLASSES, presets, small, small_model

CARD = {"model": "vae", "family": "vae", "seed": 0}


TRAIN = Train(device="cpu", precision="fp32", threads=1, num_snapshots=2, snapshot_images=4)


def same_bits(one, two):
    return one.dtype == two.dtype and one.shape == two.shape and torch.equal(one, two)


@pytest.mark.parametrize("name", list(presets()))
def test_a_trained_model_of_every_preset_is_equal_bit_for_bit_after_reading(name, images, tmp_path):
    entry = small(presets()[name]) | {"num_steps": 3}
    labelled = Images(images, torch.arange(len(images)) % NUM_CLASSES)
    train, valid = labelled.at(slice(48)), labelled.at(slice(48, None))
    settings = LoopSettings(0, precision="fp32", num_snapshots=2, snapshot_images=4)
    trainer = Trainer(small_model(entry), train, valid, settings)
    trainer.run()
    training = Training(name, entry, 0, TRAIN, None, tmp_path, tmp_path / "checkpoint.pt", "here")
    write_seed(tmp_path, training, trainer)
    loaded = read_model(tmp_path, "a command")
    state, expected = loaded.state_dict(), trainer.model.state_dict()
    assert list(state) == list(expected)
    assert all(same_bits(state[key], expected[key]) for key in expected)
    assert not loaded.training
    labels = torch.arange(5) if loaded.conditional else None
    one, two = (
        model.sample(5, torch.Generator().manual_seed(1), labels)
        for model in (loaded, trainer.model)
    )
    assert torch.equal(one, two)
    snapshots = read_snapshots(tmp_path, "a command")
    assert list(snapshots) == list(trainer.snapshots) == [2, 3]
    assert all(same_bits(snapshots[step], trainer.snapshots[step]) for step in snapshots)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["settings"] == entry
    assert config["model"] == name
    assert config["train"] == TRAIN.model_dump()
    first = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(first) == {WEIGHTS, CONFIG, SNAPSHOTS, "history.csv"}
    write_seed(tmp_path, training, trainer)
    assert first == {path.name: path.read_bytes() for path in tmp_path.iterdir()}


@pytest.fixture
def folder(tmp_path):
    model = small_model(presets()["vae"])
    write_model(tmp_path, model, model.config.model_dump(), CARD)
    return tmp_path


def error_of(folder):
    with pytest.raises(UserError) as error:
        read_model(folder, "a command")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG])
def test_an_error_names_a_missing_file_and_the_command_that_makes_it(folder, file):
    (folder / file).unlink()
    assert error_of(folder) == f"{folder / file}: no such file; `a command` makes it"


@pytest.mark.parametrize("file", [WEIGHTS, CONFIG])
def test_a_file_that_was_cut_off_is_refused(folder, file):
    (folder / file).write_bytes((folder / file).read_bytes()[:-9])
    message = error_of(folder)
    assert message.startswith(f"{folder / file}: not ")
    assert message.endswith("; `a command` makes it again")


@pytest.mark.parametrize(
    ("key", "value", "file"),
    [
        ("latent_dim", 5, WEIGHTS),
        ("unknown", 1, CONFIG),
        ("kind", "no_kind", CONFIG),
        ("beta", None, CONFIG),
    ],
)
def test_settings_of_another_version_are_refused(folder, key, value, file):
    config = json.loads((folder / CONFIG).read_text())
    config["settings"][key] = value
    (folder / CONFIG).write_text(json.dumps(config))
    assert error_of(folder).startswith(f"{folder / file}: a model of another version of the code")


@pytest.mark.parametrize("content", [{}, [], None, {"settings": {}, "image_shape": 1}])
def test_another_config_is_refused(folder, content):
    (folder / CONFIG).write_text(json.dumps(content))
    assert error_of(folder).startswith(f"{folder / CONFIG}: a model of another version of the code")


def test_weights_of_other_names_or_shapes_are_refused(folder):
    tensors, _ = tensor_file.read(folder / WEIGHTS, "a command")
    name, tensor = tensors.popitem()
    changes = {name: tensor[..., None].repeat_interleave(2, -1)}, {"old_name": tensor}, {}
    for changed in changes:
        tensor_file.write(folder / WEIGHTS, tensors | changed)
        message = error_of(folder)
        assert message.startswith(f"{folder / WEIGHTS}: a model of another version of the code")


def test_snapshots_that_are_missing_or_damaged_are_refused(folder):
    with pytest.raises(UserError, match=r"snapshots.safetensors: no such file; `a command` makes"):
        read_snapshots(folder, "a command")
    (folder / SNAPSHOTS).write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"not a readable safetensors file .*`a command` makes it"):
        read_snapshots(folder, "a command")

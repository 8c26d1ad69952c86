"""Trained models as `train` leaves them, without a training."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from genmodels.base.model import GenerativeModel
from pipelines.settings import params, paths
from pipelines.training.weights import write_model
from tests.conftest import presets, small_model

SHIPPED = paths.PARAMS


def preset_of(kind: str) -> str:
    """The first entry of a kind that is told no classes."""
    return next(n for n, e in presets().items() if e["kind"] == kind and not e["conditional"])


def write_params() -> None:
    """Gives the checkout of the test the shipped params.yaml, with `vae` alone selected."""
    settings = params.load(SHIPPED).model_dump() | {"selected": {"vae": "vae"}}
    paths.PARAMS.write_text(json.dumps(settings))  # JSON is YAML


def first_seed() -> int:
    """The training seed that a command takes by itself."""
    return params.load().seeds[0]


def save_trained(name: str, model: GenerativeModel, seed: int) -> None:
    """Puts a model where `train` puts the entry of that name."""
    card = {"model": name, "family": model.family, "seed": seed}
    write_model(paths.TRAIN / name / str(seed), model, model.config.model_dump(), card)


def in_another_folder(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., GenerativeModel]:
    """Leaves the checkout; returns what trains, so to speak, a small variant of a preset."""
    write_params()
    elsewhere = checkout / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)

    def train(name: str, seed: int | None = None) -> GenerativeModel:
        model = small_model(presets()[name])
        save_trained(name, model, first_seed() if seed is None else seed)
        return model

    return train


def run(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Runs a command."""
    monkeypatch.setattr("sys.argv", ["command", *arguments])
    main()


def refused(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """The one line with which a command ends."""
    with pytest.raises(SystemExit) as error:
        run(main, monkeypatch, *arguments)
    message = str(error.value.code)
    assert message.startswith("error: ")
    assert "\n" not in message
    return message

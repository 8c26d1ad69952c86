"""The argument `model` of a command: the name of a trained model or an alias of the registry."""

import argparse
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from evaluation.figures import grids
from genmodels.base.model import GenerativeModel
from pipelines.settings import files, params, paths
from pipelines.settings.errors import UserError
from pipelines.settings.params import Params
from pipelines.settings.refusals import suggest
from pipelines.tracking import mlmodel, registry
from pipelines.tracking.store import open_store
from pipelines.training.weights import MADE_BY, WEIGHTS, read_model


class TrainedModel(NamedTuple):
    """A trained model in evaluation mode, on the CPU; its name and training seed, for messages."""

    model: GenerativeModel
    title: str


def add_arguments(parser: argparse.ArgumentParser, *, label: str, out: str) -> None:
    """Adds `model`, `--training-seed`, `--class` (help: `label`) and `--out` (default: `out`)."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="trained model: a key of models: in params.yaml, or an alias of the registry: "
        f"{', '.join(registry.ALIASES)}",
    )
    parser.add_argument(
        "--training-seed",
        type=int,
        metavar="N",
        help="training seed of the model (default: the first of seeds: in params.yaml); not with "
        "an alias, which names one training",
    )
    parser.add_argument("--class", dest="label", type=int, metavar="K", help=label)
    parser.add_argument(
        "--out",
        default=out,
        metavar="FILE.png",
        help="PNG file, which is replaced if it exists (default: %(default)s)",
    )


def load(name: str, training_seed: int | None = None) -> TrainedModel:
    """Reads the training of a key of `models:` (default: the first of `seeds:`) or of an alias.

    Raises:
        UserError: There is no such model, it was not trained, or its files cannot be used.
    """
    settings = params.load()
    if name in settings.models:
        return _of_preset(name, settings, training_seed)
    if name not in registry.ALIASES:
        names = [*settings.models, *registry.ALIASES]
        raise UserError(
            f"{name}: no such model or alias{suggest(name, names)}; there are {', '.join(names)}"
        )
    if training_seed is not None:
        raise UserError(
            f"--training-seed {training_seed}: alias {name!r} names one training; remove the "
            "option, or use the name of a model"
        )
    return _of_alias(name)


def _of_preset(name: str, settings: Params, training_seed: int | None) -> TrainedModel:
    seed = settings.seeds[0] if training_seed is None else training_seed
    folder = paths.TRAIN / name
    trained = [path.parent.name for path in folder.glob(f"[0-9]*/{WEIGHTS}")]
    if trained and str(seed) not in trained:
        there = ", ".join(sorted(trained, key=int))
        raise UserError(
            f"{name} was not trained with seed {seed} but with {there}; choose one with "
            "--training-seed"
        )
    is_stage = name in settings.selected
    made_by = f"{MADE_BY} train@{name}" if is_stage else f"genmodels train {name}"
    return TrainedModel(read_model(folder / str(seed), made_by), f"{name} (training seed {seed})")


def _of_alias(alias: str) -> TrainedModel:
    store = open_store()
    found = registry.find(store, alias)
    if not store.is_on:
        raise UserError(f"alias {alias!r}: the registry cannot be read; use the name of a model")
    if found is None:
        raise UserError(f"no alias {alias!r} in the registry; `make publish` sets it")
    version, folder = found
    tags, number = version.tags, version.version
    if folder is None or not mlmodel.FILES.keys() <= tags.keys():
        missing = "weights" if folder is None else "SHA-256"
        raise UserError(
            f"alias {alias!r}: version {number} has no {missing} in the registry; "
            "`make publish` writes it, or moves the alias"
        )
    remedy = f"delete its run {version.run_id} in MLflow, and `make publish` creates it again"
    mlmodel.check(folder, tags, f"alias {alias!r}, version {number}", remedy)
    title = f"{alias}: {tags.get('model', '')} (training seed {tags.get('seed', '')})"
    return TrainedModel(read_model(folder, "make publish"), title)


def labels(trained: TrainedModel, wanted: int | None, num: int) -> Tensor | None:
    """The option --class as (num,) labels; None without a class.

    Raises:
        UserError: The model is not conditional, or has no such class.
    """
    if wanted is None:
        return None
    if not trained.model.conditional:
        raise UserError(
            f"--class {wanted}: {trained.title} is not conditional; use a model with "
            "conditional: true in params.yaml"
        )
    if not 0 <= wanted < trained.model.num_classes:
        last = trained.model.num_classes - 1
        raise UserError(f"--class {wanted}: the classes of {trained.title} are 0 to {last}")
    return torch.full((num,), wanted)


def output(path: str) -> Path:
    """The option --out, checked before anything is computed.

    Raises:
        UserError: It does not end in .png, is a folder, or lies below a file.
    """
    if Path(path).suffix.lower() != ".png":
        raise UserError(f"--out {path}: the name of the file has to end in .png")
    return files.out_file(path, "--out")


def write(picture: Image.Image, path: Path) -> None:
    """Writes the picture of the option --out.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        grids.save_png(picture, path)
    except OSError as error:
        raise UserError(f"--out {path}: {error.strerror or error}") from None

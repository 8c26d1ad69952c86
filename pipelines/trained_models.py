"""What the argument `model` of a command names: a preset that was trained, or a registry alias."""

import argparse
import difflib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from genmodels.base import GenerativeModel
from pipelines import fingerprint, params, paths, tracking
from pipelines.errors import UserError
from pipelines.evaluate import MADE_BY, read_model
from pipelines.params import Params

ARGUMENT_HELP = (
    "a key of models: in params.yaml that was trained, or an alias of the registry: "
    f"{', '.join(tracking.ALIASES)}"
)


@dataclass(frozen=True)
class Trained:
    """A trained model.

    Attributes:
        model: In evaluation mode, on the CPU.
        title: Which it is, for people.
    """

    model: GenerativeModel
    title: str


def add_arguments(parser: argparse.ArgumentParser, *, label: str, out: str) -> None:
    """Adds what the commands share: `model`, `--training-seed`, `--class` and `--out`.

    Args:
        parser: Of a command that makes one picture with a trained model.
        label: The help of `--class`.
        out: The default of `--out`.
    """
    parser.add_argument("model", help=ARGUMENT_HELP)
    parser.add_argument(
        "--training-seed",
        type=int,
        metavar="N",
        help="of which training of the model (default: the first of seeds: in params.yaml); an "
        "alias names one training",
    )
    parser.add_argument("--class", dest="label", type=int, metavar="K", help=label)
    parser.add_argument(
        "--out",
        default=out,
        metavar="FILE.png",
        help="where the picture goes; one of that name is replaced (default: %(default)s)",
    )


def load(name: str, training_seed: int | None) -> Trained:
    """Reads a trained model.

    Args:
        name: A key of `models:` or an alias of the registry.
        training_seed: None for the first of `seeds:`.

    Raises:
        UserError: There is no such model, it was not trained, or its file is of no use.
    """
    settings = params.load()
    if name in settings.models:
        return _of_preset(name, settings, training_seed)
    if name not in tracking.ALIASES:
        names = [*settings.models, *tracking.ALIASES]
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise UserError(f"{name}: no such model or alias{hint}; there are {', '.join(names)}")
    if training_seed is not None:
        raise UserError(
            f"--training-seed {training_seed}: alias {name!r} names one training; "
            "leave it out, or name a model"
        )
    return _of_alias(name, settings)


def _of_preset(name: str, settings: Params, training_seed: int | None) -> Trained:
    seed = settings.seeds[0] if training_seed is None else training_seed
    folder = paths.TRAIN / name
    trained = [path.parent.name for path in folder.glob("[0-9]*/weights.pt")]
    if trained and str(seed) not in trained:
        there = ", ".join(sorted(trained, key=int))
        raise UserError(
            f"{name} was not trained with seed {seed} but with {there}: choose with --training-seed"
        )
    return Trained(_read(folder / str(seed), _made_by(name, settings)), _title(name, seed))


def _of_alias(alias: str, settings: Params) -> Trained:
    store = tracking.open_store()
    found = store.registered(alias)
    if not store.is_on:
        raise UserError(f"alias {alias!r}: the registry does not answer; name a model instead")
    if found is None:
        raise UserError(f"no alias {alias!r} in the registry; name a preset instead")
    name, seed = found.tags.get("model", ""), found.tags.get("seed", "")
    title = f"{alias}: {_title(name, seed)}"
    if found.weights is not None:
        return Trained(_read(found.weights.parent, "make publish"), title)
    # Without weights of its own the version is the local training, if that is still the same one.
    if name not in settings.models or found.tags.get("fingerprint") != _local(name, seed):
        raise UserError(
            f"alias {alias!r}: version {found.version}, {_title(name, seed)}, has no weights in "
            "the registry and is not the training in outputs/; `make publish` moves the alias"
        )
    return Trained(_read(paths.TRAIN / name / seed, _made_by(name, settings)), title)


def _local(name: str, seed: str) -> str | None:
    """The fingerprint of the training in outputs/; None where there is none."""
    try:
        return fingerprint.from_lock(name, int(seed))
    except UserError:
        return None


def _read(folder: Path, made_by: str) -> GenerativeModel:
    try:
        return read_model(folder, made_by)
    except UserError:
        raise
    except (KeyError, ValueError, RuntimeError) as error:  # settings or weights of other code
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{folder / 'weights.pt'}: from another version of the code ({reason}); "
            f"`{made_by}` makes it anew"
        ) from None


def _made_by(name: str, settings: Params) -> str:
    """The command that trains a model: DVC knows the selected ones."""
    selected = name in settings.selected
    return f"{MADE_BY} train@{name}" if selected else f"python -m pipelines.train {name}"


def _title(name: str, seed: int | str) -> str:
    return f"{name} (training seed {seed})"


def labels(trained: Trained, wanted: int | None, num: int) -> Tensor | None:
    """The option --class as labels for so many images.

    Args:
        trained: The model.
        wanted: The class, or None.
        num: How many images.

    Returns:
        (num,) or None where no class is wanted.

    Raises:
        UserError: The model is not told classes, or has no such one.
    """
    if wanted is None:
        return None
    if not trained.model.conditional:
        raise UserError(
            f"--class {wanted}: {trained.title} is not told classes; name a model with "
            "conditional: true in params.yaml"
        )
    if not 0 <= wanted < trained.model.num_classes:
        last = trained.model.num_classes - 1
        raise UserError(f"--class {wanted}: the classes of {trained.title} are 0 to {last}")
    return torch.full((num,), wanted)


def output(path: str) -> Path:
    """The option --out, checked before anything is computed.

    Raises:
        UserError: It is no PNG file, or a folder.
    """
    chosen = Path(path)
    if chosen.suffix.lower() != ".png":
        raise UserError(f"--out {path}: only .png is written, without loss")
    if chosen.is_dir():
        raise UserError(f"--out {path}: is a folder; name a file in it")
    return chosen

"""Builds a model from its settings; a kind is a file in genmodels/models/."""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from typing import Any

from genmodels import models
from genmodels.base.config import ModelConfig
from genmodels.base.model import GenerativeModel
from genmodels.networks.shape import ImageShape


def kinds() -> list[str]:
    """The names of all kinds, in alphabetical order."""
    return sorted(module.name for module in pkgutil.iter_modules(models.__path__))


def config_class(kind: str) -> type[ModelConfig]:
    """The `Config` of a kind.

    Raises:
        ValueError: `kind` does not exist; the message names the nearest one.
    """
    return _module(kind).Config


def build(settings: Mapping[str, Any], shape: ImageShape, num_classes: int = 0) -> GenerativeModel:
    """Builds a model; `initialise` then draws its weights.

    Args:
        settings: `kind` and every field of its `Config`.
        shape: Shape of the images.
        num_classes: Number of classes of the data; 0 for data without labels.

    Raises:
        ValueError: The kind is unknown, its `Config` rejects the settings, or the model is
            conditional and the data has no labels.
    """
    module = _module(str(settings.get("kind")))
    return module.Model(module.Config.model_validate(dict(settings)), shape, num_classes)


def _module(kind: str) -> Any:
    if kind not in kinds():
        nearest = difflib.get_close_matches(kind, kinds(), n=1)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"kind {kind!r} is not one of {', '.join(kinds())}{hint}")
    return importlib.import_module(f"genmodels.models.{kind}")

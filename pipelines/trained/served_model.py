"""What `mlflow.pyfunc` loads for a version of the registry: a table in, images out.

    model = mlflow.pyfunc.load_model("models:/genmodels@champion")
    images = model.predict(pandas.DataFrame({"seed": range(16)}))

The weights are safetensors, and read after the SHA-256 of weights.safetensors and config.json was
compared with the one in `MLmodel`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluation.measuring.protocols import Reconstructor
from genmodels.base.model import GenerativeModel
from pipelines.settings.errors import UserError
from pipelines.settings.yaml_files import read_yaml
from pipelines.tracking import mlmodel
from pipelines.training.weights import read_model

MADE_BY = "make publish"


class ServedModel:
    """A trained model behind the interface of MLflow.

    Every row is computed by itself, so that an image depends on nothing but its own row, to the
    last bit: in a batch, sums are taken in another order.
    """

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model

    def predict(
        self, table: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """One image for each row.

        Args:
            table: Either a column `seed` of whole numbers from 0: the image is
                `model.sample(1, torch.Generator().manual_seed(seed))`. Or a column `image` of
                (C, H, W) pixels in [0, 1]: the image is its reconstruction, by a model that has an
                encoder. A conditional model takes a column `label`, the class from 0; without it,
                a seed's class is seed modulo the number of classes.
            params: None are taken; MLflow passes them to whoever names them.

        Returns:
            (rows, C, H, W) in [0, 1].

        Raises:
            UserError: A column is missing, holds something else, or this model cannot serve it.
        """
        asked = [name for name in ("seed", "image") if name in table.columns]
        if len(asked) != 1:
            there = ", ".join(map(str, table.columns)) or "none"
            raise UserError(f"the table needs either a column seed or a column image; has: {there}")
        rows = self._samples(table) if asked == ["seed"] else self._reconstructions(table)
        filled = [np.empty((0, *self.model.shape), np.float32), *(row.numpy() for row in rows)]
        return np.concatenate(filled)

    def _samples(self, table: pd.DataFrame) -> list[Tensor]:
        seeds = _whole_numbers(table, "seed", 2**63)
        labels = self._labels(table)
        if labels is None and self.model.conditional:
            labels = [seed % self.model.num_classes for seed in seeds]
        return [
            self.model.sample(
                1, torch.Generator().manual_seed(seed), None if labels is None else _one(labels[i])
            )
            for i, seed in enumerate(seeds)
        ]

    def _reconstructions(self, table: pd.DataFrame) -> list[Tensor]:
        model = self.model
        if not isinstance(model, Reconstructor):
            raise UserError(
                f"column image: the model is a {model.family.upper()}: it has no encoder, so it "
                "reconstructs nothing; give it a column seed"
            )
        labels = self._labels(table)
        if labels is None and model.conditional:
            last = model.num_classes - 1
            raise UserError(f"column image: the model has to be told column label, 0 to {last}")
        told: list[dict[str, Any]] = [{}] * len(table)
        if labels is not None:
            told = [{"labels": _one(label)} for label in labels]
        images = [self._image(cell, row) for row, cell in enumerate(table["image"])]
        return [model.reconstruct(x, **given) for x, given in zip(images, told, strict=True)]

    def _image(self, cell: Any, row: int) -> Tensor:
        """A cell as (1, C, H, W)."""
        shape = tuple(self.model.shape)
        try:
            pixels = np.asarray([*cell], dtype=np.float32)
        except (TypeError, ValueError):
            pixels = np.empty(0, np.float32)
        if pixels.shape != shape or not ((pixels >= 0) & (pixels <= 1)).all():
            raise UserError(f"column image, row {row}: expected {shape} numbers in [0, 1]")
        return torch.from_numpy(pixels)[None]

    def _labels(self, table: pd.DataFrame) -> list[int] | None:
        if "label" not in table.columns:
            return None
        if not self.model.conditional:
            raise UserError("column label: the model is not told classes; leave the column out")
        return _whole_numbers(table, "label", self.model.num_classes)


def _whole_numbers(table: pd.DataFrame, name: str, end: int) -> list[int]:
    """A column of whole numbers from 0 to below `end`."""
    column = table[name]
    whole = len(column) == 0 or pd.api.types.is_integer_dtype(column)
    if not whole or not column.between(0, end - 1).all():
        raise UserError(f"column {name}: expected whole numbers from 0 to {end - 1:,}")
    return [int(value) for value in column]


def _one(label: int) -> Tensor:
    return torch.tensor([label])


def _load_pyfunc(path: str) -> ServedModel:
    """Called by MLflow with the folder of the model.

    Raises:
        UserError: A file is missing, damaged, or not the published one.
    """
    folder = Path(path)
    published = read_yaml(folder / Path(mlmodel.DESCRIPTION).name)["metadata"]
    remedy = f"delete the run, and `{MADE_BY}` makes it again"
    mlmodel.check(folder, published, str(folder), remedy)
    return ServedModel(read_model(folder, MADE_BY))

"""A version of the registry as `mlflow.pyfunc` loads it: a table in, images out.

model = mlflow.pyfunc.load_model("models:/genmodels@champion")
images = model.predict(pandas.DataFrame({"seed": range(16)}))
"""

from collections.abc import Mapping, Sequence
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

    Each row is computed alone: a batch adds in another order, so its last bits would differ.
    """

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model

    def predict(
        self, table: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> NDArray[np.float32]:
        """One image for each row: (rows, C, H, W) in [0, 1]. MLflow also passes `params`.

        A column `seed` of whole numbers from 0 gives the images
        `model.sample(1, torch.Generator().manual_seed(seed))`, a column `image` of (C, H, W) pixels
        in [0, 1] their reconstructions, by a model that has an encoder. A conditional model takes a
        column `label`, the class from 0; without it, a seed's class is seed modulo the number of
        classes.

        Raises:
            UserError: A column is missing, has a wrong value, or does not fit the model.
        """
        columns = [name for name in ("seed", "image") if name in table.columns]
        if len(columns) != 1:
            there = ", ".join(map(str, table.columns)) or "none"
            raise UserError(f"the table needs either a column seed or a column image; has: {there}")
        rows = self._samples(table) if columns == ["seed"] else self._reconstructions(table)
        empty = np.empty((0, *self.model.shape), np.float32)
        return np.concatenate([empty, *(row.numpy() for row in rows)])

    def _samples(self, table: pd.DataFrame) -> list[Tensor]:
        seeds = _whole_numbers(table, "seed", 2**63)
        labels = self._labels(table)
        if self.model.conditional and "label" not in table.columns:
            labels = [torch.tensor([seed % self.model.num_classes]) for seed in seeds]
        return [
            self.model.sample(1, torch.Generator().manual_seed(seed), label)
            for seed, label in zip(seeds, labels, strict=True)
        ]

    def _reconstructions(self, table: pd.DataFrame) -> list[Tensor]:
        model = self.model
        if not isinstance(model, Reconstructor):
            raise UserError(
                f"column image: the model is a {model.family.upper()} and has no encoder, so it "
                "cannot reconstruct images; use a column seed"
            )
        labels = self._labels(table)
        if model.conditional and "label" not in table.columns:
            last = model.num_classes - 1
            raise UserError(
                f"column image: a conditional model also needs a column label, 0 to {last}"
            )
        reconstruct: Any = model.reconstruct  # every kind takes labels
        images = [self._image(cell, row) for row, cell in enumerate(table["image"])]
        return [reconstruct(x, label) for x, label in zip(images, labels, strict=True)]

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

    def _labels(self, table: pd.DataFrame) -> Sequence[Tensor | None]:
        """For each row (1,) of the column `label`; None without the column."""
        if "label" not in table.columns:
            return [None] * len(table)
        if not self.model.conditional:
            raise UserError("column label: the model is not conditional; remove the column")
        labels = _whole_numbers(table, "label", self.model.num_classes)
        return [torch.tensor([label]) for label in labels]


def _whole_numbers(table: pd.DataFrame, name: str, end: int) -> list[int]:
    """A column of whole numbers from 0 to below `end`."""
    column = table[name]
    whole = len(column) == 0 or pd.api.types.is_integer_dtype(column)
    if not whole or not column.between(0, end - 1).all():
        raise UserError(f"column {name}: expected whole numbers from 0 to {end - 1:,}")
    return [int(value) for value in column]


def _load_pyfunc(path: str) -> ServedModel:
    """MLflow's entry: reads the folder of a model after comparing SHA-256 with `MLmodel`."""
    folder = Path(path)
    published = read_yaml(folder / Path(mlmodel.DESCRIPTION).name)["metadata"]
    remedy = f"delete the run, and `{MADE_BY}` makes it again"
    mlmodel.check(folder, published, str(folder), remedy)
    return ServedModel(read_model(folder, MADE_BY))

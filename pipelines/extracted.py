"""What `features` has made, as the other stages see it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evaluation.context import RealImages
from evaluation.features import Extractor, load
from pipelines import files, paths, splits
from pipelines.errors import UserError
from pipelines.splits import Split

MADE_BY = "dvc repro features"


@dataclass(frozen=True)
class Extracted:
    """The extractor and what it makes of the real images.

    Attributes:
        extractor: None where the data has no labels.
        features: (N, d) float32 of `train`, `valid` and `test`; empty without an extractor.
        card: What is known about the extractor; `warning` in it is None or one line.
    """

    extractor: Extractor | None
    features: dict[str, torch.Tensor]
    card: dict[str, Any]


def load_extracted(folder: Path | None = None) -> Extracted:
    """Reads the extractor, its card and the features of the real splits.

    Args:
        folder: As `features` makes it; None for the pipeline's own.

    Raises:
        UserError: The stage has not run, or a file is damaged.
    """
    folder = folder or paths.FEATURES
    card: dict[str, Any] = files.read_json(folder / "card.json", MADE_BY)
    if card["extractor"] is None:
        return Extracted(None, {}, card)
    try:
        extractor = load(folder / "extractor.pt")
        features = {
            name: torch.from_numpy(np.load(folder / f"{name}.npy", allow_pickle=False))
            for name in splits.SPLITS
        }
    except (OSError, ValueError) as error:
        raise UserError(f"{error}; `{MADE_BY}` makes it anew") from None
    return Extracted(extractor, features, card)


def real_images(
    name: str, split: Split, features: torch.Tensor | None, prepared: Path | None = None
) -> RealImages:
    """A split with its identity, as the evaluation wants it.

    Args:
        name: `train`, `valid` or `test`.
        split: Its images and labels.
        features: (N, d), or None without an extractor.
        prepared: Where the split was read from; None for the pipeline's own.
    """
    manifest = splits.load_manifest(prepared)
    sha256 = manifest["splits"][name]["sha256"]
    return RealImages(split.images, split.labels, features, manifest["dataset"], name, sha256)

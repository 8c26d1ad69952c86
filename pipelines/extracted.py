"""What `features` has made, as the other stages see it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from evaluation.context import RealImages
from evaluation.features import Extractor, load
from pipelines import files, paths, splits
from pipelines.errors import UserError

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


def load_extracted() -> Extracted:
    """Reads the extractor, its card and the features of the real splits.

    Raises:
        UserError: The stage has not run, or a file is damaged.
    """
    card: dict[str, Any] = files.read_json(paths.FEATURES / "card.json", MADE_BY)
    if card["extractor"] is None:
        return Extracted(None, {}, card)
    try:
        extractor = load(paths.FEATURES / "extractor.pt")
        features = {
            name: torch.from_numpy(np.load(paths.FEATURES / f"{name}.npy", allow_pickle=False))
            for name in splits.SPLITS
        }
    except (OSError, ValueError) as error:
        raise UserError(f"{error}; `{MADE_BY}` makes it anew") from None
    return Extracted(extractor, features, card)


def real_images(name: str, images: torch.Tensor, features: torch.Tensor | None) -> RealImages:
    """A split with its identity, as the evaluation wants it.

    Args:
        name: `train`, `valid` or `test`.
        images: (N, C, H, W) in [0, 1].
        features: (N, d), or None without an extractor.
    """
    manifest = splits.load_manifest()
    sha256 = manifest["splits"][name]["sha256"]
    return RealImages(images, features, manifest["dataset"], name, sha256)

"""What `features` has made, as the other stages see it."""

import functools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from evaluation.measuring import inception
from evaluation.measuring.extractors import (
    Extractor,
    FeatureExtractor,
    MissingExtractor,
)
from evaluation.measuring.real_images import RealImages
from pipelines.data import splits
from pipelines.data.extractor_files import load_extractor, load_features
from pipelines.data.splits import Split
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError
from pipelines.settings.sections import Features

MADE_BY = "dvc repro features"

T = TypeVar("T")


@dataclass(frozen=True)
class Extracted:
    """The extractors and what they make of the real images.

    Attributes:
        extractors: In the order of `features.extractors`; the first one is what models are
            ranked with.
        replicas: The classifier from other seeds.
        features: By split, by the extractor's `sha256`: (N, d) float32.
        cards: What is known about each extractor; `warning` in a card is None or one line.
    """

    extractors: tuple[FeatureExtractor | MissingExtractor, ...]
    replicas: tuple[Extractor, ...]
    features: Mapping[str, Mapping[str, torch.Tensor]]
    cards: Mapping[str, Mapping[str, Any]]


#: Where nothing is measured with an extractor.
NOTHING = Extracted((MissingExtractor("classifier", "no_extractor"),), (), {}, {})


def load_extracted(
    settings: Features, folder: Path | None = None, prepared: Path | None = None
) -> Extracted:
    """Reads the extractors, their cards and the features of the real splits.

    Args:
        settings: Section `features`, which says where the Inception network's weights are.
        folder: As `features` makes it; None for the pipeline's own.
        prepared: The data that it was made of; None for the pipeline's own.

    Raises:
        UserError: The stage has not run, a file is damaged, or features are not those of the
            extractor or of the data beside them.
    """
    folder = folder or paths.FEATURES
    cards: dict[str, dict[str, Any]] = files.read_json(folder / "card.json", MADE_BY)
    extractors = tuple(_open(name, card, settings, folder) for name, card in cards.items())
    replicas = sorted((folder / "replicas").glob("*.safetensors"), key=lambda path: int(path.stem))
    return Extracted(
        extractors,
        tuple(_made(functools.partial(load_extractor, path)) for path in replicas),
        {name: _of_split(name, extractors, folder, prepared) for name in splits.SPLITS},
        cards,
    )


def open_inception(settings: Features) -> FeatureExtractor | MissingExtractor:
    """The Inception network, or why it is not here.

    Raises:
        UserError: The file of weights is missing, or is not the one that it should be.
    """
    weights = settings.inception_weights
    try:
        return inception.open_extractor(
            None if weights is None else Path(weights), download=settings.inception_download
        )
    except ValueError as error:
        raise UserError(f"params.yaml: features.inception_weights: {error}") from None


def real_images(
    name: str, split: Split, extracted: Extracted, prepared: Path | None = None
) -> RealImages:
    """A split with its identity, as the evaluation wants it.

    Args:
        name: `train`, `valid` or `test`.
        split: Its images and labels.
        extracted: What the extractors make of it.
        prepared: Where the split was read from; None for the pipeline's own.
    """
    manifest = splits.load_manifest(prepared)
    sha256 = manifest["splits"][name]["sha256"]
    features = extracted.features.get(name, {})
    return RealImages(split.images, split.labels, features, manifest["dataset"], name, sha256)


def _open(
    name: str, card: Mapping[str, Any], settings: Features, folder: Path
) -> FeatureExtractor | MissingExtractor:
    if card["extractor"] is None:
        return MissingExtractor(name, card["missing"])
    if name == "classifier":
        return _made(functools.partial(load_extractor, folder / name / "extractor.safetensors"))
    extractor = open_inception(settings)
    found = "nothing" if isinstance(extractor, MissingExtractor) else f"sha256:{extractor.sha256}"
    if found != card["extractor"]:
        raise UserError(
            f"features.inception_weights: {found[:15]}, but the features were made with "
            f"{card['extractor'][:15]}; `{MADE_BY}` makes them anew"
        )
    return extractor


def _of_split(
    name: str,
    extractors: Iterable[FeatureExtractor | MissingExtractor],
    folder: Path,
    prepared: Path | None,
) -> dict[str, torch.Tensor]:
    images = splits.load_manifest(prepared)["splits"][name]["sha256"]
    found: dict[str, torch.Tensor] = {}
    for extractor in extractors:
        if not isinstance(extractor, MissingExtractor):
            sha256 = extractor.sha256
            path = folder / extractor.name / f"{name}.safetensors"
            found[sha256] = _made(
                functools.partial(load_features, path, extractor=sha256, images=images)
            )
    return found


def _made(read: Callable[[], T]) -> T:
    """What `read` returns; what it complains of is for the stage to make anew."""
    try:
        return read()
    except ValueError as error:
        raise UserError(f"{error}; `{MADE_BY}` makes it anew") from None

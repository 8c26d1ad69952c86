"""Reads the outputs of stage `features`: extractors and features of the real images."""

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
    """The extractors and their features of the real images.

    Attributes:
        extractors: In the order of `features.extractors`. The first one ranks the models.
        replicas: The classifier, trained with other seeds.
        features: By split and by `sha256` of the extractor: (N, d) float32.
        cards: Description of each extractor; its `warning` is None or one line.
    """

    extractors: tuple[FeatureExtractor | MissingExtractor, ...]
    replicas: tuple[Extractor, ...]
    features: Mapping[str, Mapping[str, torch.Tensor]]
    cards: Mapping[str, Mapping[str, Any]]


#: For measurements without extractor.
NO_EXTRACTORS = Extracted((MissingExtractor("classifier", "no_extractor"),), (), {}, {})


def load_extracted(
    settings: Features, folder: Path | None = None, prepared: Path | None = None
) -> Extracted:
    """Reads the extractors, their cards and the features of the real splits.

    Args:
        settings: Section `features`, with the place of the Inception weights.
        folder: Output folder of `features` (default: that of the pipeline).
        prepared: Output folder of `prepare` with its data (default: that of the pipeline).

    Raises:
        UserError: The stage has not run, a file is damaged, or features belong to another
            extractor or to other data.
    """
    folder = folder or paths.FEATURES
    cards: dict[str, dict[str, Any]] = files.read_json(folder / "card.json", MADE_BY)
    extractors = tuple(_open(name, card, settings, folder) for name, card in cards.items())
    replicas = sorted((folder / "replicas").glob("*.safetensors"), key=lambda path: int(path.stem))
    return Extracted(
        extractors,
        tuple(_loaded(functools.partial(load_extractor, path)) for path in replicas),
        {name: _split_features(name, extractors, folder, prepared) for name in splits.SPLITS},
        cards,
    )


def open_inception(settings: Features) -> FeatureExtractor | MissingExtractor:
    """The Inception network, or the reason why it is missing.

    Raises:
        UserError: The file of weights is missing or has another SHA-256 than expected.
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
    """A split with its features and identity, for the evaluation.

    Args:
        name: `train`, `valid` or `test`.
        split: Its images and labels.
        extracted: The extractors and their features.
        prepared: The folder of the split (default: the output of `prepare`).
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
        return _loaded(functools.partial(load_extractor, folder / name / "extractor.safetensors"))
    extractor = open_inception(settings)
    identity = (
        "no weights" if isinstance(extractor, MissingExtractor) else f"sha256:{extractor.sha256}"
    )
    if identity != card["extractor"]:
        raise UserError(
            f"features.inception_weights: {identity[:15]}, but the stored features belong to "
            f"{card['extractor'][:15]}; `{MADE_BY}` makes them again"
        )
    return extractor


def _split_features(
    name: str,
    extractors: Iterable[FeatureExtractor | MissingExtractor],
    folder: Path,
    prepared: Path | None,
) -> dict[str, torch.Tensor]:
    images = splits.load_manifest(prepared)["splits"][name]["sha256"]
    features: dict[str, torch.Tensor] = {}
    for extractor in extractors:
        if not isinstance(extractor, MissingExtractor):
            sha256 = extractor.sha256
            path = folder / extractor.name / f"{name}.safetensors"
            features[sha256] = _loaded(
                functools.partial(load_features, path, extractor=sha256, images=images)
            )
    return features


def _loaded(read: Callable[[], T]) -> T:
    """The result of `read`; a ValueError becomes a `UserError` with the command to run."""
    try:
        return read()
    except ValueError as error:
        raise UserError(f"{error}; `{MADE_BY}` makes it again") from None

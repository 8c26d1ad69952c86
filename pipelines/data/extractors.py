"""The outputs of stage `features`: extractors and the features of the real images.

Both are safetensors files with their identity in the header.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from evaluation.measuring import inception
from evaluation.measuring.extractors import (
    Classifier,
    Extractor,
    FeatureExtractor,
    MissingExtractor,
)
from evaluation.measuring.images import PREPROCESSING_VERSION
from evaluation.measuring.real_images import RealImages
from pipelines.data import splits, tensor_file
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError
from pipelines.settings.sections import Features

MADE_BY = "dvc repro features"
#: Settings of the classifier's network.
SIZES = ("num_classes", "width", "num_features")


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
    features: Mapping[str, Mapping[str, Tensor]]
    cards: Mapping[str, Mapping[str, Any]]


#: For measurements without extractor.
NO_EXTRACTORS = Extracted((MissingExtractor("classifier", "no_extractor"),), (), {}, {})


def load_extracted(
    settings: Features, folder: Path | None = None, prepared: Path | None = None
) -> Extracted:
    """Reads the extractors, their cards and the features of the real splits.

    `folder` and `prepared` are output folders of `features` and `prepare` (default: those of the
    pipeline).

    Raises:
        UserError: The stage has not run, a file is damaged, or features belong to another
            extractor or to other data.
    """
    folder = folder or paths.FEATURES
    cards: dict[str, dict[str, Any]] = files.read_json(folder / "card.json", MADE_BY)
    extractors = tuple(_open(name, card, settings, folder) for name, card in cards.items())
    parts = splits.load_manifest(prepared)["splits"]
    features = {
        name: {
            extractor.sha256: load_features(
                folder / extractor.name / f"{name}.safetensors",
                extractor=extractor.sha256,
                images=parts[name]["sha256"],
            )
            for extractor in extractors
            if not isinstance(extractor, MissingExtractor)
        }
        for name in splits.SPLITS
    }
    replicas = sorted((folder / "replicas").glob("*.safetensors"), key=lambda path: int(path.stem))
    return Extracted(extractors, tuple(map(load_extractor, replicas)), features, cards)


def _open(
    name: str, card: Mapping[str, Any], settings: Features, folder: Path
) -> FeatureExtractor | MissingExtractor:
    if card["extractor"] is None:
        return MissingExtractor(name, card["missing"])
    if name == "classifier":
        return load_extractor(folder / name / "extractor.safetensors")
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


def real_images(name: str, extracted: Extracted, prepared: Path | None = None) -> RealImages:
    """The split `train`, `valid` or `test` with its features and identity, for the evaluation.

    `prepared` is the folder of the split (default: the output of `prepare`).
    """
    split, manifest = splits.load_split(name, prepared), splits.load_manifest(prepared)
    features, sha256 = extracted.features.get(name, {}), manifest["splits"][name]["sha256"]
    return RealImages(split.images, split.labels, features, manifest["dataset"], name, sha256)


def save_extractor(extractor: Extractor, path: Path) -> None:
    """Writes an extractor: the weights, with the settings in the header."""
    settings = {
        "name": extractor.name,
        "preprocessing": PREPROCESSING_VERSION,
        "image_shape": list(extractor.image_shape),
        **{key: getattr(extractor, key) for key in SIZES},
        "scale": extractor.scale,
        "sha256": extractor.sha256,
    }
    tensor_file.write(path, extractor.classifier.state_dict(), settings)


def load_extractor(path: Path) -> Extractor:
    """Reads an extractor.

    Raises:
        UserError: The file is damaged or has another preprocessing version, or the weights do not
            have the stored SHA-256.
    """
    weights, settings = tensor_file.read(path, MADE_BY)
    try:
        if settings["preprocessing"] != PREPROCESSING_VERSION:
            raise ValueError(
                f"preprocessing version {settings['preprocessing']}, "
                f"the code has version {PREPROCESSING_VERSION}"
            )
        channels, height, width_px = settings["image_shape"]
        shape = (channels, height, width_px)
        sizes = {key: settings[key] for key in SIZES}
        classifier = Classifier(shape, **sizes)
        classifier.load_state_dict(weights)
        extractor = Extractor(classifier, image_shape=shape, scale=settings["scale"], **sizes)
        if extractor.sha256 != settings["sha256"]:
            raise ValueError(
                f"the weights have SHA-256 {extractor.sha256[:8]}, "
                f"expected {settings['sha256'][:8]}"
            )
    except (RuntimeError, LookupError, TypeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UserError(
            f"{path}: not a readable extractor ({reason}); `{MADE_BY}` makes it again"
        ) from None
    return extractor


def save_features(features: Tensor, path: Path, *, extractor: str, images: str) -> None:
    """Writes features (N, d) with the SHA-256 of their extractor and of their images."""
    tensor_file.write(path, {"features": features}, {"extractor": extractor, "images": images})


def load_features(path: Path, *, extractor: str, images: str) -> Tensor:
    """Reads features (N, d) of the extractor and the images with these SHA-256.

    Raises:
        UserError: The file is damaged or belongs to another extractor or to other images.
    """
    tensors, settings = tensor_file.read(path, MADE_BY)
    for part, expected in (("extractor", extractor), ("images", images)):
        stored = settings.get(part, "none")
        if stored != expected:
            raise UserError(
                f"{path}: features of {part} {stored[:8]}, expected {expected[:8]}; "
                f"`{MADE_BY}` makes it again"
            )
    if "features" not in tensors:
        raise UserError(f"{path}: no features in the file; `{MADE_BY}` makes it again")
    return tensors["features"]

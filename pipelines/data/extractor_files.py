"""Feature extractors and features as safetensors files, with their identity in the header."""

from pathlib import Path

from torch import Tensor

from evaluation.measuring.extractors import Classifier, Extractor
from evaluation.measuring.images import PREPROCESSING_VERSION
from pipelines.data import tensor_file


def save_extractor(extractor: Extractor, path: Path) -> None:
    """Writes an extractor: the weights, with the settings in the header."""
    settings = {
        "name": extractor.name,
        "preprocessing": PREPROCESSING_VERSION,
        "image_shape": list(extractor.image_shape),
        "num_classes": extractor.num_classes,
        "width": extractor.width,
        "num_features": extractor.num_features,
        "scale": extractor.scale,
        "sha256": extractor.sha256,
    }
    tensor_file.write(path, extractor.classifier.state_dict(), settings)


def load_extractor(path: Path) -> Extractor:
    """Reads an extractor.

    Raises:
        ValueError: The file is damaged or has another preprocessing version, or the weights do not
            have the stored SHA-256.
    """
    try:
        return _read_extractor(path)
    except (RuntimeError, LookupError, TypeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path}: not a readable extractor ({reason})") from None


def _read_extractor(path: Path) -> Extractor:
    weights, settings = tensor_file.read(path)
    if settings["preprocessing"] != PREPROCESSING_VERSION:
        raise ValueError(
            f"{path}: preprocessing version {settings['preprocessing']}, "
            f"the code has version {PREPROCESSING_VERSION}; train the extractor again"
        )
    channels, height, width_px = settings["image_shape"]
    shape = (channels, height, width_px)
    sizes = {key: settings[key] for key in ("num_classes", "width", "num_features")}
    classifier = Classifier(shape, **sizes)
    classifier.load_state_dict(weights)
    extractor = Extractor(classifier, image_shape=shape, scale=settings["scale"], **sizes)
    if extractor.sha256 != settings["sha256"]:
        raise ValueError(
            f"{path}: the weights have SHA-256 {extractor.sha256[:8]}, "
            f"expected {settings['sha256'][:8]}; the file is damaged, train the extractor again"
        )
    return extractor


def save_features(features: Tensor, path: Path, *, extractor: str, images: str) -> None:
    """Writes features (N, d) with the SHA-256 of their extractor and of their images."""
    tensor_file.write(path, {"features": features}, {"extractor": extractor, "images": images})


def load_features(path: Path, *, extractor: str, images: str) -> Tensor:
    """Reads features (N, d).

    Args:
        path: A file that `save_features` wrote.
        extractor: The expected SHA-256 of their extractor.
        images: The expected SHA-256 of their images.

    Raises:
        ValueError: The file is damaged or belongs to another extractor or to other images.
    """
    tensors, settings = tensor_file.read(path)
    for part, expected in (("extractor", extractor), ("images", images)):
        stored = settings.get(part, "none")
        if stored != expected:
            raise ValueError(f"{path}: features of {part} {stored[:8]}, expected {expected[:8]}")
    if "features" not in tensors:
        raise ValueError(f"{path}: no features in the file")
    return tensors["features"]

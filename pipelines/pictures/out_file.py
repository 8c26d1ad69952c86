"""The file of an option such as `--out`: checked before anything is computed, then written."""

from pathlib import Path

from PIL import Image

from evaluation.figures import grids
from pipelines.settings.errors import UserError


def out_file(name: str, option: str) -> Path:
    """The path of a file that is about to be written.

    Args:
        name: The value of the option; folders that are missing are created with the file.
        option: The option, for an error.

    Raises:
        UserError: The path is a folder, or lies below a file.
    """
    path = Path(name)
    if path.is_dir():
        raise UserError(f"{option}: {name}: a folder; name a file")
    above = next(parent for parent in path.parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{option}: {name}: {above} is a file, not a folder")
    return path


def write_png(picture: Image.Image, path: Path) -> None:
    """Writes the picture of the option `--out`.

    Raises:
        UserError: The file cannot be written.
    """
    try:
        grids.save_png(picture, path)
    except OSError as error:
        raise UserError(f"--out {path}: {error.strerror or error}") from None

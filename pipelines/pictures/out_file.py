"""The file that an option names to be written, checked before anything is computed."""

from pathlib import Path

from pipelines.settings.errors import UserError


def out_file(name: str, option: str) -> Path:
    """The path of a file that can be written, as far as its folders tell.

    Args:
        name: As it was given; folders that are missing are made later.
        option: The option that names it, for an error.

    Raises:
        UserError: It is a folder, or lies below a file.
    """
    path = Path(name)
    if path.is_dir():
        raise UserError(f"{option}: {name}: a folder; name a file")
    above = next(parent for parent in path.parents if parent.exists())
    if not above.is_dir():
        raise UserError(f"{option}: {name}: {above} is a file, no folder to write in")
    return path

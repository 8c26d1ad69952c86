"""A trained model, read from the folder of its training."""

from pathlib import Path

from genmodels.base.model import GenerativeModel
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training import checkpoint
from pipelines.settings.errors import UserError

MADE_BY = "dvc repro"


def read_model(folder: Path, made_by: str, device: str = "cpu") -> GenerativeModel:
    """A trained model, in evaluation mode, from the folder of its training.

    Args:
        folder: Holds weights.pt.
        made_by: The command that makes it, for an error.
        device: `cpu` or `cuda`.

    Raises:
        UserError: The file is missing or damaged, or of another version of the code.
    """
    path = folder / "weights.pt"
    if not path.is_file():
        raise UserError(f"{path}: no such file; `{made_by}` makes it")
    try:
        state = checkpoint.load(path)
    except ValueError as error:
        raise UserError(f"{error}; `{made_by}` makes it anew") from None
    try:
        model = build(state["settings"], ImageShape(*state["image_shape"]), state["num_classes"])
        model.load_state_dict(state["model"])
    except (ValueError, RuntimeError):  # what torch says of it is a line for each weight
        raise UserError(
            f"{path}: a model of another version of the code; `{made_by}` makes it anew"
        ) from None
    return model.to(device).eval()

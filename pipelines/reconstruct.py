"""Reconstructs the user's own pictures with a trained model.

`python -m pipelines.reconstruct vae cat.jpg dog.png` works in any folder.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evaluation.figures import grids
from evaluation.measuring.images import quantise
from evaluation.measuring.protocols import LikelihoodBound, Reconstructor
from evaluation.metrics.mse import squared_error
from pipelines.data import datasets
from pipelines.sample import write
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.trained import trained_models
from pipelines.trained.trained_models import Trained

GRID_COLUMNS = 8
#: Of the one latent draw behind rate and distortion.
SEED = 0

EPILOG = """\
Each picture is turned as its EXIF tag says, put on black where it is transparent, made grey or
colour as the model wants it, and resized and cropped around its centre to the size of the training
images. A model of light digits on black wants such pictures: it knows no dark ink on paper.

Below each picture stands its reconstruction. Printed are mse, the mean squared error of a pixel in
[0, 1], and, of a model that has them, rate and distortion in nats from one draw of the code, whose
sum is minus the ELBO.

examples:
  python -m pipelines.reconstruct vae two.png seven.jpg
  python -m pipelines.reconstruct best-vae photos/*.jpg --out photos.png
  python -m pipelines.reconstruct conditional_vae seven.png --class 7
"""


def read(files: list[str], trained: Trained) -> Tensor:
    """Pictures of any size in the model's shape.

    Returns:
        (N, C, H, W) in [0, 1].

    Raises:
        UserError: A file is missing or no picture.
    """
    missing = next((file for file in files if not Path(file).is_file()), None)
    if missing is not None:
        raise UserError(f"{missing}: no such file")
    arrays = [datasets.read_picture(Path(file), trained.model.shape) for file in files]
    return torch.from_numpy(np.stack(arrays)).to(torch.float32).div_(255)


def reconstruct(
    trained: Trained, x: Tensor, wanted: int | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstructions and what they are worth.

    Args:
        trained: The model.
        x: (N, C, H, W) in [0, 1].
        wanted: The class of all of them, for a conditional model.

    Returns:
        (N, C, H, W) in [0, 1]; by name (N,) values of `mse` and, where the model has them, `rate`
        and `distortion`.

    Raises:
        UserError: The model has no encoder, or lacks the class.
    """
    model = trained.model
    if not isinstance(model, Reconstructor):
        raise UserError(
            f"{trained.title} is a {model.family.upper()}: it has no encoder, so it reconstructs "
            "nothing"
        )
    labels = trained_models.labels(trained, wanted, len(x))
    if model.conditional and labels is None:
        last = model.num_classes - 1
        raise UserError(f"{trained.title} has to be told the class: add --class, 0 to {last}")
    told: dict[str, Any] = {} if labels is None else {"labels": labels}
    x_hat = quantise(model.reconstruct(x, **told))
    values = {"mse": squared_error(x, x_hat)}
    if isinstance(model, LikelihoodBound):
        rng = torch.Generator().manual_seed(SEED)
        values["rate"], values["distortion"] = model.rate_distortion(x, rng, **told)
    return x_hat, values


def grid(x: Tensor, x_hat: Tensor) -> Image.Image:
    """Each picture above its reconstruction; an unfinished last row is filled with background."""
    columns = min(GRID_COLUMNS, len(x))
    filling = x.new_full((-len(x) % columns, *x.shape[1:]), grids.GAP / 255)
    above, below = (torch.cat([part, filling]) for part in (x, x_hat))
    return grids.reconstruction_grid(above, below, columns)


def table(files: list[str], values: dict[str, Tensor]) -> str:
    """A line for each picture and its values."""
    width = max(map(len, ["picture", *files]))
    lines = [" ".join([f"{'picture':{width}}", *(f"{name:>12}" for name in values)])]
    for index, file in enumerate(files):
        numbers = (f"{value[index]:12.4g}" for value in values.values())
        lines.append(" ".join([f"{file:{width}}", *numbers]))
    return "\n".join(lines)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.reconstruct",
        description="Reconstructs your own pictures with a trained VAE or autoencoder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    trained_models.add_arguments(
        parser,
        label="the class of all pictures, counted from 0; a conditional model needs it",
        out="reconstructions.png",
    )
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="files that Pillow reads, of any size and of 8 or 16 bits",
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main() -> None:
    """Reconstructs your own pictures with a trained VAE or autoencoder."""
    given = parse()
    path = trained_models.output(given.out)
    trained = trained_models.load(given.model, given.training_seed)
    x = read(given.pictures, trained)
    x_hat, values = reconstruct(trained, x, given.label)
    write(grid(x, x_hat), path)
    print(table(given.pictures, values))
    count = "1 picture and its reconstruction"
    if len(x) > 1:
        count = f"{len(x)} pictures and their reconstructions"
    print(f"{path}: {count} by {trained.title}")


if __name__ == "__main__":
    main()

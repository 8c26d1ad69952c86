"""Reconstructs your own pictures with a trained VAE or autoencoder."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from evaluation.comparing.value_text import rounded
from evaluation.figures import grids
from evaluation.measuring.images import quantise
from evaluation.measuring.protocols import LikelihoodBound, Reconstructor
from evaluation.metrics.mse import squared_error
from pipelines.data import datasets
from pipelines.settings import command_line
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.trained import trained_models
from pipelines.trained.trained_models import TrainedModel

GRID_COLUMNS = 8
#: Seed of the one latent sample of rate and distortion.
SEED = 0

EXAMPLES = """\
Each picture is rotated by its EXIF tag, put on black where it is transparent, converted to the
model's grey or RGB, then resized and cropped around its centre to the size of the training images.
A model that was trained on light digits on black needs such pictures: invert dark ink on paper.

The output shows each picture above its reconstruction. The command prints mse (mean squared error
per pixel, pixels in [0, 1]) and, for models with a likelihood, rate and distortion (nats per image,
one latent sample; their sum is the negative ELBO).

examples:
  genmodels reconstruct vae two.png seven.jpg
  genmodels reconstruct best-vae photos/*.jpg --out photos.png
  genmodels reconstruct conditional_vae seven.png --class 7
"""


def reconstruct(
    trained: TrainedModel, x: Tensor, label: int | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Reconstructions of pictures (N, C, H, W) in [0, 1] and their errors.

    Returns:
        (N, C, H, W) in [0, 1]; by name (N,) values of `mse` and, where the model has them, `rate`
        and `distortion`.

    Raises:
        UserError: The model has no encoder, or needs or lacks the class `label`.
    """
    model = trained.model
    if not isinstance(model, Reconstructor):
        raise UserError(
            f"{trained.title} is a {model.family.upper()}, which has no encoder: choose a VAE or "
            "an autoencoder"
        )
    labels = trained_models.labels(trained, label, len(x))
    if model.conditional and labels is None:
        last = model.num_classes - 1
        raise UserError(f"{trained.title} needs the class of the pictures: --class, 0 to {last}")
    condition: dict[str, Any] = {} if labels is None else {"labels": labels}
    x_hat = quantise(model.reconstruct(x, **condition))
    values = {"mse": squared_error(x, x_hat)}
    if isinstance(model, LikelihoodBound):
        rng = torch.Generator().manual_seed(SEED)
        values["rate"], values["distortion"] = model.rate_distortion(x, rng, **condition)
    return x_hat, values


def grid(x: Tensor, x_hat: Tensor) -> Image.Image:
    """Each picture above its reconstruction; the last row is filled with background."""
    columns = min(GRID_COLUMNS, len(x))
    filling = x.new_full((-len(x) % columns, *x.shape[1:]), grids.GAP / 255)
    above, below = (torch.cat([part, filling]) for part in (x, x_hat))
    return grids.reconstruction_grid(above, below, columns)


def _table(files: list[str], values: dict[str, Tensor]) -> str:
    """One line per picture with its values."""
    width = max(map(len, ["picture", *files]))
    rows = [["picture", *values]]
    rows += [[f, *(rounded(v[i].item()) for v in values.values())] for i, f in enumerate(files)]
    return "\n".join(
        " ".join([f"{name:{width}}", *(f"{cell:>12}" for cell in cells)]) for name, *cells in rows
    )


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line.parser("reconstruct", __doc__, EXAMPLES)
    trained_models.add_arguments(
        parser,
        label="class of all pictures, from 0; required for a conditional model",
        out="reconstructions.png",
    )
    parser.add_argument(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="picture files of any size, 8 or 16 bits per channel",
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main() -> None:
    """Runs the command."""
    options = parse()
    path = trained_models.output(options.out)
    trained = trained_models.load(options.model, options.training_seed)
    for file in options.pictures:
        if not Path(file).is_file():
            raise UserError(f"{file}: no such file")
    shape = trained.model.shape
    pictures = [datasets.read_picture(Path(file), shape) for file in options.pictures]
    x = torch.from_numpy(np.stack(pictures)).to(torch.float32).div_(255)
    x_hat, values = reconstruct(trained, x, options.label)
    trained_models.write(grid(x, x_hat), path)
    print(_table(options.pictures, values))
    count = f"{len(x)} pictures and their reconstructions"
    count = count if len(x) > 1 else "1 picture and its reconstruction"
    print(f"{path}: {count} by {trained.title}")


if __name__ == "__main__":
    main()

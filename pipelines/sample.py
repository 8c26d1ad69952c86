"""Draws samples of a trained model into one picture.

`python -m pipelines.sample vae --num 64 --out grid.png` works in any folder.
"""

import argparse
import math
from pathlib import Path

import torch
from PIL import Image

from evaluation.figures import grids
from genmodels.base.model import scoring_batches
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.trained import trained_models
from pipelines.trained.trained_models import Trained

MAX_NUM = 10_000

EPILOG = """\
examples:
  python -m pipelines.sample vae                          64 samples into samples.png
  python -m pipelines.sample champion --num 100 --seed 1  other ones, of the best model
  python -m pipelines.sample conditional_vae --class 7    sevens
  python -m pipelines.sample gan_r1 --training-seed 1     of another training of the same model
"""


def draw(trained: Trained, num: int, wanted: int | None, seed: int) -> Image.Image:
    """A grid of samples, as square as they allow; one class a column of a conditional model.

    Args:
        trained: The model.
        num: How many.
        wanted: The class, for a conditional model; None for each in turn.
        seed: Of the latents: equal seeds give equal pictures.

    Raises:
        UserError: A number out of range, or a class that the model cannot have.
    """
    if not 1 <= num <= MAX_NUM:
        raise UserError(f"--num {num}: expected 1 to {MAX_NUM:,}")
    if not 0 <= seed < 2**63:
        raise UserError(f"--seed {seed}: expected 0 to 2^63 - 1")
    model = trained.model
    labels = model.labels_or_cycle(num, trained_models.labels(trained, wanted, num))
    z = model.sample_latent(num, torch.Generator().manual_seed(seed), labels)
    images = torch.cat(
        [
            model.decode(z[piece], None if labels is None else labels[piece])
            for piece in scoring_batches(num)
        ]
    )
    in_turn = labels is not None and wanted is None
    return grids.image_grid(images, model.num_classes if in_turn else math.ceil(math.sqrt(num)))


def write(picture: Image.Image, path: Path) -> None:
    """Writes a PNG.

    Raises:
        UserError: It cannot be written there.
    """
    try:
        grids.save_png(picture, path)
    except OSError as error:
        raise UserError(f"--out {path}: {error.strerror or error}") from None


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.sample",
        description="Draws samples of a trained model into one picture.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    trained_models.add_arguments(
        parser,
        label="the class wanted of a conditional model, counted from 0 (default: each in turn, one "
        "a column)",
        out="samples.png",
    )
    parser.add_argument(
        "--num", type=int, default=64, metavar="N", help="how many (default: %(default)s)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        metavar="N",
        help="other numbers give other samples (default: %(default)s)",
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main() -> None:
    """Draws samples of a trained model into one picture."""
    given = parse()
    path = trained_models.output(given.out)
    trained = trained_models.load(given.model, given.training_seed)
    write(draw(trained, given.num, given.label, given.seed), path)
    noun = "sample" if given.num == 1 else "samples"
    print(f"{path}: {given.num} {noun} of {trained.title}, drawn with seed {given.seed}")


if __name__ == "__main__":
    main()

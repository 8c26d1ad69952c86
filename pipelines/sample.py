"""Draws samples of a trained model into one picture."""

import argparse
import math

import torch
from PIL import Image

from evaluation.figures import grids
from genmodels.base.model import scoring_batches
from pipelines.settings import command_line
from pipelines.settings.errors import exit_on_user_error
from pipelines.trained import trained_models
from pipelines.trained.trained_models import TrainedModel

MAX_NUM = 10_000

EXAMPLES = """\
examples:
  genmodels sample vae                          64 samples, into samples.png
  genmodels sample champion --num 100 --seed 1  100 other samples, of the best model
  genmodels sample conditional_vae --class 7    samples of class 7
  genmodels sample gan_r1 --training-seed 1     the model that was trained with seed 1
"""


def draw(trained: TrainedModel, num: int, label: int | None, seed: int) -> Image.Image:
    """A nearly square grid of samples, whose latents are drawn with `seed`.

    A conditional model draws the class `label` or, without one, all classes in turn, one a column.

    Raises:
        UserError: The model has no such class.
    """
    model = trained.model
    labels = model.labels_or_cycle(num, trained_models.labels(trained, label, num))
    z = model.sample_latent(num, torch.Generator().manual_seed(seed), labels)
    images = torch.cat(
        [
            model.decode(z[piece], None if labels is None else labels[piece])
            for piece in scoring_batches(num)
        ]
    )
    in_turn = labels is not None and label is None
    return grids.image_grid(images, model.num_classes if in_turn else math.ceil(math.sqrt(num)))


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = command_line.parser("sample", __doc__, EXAMPLES)
    trained_models.add_arguments(
        parser,
        label="class of the samples of a conditional model, from 0 (default: all classes in turn, "
        "one a column)",
        out="samples.png",
    )
    parser.add_argument(
        "--num",
        type=command_line.whole_number(1, MAX_NUM),
        default=64,
        metavar="N",
        help=f"number of samples, 1 to {MAX_NUM:,} (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=command_line.whole_number(0, 2**63 - 1),
        default=0,
        metavar="N",
        help="seed of the latents, 0 or more (default: %(default)s)",
    )
    return parser.parse_args(arguments)


@exit_on_user_error
def main() -> None:
    """Runs the command."""
    options = parse()
    path = trained_models.output(options.out)
    trained = trained_models.load(options.model, options.training_seed)
    trained_models.write(draw(trained, options.num, options.label, options.seed), path)
    noun = "sample" if options.num == 1 else "samples"
    print(f"{path}: {options.num} {noun} of {trained.title}, drawn with seed {options.seed}")


if __name__ == "__main__":
    main()

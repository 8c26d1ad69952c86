"""Cost of R1 and R2: time of a GAN's step with and without them.

`python -m tests.bench.penalties` trains the entry `gan_r1` of params.yaml (or the entries in the
arguments) without a penalty, with R1, and with R1 + R2, in alternation, a few steps at a time, in
one process with one thread. A step is one round of all phases: discriminator and generator.
"""

import argparse

import torch

from genmodels.base.model import Images
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training.loop import LoopSettings, Trainer
from pipelines.settings import params
from tests.bench.data import NUM_CLASSES, digits
from tests.bench.turns import Turn, milliseconds, ratio, steps_of, take

STEPS = 5
PENALTIES = ("none", "r1", "r1_r2")


def penalised(name: str, penalties: str, images: Images) -> Turn:
    """A few steps of an entry of params.yaml with other penalties."""
    weight = 0.0 if penalties == "none" else 1.0
    other = {"penalties": penalties, "penalty_weight": weight, "penalty_weight_end": 1.0}
    entry = {**params.load().models[name], **other}
    model = build(entry, ImageShape(*images.x.shape[1:]), NUM_CLASSES)
    trainer = Trainer(model, images, images.at(slice(16)), LoopSettings(0, "fp32", 1, 1))
    return steps_of(trainer, STEPS)


def main() -> None:
    """Prints one line per model and penalty."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.penalties", description=__doc__)
    parser.add_argument("models", nargs="*", default=["gan_r1"], help="of params.yaml")
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default: 15)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = digits(3000)
    for name in arguments.models:
        spent = take({kind: penalised(name, kind, images) for kind in PENALTIES}, arguments.rounds)
        print(f"{name} without a penalty: {milliseconds(spent['none'], STEPS)}")
        for kind in PENALTIES[1:]:
            print(f"{name}: {kind} / none {ratio(spent[kind], spent['none'])}", flush=True)


if __name__ == "__main__":
    main()

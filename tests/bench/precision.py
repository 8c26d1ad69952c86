"""Effect of `precision: bf16` on a trained VAE: its ELBO, compared with float32.

`python -m tests.bench.precision` trains the entry `vae` of params.yaml completely on 3,000 digits,
in both precisions with the same seed, computes the ELBO of both in float32 on 1,000 other digits
with the same noise, and prints the ELBOs and their difference.
"""

import argparse
import time

import torch

from genmodels.base.seeding import generator
from genmodels.base.vae import VAEBase
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training.loop import LoopSettings, Precision, Trainer
from pipelines.settings import params
from tests.bench.data import digits

DRAWS = 5


def trained(name: str, precision: Precision, seed: int, steps: int | None) -> tuple[VAEBase, float]:
    """A trained model of params.yaml, and its processor time per step in seconds."""
    entry = dict(params.load().models[name])
    entry["num_steps"] = steps or entry["num_steps"]
    images = digits()
    model = build(entry, ImageShape(*images.x.shape[1:]), 10)
    assert isinstance(model, VAEBase)
    settings = LoopSettings(seed, precision, 1, 1)
    trainer = Trainer(model, images.at(slice(3000)), images.at(slice(3000, 3016)), settings)
    start = time.process_time()
    trainer.run()
    return model, (time.process_time() - start) / model.config.num_steps


def elbo(model: VAEBase) -> float:
    """Nats per image on the last 1,000 digits, in float32."""
    images = digits().at(slice(4000, 5000))
    labels = images.y if model.conditional else None
    total = 0.0
    for draw in range(DRAWS):
        rate, distortion = model.rate_distortion(images.x, generator(draw, "elbo"), labels)
        total -= (rate + distortion).double().mean().item() / DRAWS
    return total


def main() -> None:
    """Prints one line per precision, and the difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.precision", description=__doc__)
    parser.add_argument("--model", default="vae", help="a VAE of params.yaml (default: vae)")
    parser.add_argument("--steps", type=int, help="default: the model's num_steps")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    elbos = {}
    for precision in ("fp32", "bf16"):
        model, seconds = trained(arguments.model, precision, arguments.seed, arguments.steps)
        elbos[precision] = elbo(model)
        print(
            f"{arguments.model}, {precision}: ELBO {elbos[precision]:.3f} nats after "
            f"{model.config.num_steps} steps of {1e3 * seconds:.1f} ms CPU time",
            flush=True,
        )
    difference = abs(elbos["bf16"] / elbos["fp32"] - 1)
    print(f"{arguments.model}: bf16 is {difference:.2%} from fp32")


if __name__ == "__main__":
    main()

"""What `precision: bf16` does to a trained VAE: the ELBO beside that of float32.

`python -m tests.bench.precision` trains the entry `vae` of params.yaml to its end on 3,000 digits,
in both precisions with the same seed, judges both in float32 on the same 1,000 other digits with
the same noise, and prints the ELBOs and how far they are apart.
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
    """A model of params.yaml after its training, and the seconds of processor time a step."""
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
    """Prints a line a precision and the difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.precision", description=__doc__)
    parser.add_argument("--model", default="vae", help="a VAE of params.yaml (default: vae)")
    parser.add_argument("--steps", type=int, help="default: the model's num_steps")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for precision in ("fp32", "bf16"):
        model, seconds = trained(asked.model, precision, asked.seed, asked.steps)
        found[precision] = elbo(model)
        print(
            f"{asked.model}, {precision}: ELBO {found[precision]:.3f} nats after "
            f"{model.config.num_steps} steps of {1e3 * seconds:.1f} ms CPU time",
            flush=True,
        )
    apart = abs(found["bf16"] / found["fp32"] - 1)
    print(f"{asked.model}: bf16 is {apart:.2%} from fp32")


if __name__ == "__main__":
    main()

"""Our trainer beside pythae's, on the same networks, digits, batches and optimiser.

`python -m tests.bench.against_pythae` trains in turns of an epoch, on 3,072 digits that were
binarised once, with a batch size of 128 and Adam: pythae's VAE in float32, ours in float32 and ours
with `precision: bf16`. The encoder and decoder of pythae's VAE are our network modules. It has
pythae's defaults otherwise and no evaluation set; its turn is `BaseTrainer.train_step`, an epoch.
Ours is `Trainer.run`, with the gradient's norm, the rows of the history and the checks for numbers
that are not finite, which pythae does not have.

Prints pythae's time over ours: 1.4 means that ours does 1.4 times as many steps in the same time.
"""

import argparse
import contextlib
import logging
import os
import tempfile
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from genmodels.base import Images
from genmodels.build import build
from genmodels.shape import ImageShape
from genmodels.training import Callbacks, LoopSettings, Precision, Trainer
from genmodels.vae_base import VAEBase
from pipelines import params
from tests.bench.data import digits
from tests.bench.turns import Turn, milliseconds, ratio, take

BATCH, STEPS = 128, 24
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp, 400 units": {"architecture": "mlp", "width": 400, "head_depth": 0},
    "conv, 16 channels": {"architecture": "conv", "width": 16},
    "conv, 32 channels": {"architecture": "conv", "width": 32},
}


class _Encoder(BaseEncoder):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> ModelOutput:
        mean, logvar = self.network(x).chunk(2, dim=1)
        return ModelOutput(embedding=mean, log_covariance=logvar)


class _Decoder(BaseDecoder):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, z: Tensor) -> ModelOutput:
        return ModelOutput(reconstruction=torch.sigmoid(self.network(z)))


def settings(network: dict[str, Any]) -> dict[str, Any]:
    """The entry `vae` of params.yaml with another network and for images that are binary."""
    same = {"binarize": "none", "batch_size": BATCH, "num_steps": 10**6, "clip_norm": None}
    return {**params.load().models["vae"], **network, **same}


def ours(entry: dict[str, Any], images: Images, precision: Precision) -> Turn:
    """An epoch of our trainer."""
    model = build(entry, ImageShape(*images.x.shape[1:]))
    trainer = Trainer(model, images, images.at(slice(16)), LoopSettings(0, precision, 1, 1))

    class EpochIsOver(Exception):
        pass

    def stop(step: int, _: Tensor) -> None:
        if step % STEPS == 0:
            raise EpochIsOver

    def epoch() -> None:
        with contextlib.suppress(EpochIsOver):
            trainer.run(Callbacks(progress=stop))

    return epoch


def pythae(entry: dict[str, Any], images: Images, folder: str) -> Turn:
    """An epoch of pythae's trainer."""
    shape = ImageShape(*images.x.shape[1:])
    model = build(entry, shape)
    assert isinstance(model, VAEBase)
    config = VAEConfig(
        input_dim=tuple(shape), latent_dim=entry["latent_dim"], reconstruction_loss="bce"
    )
    trainer = BaseTrainer(
        VAE(config, _Encoder(model.encoder), _Decoder(model.decoder)),
        BaseDataset(images.x, images.y),
        training_config=BaseTrainerConfig(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            learning_rate=entry["learning_rate"],
            no_cuda=True,
        ),
    )
    trainer.prepare_training()
    epochs = iter(range(1, 10**6))
    return lambda: trainer.train_step(next(epochs))


def main() -> None:
    """Prints a line a network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each (default: 7)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--networks", type=int, default=len(NETWORKS), help="only the first so many")
    asked = parser.parse_args()
    logging.disable(logging.INFO)
    grey = digits(BATCH * STEPS)
    images = Images(grey.x.bernoulli(generator=torch.Generator().manual_seed(0)), grey.y)
    for threads in asked.threads:
        torch.set_num_threads(threads)
        for name, network in list(NETWORKS.items())[:asked.networks]:
            entry = settings(network)
            with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as bars:
                with contextlib.redirect_stderr(bars):  # pythae's progress bars
                    spent = take(
                        {
                            "pythae": pythae(entry, images, folder),
                            "fp32": ours(entry, images, "fp32"),
                            "bf16": ours(entry, images, "bf16"),
                        },
                        asked.rounds,
                    )
            print(f"{name}, {threads} threads: a step of pythae {milliseconds(spent['pythae'], STEPS)}")
            for precision in ("fp32", "bf16"):
                print(f"  pythae / ours in {precision}: {ratio(spent['pythae'], spent[precision])}", flush=True)


if __name__ == "__main__":
    main()

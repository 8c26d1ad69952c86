"""Training speed of this project and of pythae: same networks, digits, batches, loss, optimiser.

`python -m tests.bench.against_pythae` trains in alternation, one epoch at a time, on 3,072 digits
with static binarisation, in batches of 128, with Adam: pythae's VAE in float32, this project's VAE
in float32 and with `precision: bf16`. Both VAEs have the same encoder and decoder. pythae has its
defaults and no evaluation set; its epoch is one `BaseTrainer.train_step`. This project's epoch is
the same number of steps of `Trainer.run`, which also checks the gradient norm and the loss, and
validates on 16 images.

Prints pythae's time / this project's time: at 1.4, this project trains 1.4 times as fast.
"""

import argparse
import contextlib
import itertools
import logging
import tempfile
from pathlib import Path
from typing import Any

import torch
from pythae.data.datasets import BaseDataset
from pythae.models import VAE, VAEConfig
from pythae.models.base.base_utils import ModelOutput
from pythae.models.nn import BaseDecoder, BaseEncoder
from pythae.trainers import BaseTrainer, BaseTrainerConfig
from torch import Tensor, nn

from genmodels.base.model import Images
from genmodels.base.vae import VAEBase
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training.loop import LoopSettings, Precision, Trainer
from pipelines.settings import params
from tests.bench.data import digits
from tests.bench.turns import Turn, milliseconds, ratio, steps_of, take

BATCH, STEPS = 128, 24
NETWORKS: dict[str, dict[str, Any]] = {
    "mlp400": {"architecture": "mlp", "width": 400, "head_depth": 0},
    "conv16": {"architecture": "conv", "width": 16},
    "conv32": {"architecture": "conv", "width": 32},
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


def entry_of(network: str) -> dict[str, Any]:
    """The entry `vae` of params.yaml with another network and the settings of pythae's trainer."""
    same = {
        "binarize": "none",
        "kl_warmup": 0.0,
        "batch_size": BATCH,
        "learning_rate_schedule": "constant",
        "learning_rate_end": 1.0,
        "clip_norm": None,
        "num_steps": 10**6,
    }
    return {**params.load().models["vae"], **NETWORKS[network], **same}


def ours(entry: dict[str, Any], images: Images, precision: Precision) -> Turn:
    """One epoch of this project's trainer."""
    model = build(entry, ImageShape(*images.x.shape[1:]))
    settings = LoopSettings(0, precision, 1, 1)
    return steps_of(Trainer(model, images, images.at(slice(16)), settings), STEPS)


def pythae(entry: dict[str, Any], images: Images, folder: str) -> Turn:
    """One epoch of pythae's trainer, which writes to a folder."""
    shape = ImageShape(*images.x.shape[1:])
    model = build(entry, shape)
    assert isinstance(model, VAEBase)
    latent_dim = entry["latent_dim"]
    config = VAEConfig(tuple(shape), latent_dim=latent_dim, reconstruction_loss="bce")
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
    epochs = itertools.count(1)
    return lambda: trainer.train_step(next(epochs))


def main() -> None:
    """Prints one line per network, number of threads and precision."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.against_pythae", description=__doc__
    )
    parser.add_argument("networks", nargs="*", help=f"of {', '.join(NETWORKS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=7, help="epochs of each (default: 7)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="default: 1 2")
    arguments = parser.parse_args()
    logging.disable(logging.INFO)
    grey = digits(BATCH * STEPS)
    binary = grey.x.bernoulli(generator=torch.Generator().manual_seed(0))
    images = Images(binary, grey.y)
    for threads, network in itertools.product(arguments.threads, arguments.networks or NETWORKS):
        torch.set_num_threads(threads)
        entry = entry_of(network)
        with (
            tempfile.TemporaryDirectory() as folder,
            Path(folder, "progress").open("w") as bars,
            contextlib.redirect_stderr(bars),
        ):
            spent = take(
                {
                    "pythae": pythae(entry, images, folder),
                    "fp32": ours(entry, images, "fp32"),
                    "bf16": ours(entry, images, "bf16"),
                },
                arguments.rounds,
            )
        theirs = spent["pythae"]
        print(f"{network}, {threads} threads: a step of pythae {milliseconds(theirs, STEPS)}")
        for precision in ("fp32", "bf16"):
            print(f"  pythae / ours in {precision}: {ratio(theirs, spent[precision])}", flush=True)


if __name__ == "__main__":
    main()

"""Small GANs for tests: settings with every option, and one training step."""

import torch

from genmodels.base.model import Images, normal
from genmodels.base.seeding import generator
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from genmodels.training.loop import LoopSettings, Trainer
from tests.conftest import NUM_CLASSES

PLAIN = {
    "kind": "gan",
    "num_steps": 4,
    "batch_size": 16,
    "learning_rate": 1e-3,
    "learning_rate_schedule": "constant",
    "learning_rate_end": 1.0,
    "adam_beta1": 0.0,
    "adam_beta2": 0.99,
    "adam_beta2_end": 0.99,
    "weight_decay": 0.0,
    "clip_norm": None,
    "ema_half_life": 0,
    "architecture": "conv",
    "width": 4,
    "depth": 1,
    "head_width": 8,
    "head_depth": 0,
    "activation": "leaky_relu",
    "dropout": 0.0,
    "latent_dim": 3,
    "conditional": False,
    "loss": "non_saturating",
    "penalties": "none",
    "penalty_weight": 0.0,
    "penalty_weight_end": 1.0,
    "weight_clip": None,
    "discriminator_norm": "none",
    "generator_norm": "none",
    "discriminator_steps": 1,
    "augmentation": "none",
}


BATCH_NORM = {"discriminator_norm": "batch", "generator_norm": "batch"}


LABELS = torch.arange(64) % NUM_CLASSES


def penalised(name, weight=3.0, **changes):
    return {"penalties": name, "penalty_weight": weight} | changes


#: Every option at least once.
VARIANTS = {
    "plain": {},
    "dcgan": BATCH_NORM,
    "minimax": {"loss": "minimax"},
    "lsgan": {"loss": "least_squares"},
    "sngan": {"loss": "hinge", "discriminator_norm": "spectral"},
    "wgan": {"loss": "wasserstein", "weight_clip": 0.01},
    "wgan_gp": {"loss": "wasserstein"} | penalised("gradient_penalty", 10.0),
    "r1": penalised("r1"),
    "r2": penalised("r2"),
    "r3gan": {"loss": "relativistic"} | penalised("r1_r2", penalty_weight_end=0.1),
    "augmented": {"augmentation": "diffaugment"} | penalised("r1"),
    "conditional": {"conditional": True} | penalised("r1_r2"),
    "dropout": {"dropout": 0.3},
}


def gan(**changes):
    model = build(PLAIN | changes, ImageShape(1, 12, 12), NUM_CLASSES)
    labels = torch.arange(NUM_CLASSES) if model.conditional else None
    start = Images(torch.zeros(NUM_CLASSES, 1, 12, 12), labels)
    model.initialise(generator(0, "weights"), start)
    return model


def labels(model, n=16):
    return LABELS[:n] if model.conditional else None


def turn(model, x, phase="discriminator", step=0):
    return model.training_step(x, labels(model, len(x)), phase, step, generator(0, "step"))


def trainer(model, images, seed=0):
    data = Images(images, LABELS[: len(images)])
    settings = LoopSettings(seed, "fp32", 1, 1)
    return Trainer(model, data.at(slice(48)), data.at(slice(48, None)), settings)


def two_sides(model, images):
    """Real and generated images in [-1, 1], the inputs of the discriminator's phase."""
    z = normal((16, 3), generator(0, "step"), torch.device("cpu"))
    return 2 * images[:16] - 1, 2 * model.decode(z, labels(model)) - 1

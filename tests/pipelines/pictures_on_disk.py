"""Folders of pictures and what scores them, small."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from pipelines.settings import sections
from tests.pipelines.test_features import SETTINGS


class Settings:
    """What of params.yaml the command reads."""

    features = SETTINGS
    evaluate = sections.Evaluate(
        metrics=["fid", "kid", "mse"],
        max_samples=30,
        sample_sets=2,
        sample_seed=0,
        metric_seed=0,
        grid_images=1,
    )


def write_pictures(folder: Path, count: int, size=(12, 12), mode: str = "L", seed: int = 0) -> Path:
    """Corners as `prepare` draws them, as files."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = rng.integers(80, size=(size[1], size[0]), dtype=np.uint8)
        row, column = 7 * rng.integers(2), 7 * rng.integers(2)
        pixels[row : row + 4, column : column + 4] += 150
        Image.fromarray(pixels).convert(mode).save(folder / f"{index:03d}.png")
    return folder


def write_classes(folder: Path) -> Path:
    """Ten dark pictures and, behind them in the order of names, ten bright ones."""
    folder.mkdir()
    for index in range(20):
        level = np.full((12, 12), index + 235 * (index >= 10), np.uint8)
        Image.fromarray(level).save(folder / f"{index:02d}.png")
    return folder


class Means:
    """Three features in the place of the Inception network, whose weights nobody has here."""

    name, sha256, unit = "inception", "c" * 64, "raw"

    def features(self, x):
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3)), x[:, 0, 0, 0]], 1)

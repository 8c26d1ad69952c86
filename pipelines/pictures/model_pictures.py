"""The uncurated pictures of one trained model: the first samples, the first test images."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.figures import grids
from evaluation.measuring.images import quantise
from evaluation.measuring.memorisation import nearest_pairs
from evaluation.measuring.protocols import Reconstructor
from genmodels.base.model import GenerativeModel
from genmodels.base.seeding import generator
from pipelines.data.splits import Split
from pipelines.training.weights import MADE_BY, read_snapshots

GRID_COLUMNS = 8
#: Pairs of latents in the interpolation picture, and images from one to the other.
INTERPOLATIONS, INTERPOLATION_STEPS = 8, 8
RECONSTRUCTIONS = 16
#: Rows of the picture of classes; of more classes the first ones.
MAX_CLASSES = 20


def draw(model: GenerativeModel, samples: Tensor, test: Split, seed: int, folder: Path) -> None:
    """Draws the uncurated pictures: the first samples, (N, C, H, W) in [0, 1], and test images.

    The model is in evaluation mode; `seed` of the drawn latents is the same for every model.
    """
    drawn = {"samples": grids.image_grid(samples, GRID_COLUMNS)}
    if model.conditional:
        drawn["classes"] = grids.image_grid(sample_classes(model, seed), GRID_COLUMNS)
    drawn["interpolations"] = grids.image_grid(interpolate(model, seed), INTERPOLATION_STEPS)
    if isinstance(model, Reconstructor):
        x, condition = test.images[:RECONSTRUCTIONS], dict[str, Any]()
        if model.conditional:
            assert test.labels is not None  # a conditional model cannot be trained without labels
            condition["labels"] = test.labels[:RECONSTRUCTIONS].to(model.device)
        x_hat = model.reconstruct(x.to(model.device), **condition).cpu()
        drawn["reconstructions"] = grids.reconstruction_grid(x, x_hat, GRID_COLUMNS)
    for name, picture in drawn.items():
        grids.save_png(picture, folder / f"{name}.png")


def sample_classes(model: GenerativeModel, seed: int) -> Tensor:
    """One class per row, at most MAX_CLASSES, the same latents in every row of GRID_COLUMNS.

    (rows * GRID_COLUMNS, C, H, W) in [0, 1].
    """
    rows = [
        # Latents are drawn for each row from the same seed: a prior may depend on the class.
        model.sample(GRID_COLUMNS, generator(seed, "classes"), torch.full((GRID_COLUMNS,), label))
        for label in range(min(model.num_classes, MAX_CLASSES))
    ]
    return torch.cat(rows).cpu()


def interpolate(model: GenerativeModel, seed: int) -> Tensor:
    """Images along great circles between latents, one pair (and class) per row.

    A straight line between two Gaussian latents passes through latents of much smaller norm. On the
    great circle (White 2016, arXiv 1609.04468) the norm changes linearly. The result is
    (INTERPOLATIONS * INTERPOLATION_STEPS, C, H, W) in [0, 1].
    """
    rng = generator(seed, "interpolations")
    labels = model.labels_or_cycle(INTERPOLATIONS, None)
    ends = None if labels is None else labels.repeat(2)
    z = model.sample_latent(2 * INTERPOLATIONS, rng, ends)
    begin, end = (part.unsqueeze(1) for part in z.chunk(2))
    share = torch.linspace(0, 1, INTERPOLATION_STEPS, device=z.device).reshape(1, -1, 1)
    along = None if labels is None else labels.repeat_interleave(INTERPOLATION_STEPS)
    return model.decode(great_circle(begin, end, share).flatten(0, 1), along).cpu()


def great_circle(begin: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Points (..., T, d) between two vectors (..., 1, d): angle and norm change linearly.

    `share` is (..., T, 1) in [0, 1]. Nearly opposite vectors are joined by a straight line, because
    their great circle is not unique (and does not exist in one dimension).
    """
    first, last = (vector.norm(dim=-1, keepdim=True) for vector in (begin, end))
    a, b = begin / first, end / last
    cosine = (a * b).sum(-1, keepdim=True)
    angle = torch.arccos(cosine.clamp(-0.999, 0.999))
    turned = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / angle.sin()
    curved = turned * torch.lerp(first, last, share)
    return torch.where(cosine.abs() < 0.999, curved, torch.lerp(begin, end, share))


def draw_nearest(samples: Tensor, train: Tensor, path: Path) -> None:
    """Draws the samples nearest to training images, each above its nearest training image."""
    pairs = nearest_pairs(quantise(samples), train)
    grid = grids.reconstruction_grid(samples[pairs.generated], train[pairs.train], GRID_COLUMNS)
    grids.save_png(grid, path)


def draw_training(trained: Path, folder: Path) -> None:
    """Draws samples of fixed latents at several steps of the training in folder `trained`."""
    snapshots = read_snapshots(trained, f"{MADE_BY} train@{trained.parent.name}")
    for step, images in snapshots.items():
        grid = grids.image_grid(images.float() / 255, GRID_COLUMNS)
        grids.save_png(grid, folder / f"step_{step:06d}.png")

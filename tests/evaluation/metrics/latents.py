"""Latents of known content and the encoder that returns them, for the metrics of an encoder."""

from dataclasses import dataclass

import torch
from torch import Tensor

from evaluation.measuring.real_images import RealImages

CLASSES = 10


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, d: int, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=generator(seed), dtype=torch.float64)


@dataclass(frozen=True)
class PixelEncoder:
    """An encoder whose posterior mean is the pixels."""

    std: float | None = 1.0
    unit_normal_prior: bool = True
    conditional: bool = False

    def latent_posterior(
        self, x: Tensor, rng: torch.Generator, labels: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        mean = x.flatten(1)
        return mean, None if self.std is None else torch.full_like(mean, self.std)


def images_of(latents: Tensor, labels: Tensor | None = None, split: str = "test") -> RealImages:
    """Images (N, 1, 1, d) whose pixels are latents (N, d)."""
    return RealImages(latents[:, None, None], labels, {}, "toy", split, split)


def one_hot(n: int, seed: int, noise: float = 0.0) -> tuple[Tensor, Tensor]:
    labels = torch.randint(CLASSES, (n,), generator=generator(seed))
    clean = torch.nn.functional.one_hot(labels, CLASSES).double()
    return clean + noise * normal(n, CLASSES, seed), labels

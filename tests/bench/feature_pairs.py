"""Pairs of feature sets on which implementations of a metric are compared."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from evaluation.measuring.moments import covariance, total_variance
from evaluation.metrics.precision_recall import K as K_PRECISION
from pipelines.data import tensor_file
from pipelines.settings import paths


@dataclass(frozen=True, eq=False)
class Pair:
    """Two sets of features (N, d), float64 with float32 precision, and their properties."""

    name: str
    reference: Tensor
    generated: Tensor

    def to(self, dtype: torch.dtype) -> "Pair":
        """The same features with another dtype."""
        return Pair(self.name, self.reference.to(dtype), self.generated.to(dtype))

    @cached_property
    def logits(self) -> Tensor:
        """(N, 10) class logits of the generated set."""
        rng = torch.Generator().manual_seed(0)
        x = self.generated.double()
        weights = torch.randn(x.shape[1], 10, generator=rng, dtype=torch.float64)
        return (x @ weights / x.var(0).sum().sqrt()).float().to(self.generated)

    @cached_property
    def scales(self) -> Mapping[str, float]:
        """The size of the terms whose difference is a metric."""
        variance = total_variance(self.reference) + total_variance(self.generated)
        kernel = (self.reference.square().mean(1) + 1).pow(3).mean().item()
        return {"fid": variance, "kid": kernel}

    @cached_property
    def singular(self) -> bool:
        """Whether a covariance has an eigenvalue below 1e-6 of the largest, or no positive one."""
        spectra = (torch.linalg.eigvalsh(covariance(x)) for x in (self.reference, self.generated))
        return any(bool(values[0] < 1e-6 * values[-1]) for values in spectra)

    @cached_property
    def offset(self) -> float:
        """The distance of both sets from the origin, in standard deviations."""
        x = torch.cat([self.reference, self.generated]).double()
        return (x.mean(0).norm() / x.var(0).sum().sqrt()).item()

    @cached_property
    def border(self) -> float:
        """The increase of recall if points on the surface of a ball count as inside."""
        exact = "donot_use_mm_for_euclid_dist"
        own = torch.cdist(self.generated, self.generated, compute_mode=exact)
        radii = own.fill_diagonal_(math.inf).kthvalue(K_PRECISION).values
        across = torch.cdist(self.reference, self.generated, compute_mode=exact)
        inside, closed = (within(radii).any(1).double().mean() for within in (across.lt, across.le))
        return (closed - inside).item()

    @cached_property
    def impossible(self) -> bool:
        """Whether a class has probability 0 in all images."""
        return bool((self.logits.softmax(1).sum(0) == 0).any())


def pairs() -> list[Pair]:
    """Seeded pairs, and the features of the real images if stage `features` has run."""
    rng = torch.Generator().manual_seed(0)
    n, d = 1000, 64

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=rng, dtype=torch.float64)

    mix = normal(d, d) / d**0.5
    one, two = normal(n, d) @ mix, 1.2 * normal(n, d) @ mix + 0.2
    dead = (torch.arange(d) % 4 > 0).double()
    decades = torch.logspace(0, -4, d, dtype=torch.float64)
    which = torch.randint(n, (n,), generator=rng)
    all_pairs = [
        Pair("Gaussians", one, two),
        Pair("null", one, normal(n, d) @ mix),
        Pair("ill-conditioned", normal(n, d) * decades @ mix, 1.2 * normal(n, d) * decades @ mix),
        Pair("dead features", one * dead, two * dead),
        Pair("40 of 64", one[:40], two[:40]),
        Pair("the same set", one[:40], one[:40]),
        Pair("copies", one, one[which]),
        Pair("far from 0", one + 1000, two + 1000),
    ]
    stored = [paths.FEATURES / "classifier" / f"{split}.safetensors" for split in ("test", "valid")]
    if all(path.is_file() for path in stored):
        real = [tensor_file.read(path, "dvc repro features")[0]["features"] for path in stored]
        all_pairs.append(Pair("test, valid", *real))
    return [pair.to(torch.float32).to(torch.float64) for pair in all_pairs]

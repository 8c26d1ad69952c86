"""Variational autoencoder: VAE, beta-VAE, controlled capacity, free bits."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels.base.schedules import scheduled
from genmodels.base.vae import Terms, VAEBase, VAEConfig
from genmodels.objectives.divergences import kl_to_standard_normal


class Config(VAEConfig):
    """Settings of kind `vae`. At most one of beta, capacity and free bits departs from the VAE.

    Attributes:
        beta: Weight of the rate; 1 is the VAE.
        capacity: The rate in nats that is aimed at, or null.
        capacity_weight: Weight of the distance from it; 0 without a capacity.
        capacity_ramp: Share of the run over which the capacity rises from 0; 0 without one.
        free_bits: Nats of each dimension that cost nothing; 0 for none.
    """

    kind: Literal["vae"]
    beta: Annotated[float, Field(ge=0)]
    capacity: Annotated[float, Field(gt=0)] | None
    capacity_weight: Annotated[float, Field(ge=0)]
    capacity_ramp: Annotated[float, Field(ge=0, le=1)]
    free_bits: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _one_departure(self) -> Self:
        departures = [
            f"{key}: {getattr(self, key)}"
            for key, plain in (("beta", 1), ("capacity", None), ("free_bits", 0))
            if getattr(self, key) != plain
        ]
        if len(departures) > 1:
            raise ValueError(
                f"{' and '.join(departures)} exclude one another; the VAE has beta: 1, "
                "capacity: null, free_bits: 0"
            )
        return self

    @model_validator(mode="after")
    def _capacity_is_whole(self) -> Self:
        if (self.capacity is not None) != (self.capacity_weight > 0):
            needs = "0" if self.capacity is None else "above 0"
            raise ValueError(f"capacity {self.capacity} needs a capacity_weight of {needs}")
        if self.capacity is None and self.capacity_ramp:
            raise ValueError("capacity null needs a capacity_ramp of 0")
        if self.capacity is not None and self.kl_warmup:
            raise ValueError("capacity has a ramp of its own: set kl_warmup: 0")
        if self.free_bits and self.prior != "normal":
            raise ValueError(
                f"free_bits {self.free_bits} needs the rate of each dimension, which prior "
                f"{self.prior!r} does not have; set prior: normal"
            )
        return self


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + beta KL(q(z | x) || p(z)) or one of its relatives.

    Kingma & Welling 2014, Eq. 3, with beta = 1; Higgins et al. 2017, Eq. 4. Capacity is Burgess et
    al. 2018 (arXiv 1804.03599), Eq. 8, with the absolute value of the batch's mean rate; free bits
    are Kingma et al. 2016 (arXiv 1606.04934), per dimension of the batch's mean rate.
    """

    config: Config

    def capacity_at(self, step: int) -> float:
        """The rate in nats that is aimed at, at a step."""
        config = self.config
        ramp = config.capacity_ramp * config.num_steps
        return scheduled("linear", step, ramp, 0.0, config.capacity or 0.0)

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Beta times the rate, the distance from the capacity, or the rate above the free bits."""
        config = self.config
        if config.capacity is not None:
            capacity = self.capacity_at(step)
            distance = (terms.rate.mean() - capacity).abs()
            return config.capacity_weight * distance, {"capacity": capacity}
        if config.free_bits:
            each = kl_to_standard_normal(terms.mean, terms.logvar).mean(0)
            return each.clamp(min=config.free_bits).sum(), {}
        return config.beta * terms.rate, {}

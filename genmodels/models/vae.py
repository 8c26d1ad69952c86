"""Variational autoencoder: VAE, beta-VAE, controlled capacity, free bits."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels.base.schedules import scheduled
from genmodels.base.vae import Terms, VAEBase
from genmodels.base.vae_config import VAEConfig
from genmodels.objectives.divergences import kl_to_standard_normal


class Config(VAEConfig):
    """Settings of kind `vae`; at most one of beta, capacity and free_bits is not neutral.

    Attributes:
        beta: Weight of the rate; 1 = VAE.
        capacity: Target of the rate in nats; null = no target.
        capacity_weight: Weight of the distance between rate and capacity; 0 if capacity is null.
        capacity_ramp: Fraction of the run in which the capacity rises from 0; 0 if capacity is
            null.
        free_bits: Nats per dimension without penalty; 0 = none.
    """

    kind: Literal["vae"]
    beta: Annotated[float, Field(ge=0)]
    capacity: Annotated[float, Field(gt=0)] | None
    capacity_weight: Annotated[float, Field(ge=0)]
    capacity_ramp: Annotated[float, Field(ge=0, le=1)]
    free_bits: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _one_variant(self) -> Self:
        variants = [
            f"{key}: {getattr(self, key)}"
            for key, neutral in (("beta", 1), ("capacity", None), ("free_bits", 0))
            if getattr(self, key) != neutral
        ]
        if len(variants) > 1:
            raise ValueError(
                f"{' and '.join(variants)} exclude one another; all but one of them must be "
                "neutral (beta: 1, capacity: null, free_bits: 0)"
            )
        return self

    @model_validator(mode="after")
    def _capacity_is_complete(self) -> Self:
        if (self.capacity is not None) != (self.capacity_weight > 0):
            capacity, needed = (
                ("null", "0") if self.capacity is None else (self.capacity, "above 0")
            )
            raise ValueError(
                f"capacity_weight {self.capacity_weight} contradicts capacity {capacity}, which "
                f"needs a capacity_weight of {needed}"
            )
        if self.capacity is None and self.capacity_ramp:
            raise ValueError(
                f"capacity_ramp {self.capacity_ramp} contradicts capacity null; set "
                "capacity_ramp: 0"
            )
        if self.capacity is not None and self.kl_warmup:
            raise ValueError(
                f"kl_warmup {self.kl_warmup} contradicts capacity {self.capacity}; set kl_warmup: "
                "0 and use capacity_ramp"
            )
        return self

    @model_validator(mode="after")
    def _free_bits_have_a_rate_per_dimension(self) -> Self:
        if self.free_bits and self.prior != "normal":
            raise ValueError(
                f"free_bits {self.free_bits} contradicts prior {self.prior!r}, which has no rate "
                "per dimension; set prior: normal or free_bits: 0"
            )
        return self


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + beta KL(q(z | x) || p(z)), or a variant of it.

    beta = 1: Kingma & Welling 2014, Eq. 3. Other beta: Higgins et al. 2017, Eq. 4. Capacity:
    Burgess et al. 2018 (arXiv 1804.03599), Eq. 8, with |mean rate of the batch - capacity|. Free
    bits: Kingma et al. 2016 (arXiv 1606.04934), per dimension, on the mean rate of the batch.
    """

    config: Config

    def capacity_at(self, step: int) -> float:
        """The target of the rate at a step, in nats."""
        config = self.config
        ramp = config.capacity_ramp * config.num_steps
        return scheduled("linear", step, ramp, 0.0, config.capacity or 0.0)

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """Beta * rate, weighted distance from the capacity, or the rate above the free bits."""
        config = self.config
        if config.capacity is not None:
            capacity = self.capacity_at(step)
            distance = (terms.rate.mean() - capacity).abs()
            return config.capacity_weight * distance, {"capacity": capacity}
        if config.free_bits:
            each = kl_to_standard_normal(terms.mean, terms.logvar).mean(0)
            return each.clamp(min=config.free_bits).sum(), {}
        return config.beta * terms.rate, {}

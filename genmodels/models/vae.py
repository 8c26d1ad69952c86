"""Variational autoencoder and beta-VAE."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from genmodels.schedules import scheduled
from genmodels.vae_base import VAEBase, VAEConfig


class Config(VAEConfig):
    """Settings of kind `vae`.

    Attributes:
        beta: Weight of the rate; 1 is the VAE.
        beta_warmup: Share of the run over which the weight rises linearly from 0 to `beta`.
    """

    kind: Literal["vae"]
    beta: Annotated[float, Field(ge=0)]
    beta_warmup: Annotated[float, Field(ge=0, le=1)]


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + beta KL(q(z | x) || p(z)).

    Kingma & Welling 2014, Eq. 3, with beta = 1; Higgins et al. 2017, Eq. 4.
    """

    config: Config

    def beta_at(self, step: int) -> float:
        """The weight of the rate at a step."""
        config = self.config
        warmup = round(config.beta_warmup * config.num_steps)
        return scheduled("linear", step, warmup, 0.0, config.beta)

    def regularizer(self, rate: Tensor, step: int) -> tuple[Tensor, Mapping[str, float]]:
        """Beta times the rate."""
        beta = self.beta_at(step)
        return beta * rate, {"beta": beta}

"""DIP-VAE: a penalty on the distance of the codes' covariance from the identity."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels.base.vae import Terms, VAEBase
from genmodels.base.vae_config import VAEConfig


class Config(VAEConfig):
    """Settings of kind `dip_vae`.

    Both weights are in nats per squared unit of a covariance.

    Attributes:
        covariance: Covariance in the penalty: of the posterior means (`means`, DIP-VAE-I), or of
            draws from the posteriors (`codes`, DIP-VAE-II), whose target is N(0, I).
        off_diagonal: Weight of the squared off-diagonal covariances; 0 = no such penalty.
        diagonal: Weight of the squared distances of the variances from 1. The paper uses 10 *
            `off_diagonal` for `means`, and `off_diagonal` for `codes`.
    """

    kind: Literal["dip_vae"]
    covariance: Literal["means", "codes"]
    off_diagonal: Annotated[float, Field(ge=0)]
    diagonal: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _prior_is_the_standard_normal(self) -> Self:
        if self.prior != "normal":
            raise ValueError(
                f"prior {self.prior!r} is not allowed, because the target of the covariance is "
                "that of N(0, I); set prior: normal"
            )
        return self


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + KL + off_diagonal sum C_ij^2 + diagonal sum (C_ii - 1)^2.

    Kumar, Sattigeri & Balakrishnan 2018 (arXiv 1711.00848), section 3. C is the covariance over a
    batch with divisor N, so a repetition of the batch does not change it. For less than a few
    hundred images per batch, C is mostly noise.
    """

    config: Config

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The rate plus the weighted distance of the covariance from the identity."""
        config = self.config
        with torch.autocast(terms.mean.device.type, enabled=False):
            covariance = torch.cov(terms.mean.T, correction=0)
            if config.covariance == "codes":
                covariance = covariance + terms.logvar.exp().mean(0).diag()
            variances = covariance.diagonal()
            dependence = (covariance - variances.diag()).square().sum()
            distance = (variances - 1).square().sum()
        penalty = config.off_diagonal * dependence + config.diagonal * distance
        return terms.rate + penalty, {"off_diagonal": dependence, "diagonal": distance}

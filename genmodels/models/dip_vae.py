"""DIP-VAE: the covariance of the codes over all images is drawn to the identity."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels.base.vae import Terms, VAEBase, VAEConfig


class Config(VAEConfig):
    """Settings of kind `dip_vae`.

    Both weights are in nats per squared unit of a covariance.

    Attributes:
        covariance: Of the posterior means (`means`, DIP-VAE-I), or of the codes that are drawn
            around them (`codes`, DIP-VAE-II), which N(0, I) really has to match.
        off_diagonal: Weight of the covariances of two dimensions; 0 for none.
        diagonal: Weight of the distances of the variances from 1. The paper takes ten times
            `off_diagonal` for `means` and as much as it for `codes`.
    """

    kind: Literal["dip_vae"]
    covariance: Literal["means", "codes"]
    off_diagonal: Annotated[float, Field(ge=0)]
    diagonal: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _codes_are_matched_to_the_standard_normal(self) -> Self:
        if self.prior != "normal":
            raise ValueError(
                f"prior {self.prior!r}: the covariance of the codes is drawn to that of N(0, I); "
                "set prior: normal"
            )
        return self


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + KL + off_diagonal sum C_ij^2 + diagonal sum (C_ii - 1)^2.

    Kumar, Sattigeri & Balakrishnan 2018 (arXiv 1711.00848), section 3, with C the covariance over a
    batch, which is not corrected for its size: a batch twice is the same batch. Below some hundred
    images C is mostly noise.
    """

    config: Config

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The rate and what the covariance lacks to the identity."""
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

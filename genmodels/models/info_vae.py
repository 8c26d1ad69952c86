"""InfoVAE and MMD-VAE: the codes as a whole match the prior, each by itself need not."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels.base.model import normal
from genmodels.base.vae import Terms, VAEBase, VAEConfig
from genmodels.objectives.mmd import squared_mmd


class Config(VAEConfig):
    """Settings of kind `info_vae`.

    Take batches of at least 128, better 256: at d = 16 the noise of MMD^2 at the prior is 0.0066
    and 0.0033, which at mmd_lambda 1000 are 7 and 3 nats. Its gradient is noise likewise: where it
    outweighs the likelihood's before the codes mean anything, the rate stays at 0. A smaller
    mmd_lambda, larger batches or a longer `kl_warmup` are the ways out.

    Attributes:
        alpha: 1 - alpha is the weight of the rate: 0 keeps the VAE's, 1 removes it (MMD-VAE, the
            Wasserstein autoencoder of Tolstikhin et al. 2018), below 0 it costs more.
        mmd_lambda: Lambda of the paper; alpha + mmd_lambda - 1 is the weight of MMD^2. A published
            lambda of an objective in squared errors is 1 / (2 sigma^2) times as large here.
    """

    kind: Literal["info_vae"]
    alpha: Annotated[float, Field(le=1)]
    mmd_lambda: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _divergence_is_minimised(self) -> Self:
        if self.alpha + self.mmd_lambda < 1:
            raise ValueError(
                f"alpha {self.alpha} and mmd_lambda {self.mmd_lambda} would maximise the MMD; "
                "their sum must be at least 1"
            )
        if self.prior != "normal":
            raise ValueError(
                f"prior {self.prior!r}: the codes are matched to N(0, I); set prior: normal"
            )
        return self

    def cautions(self) -> tuple[str, ...]:
        """Small batches make the divergence noise."""
        few = f"batch_size {self.batch_size}: below 128 the MMD is mostly noise"
        return (*super().cautions(), *([few] if self.batch_size < 128 else []))


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + (1 - alpha) KL + (alpha + lambda - 1) MMD^2(q(z), p(z)).

    Zhao et al. 2017 (arXiv 1706.02262), Eq. 6. MMD^2 has no unit and depends on the batch as a
    whole.
    """

    config: Config

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """What is left of the rate, and the divergence of the codes from draws of the prior."""
        config = self.config
        mmd = squared_mmd(terms.z, normal(terms.z.shape, rng, terms.z.device))
        weighted = (config.alpha + config.mmd_lambda - 1) * mmd
        logged = {"squared_mmd": mmd, "weighted_squared_mmd": weighted}
        return (1 - config.alpha) * terms.rate + weighted, logged

"""Beta-TCVAE: separate weights for the three terms of the rate."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels.base.model import Images
from genmodels.base.vae import Terms, VAEBase
from genmodels.base.vae_config import VAEConfig
from genmodels.networks.shape import ImageShape
from genmodels.objectives.total_correlation import decompose, stratified_log_weights


class Config(VAEConfig):
    """Settings of kind `beta_tcvae`.

    Use at least 256 images per batch, because one batch is the only source of the estimate of
    q(z). The estimate of the total correlation is unreliable while the logged
    `mutual_information_share` is near 1, that is, while no two posteriors of a batch overlap.

    Attributes:
        alpha: Weight of the mutual information of image and code.
        beta: Weight of the total correlation of the dimensions.
        gamma: Weight of the dimension-wise KL.
    """

    kind: Literal["beta_tcvae"]
    alpha: Annotated[float, Field(ge=0)]
    beta: Annotated[float, Field(ge=0)]
    gamma: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _objective_is_bounded(self) -> Self:
        if self.prior == "vamp" and self.gamma > self.beta:
            raise ValueError(
                f"gamma {self.gamma} above beta {self.beta} is not allowed with prior 'vamp': if "
                "the prior equals q(z), the dimension-wise KL is minus the total correlation, and "
                "the loss has no lower bound; set prior: normal, or gamma at most beta"
            )
        return self

    def cautions(self) -> tuple[str, ...]:
        """Warns of batches that are too small to estimate q(z)."""
        small = f"batch_size {self.batch_size}: the estimate of q(z) needs at least 256"
        return (*super().cautions(), *([small] if self.batch_size < 256 else []))


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + alpha MI + beta TC + gamma dimension-wise KL.

    Chen et al. 2018 (arXiv 1802.04942), Eq. 4. With all weights 1 it is the VAE with the rate
    estimated from the drawn codes. The objective depends on the batch and on the size of the
    training split, because q(z) is the mean of the posteriors of all training images.
    """

    config: Config
    num_training_images: Tensor

    def __init__(self, config: Config, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        # A buffer, because a loaded model needs it for the estimator, too.
        self.register_buffer("num_training_images", torch.zeros((), dtype=torch.int64))

    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """Draws all weights and stores the number of training images."""
        super().initialise(rng, images)
        self.num_training_images.fill_(len(images.x))

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The weighted sum of the three terms of the rate."""
        num_images, config = int(self.num_training_images), self.config
        log_weights = stratified_log_weights(len(terms.z), num_images, terms.z.device)
        log_prior = self.prior_log_prob(terms.z)
        parts = decompose(terms.mean, terms.logvar, terms.z, log_prior, log_weights)
        penalty = (
            config.alpha * parts.mutual_information
            + config.beta * parts.total_correlation
            + config.gamma * parts.dimension_wise_kl
        )
        logged = {key: value.mean() for key, value in parts._asdict().items()}
        share = logged["mutual_information"] / math.log(num_images)
        return penalty, {**logged, "mutual_information_share": share}

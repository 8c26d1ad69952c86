"""Beta-TCVAE: the total correlation of the codes costs more than the rest of the rate."""

import math
from collections.abc import Mapping
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from genmodels.base.model import Images
from genmodels.base.vae import Terms, VAEBase, VAEConfig
from genmodels.networks.shape import ImageShape
from genmodels.objectives.total_correlation import decompose, stratified_log_weights


class Config(VAEConfig):
    """Settings of kind `beta_tcvae`.

    Take batches of at least 256: the estimate knows q(z) from one batch alone. It says little about
    the total correlation while `mutual_information_share` is near 1, where no two posteriors of a
    batch overlap.

    Attributes:
        alpha: Weight of the mutual information of image and code.
        beta: Weight of the total correlation of the dimensions.
        gamma: Weight of the KL of each dimension by itself.
    """

    kind: Literal["beta_tcvae"]
    alpha: Annotated[float, Field(ge=0)]
    beta: Annotated[float, Field(ge=0)]
    gamma: Annotated[float, Field(ge=0)]

    @model_validator(mode="after")
    def _dependence_is_never_rewarded(self) -> Self:
        if self.prior == "vamp" and self.gamma > self.beta:
            raise ValueError(
                f"prior 'vamp' with gamma {self.gamma} above beta {self.beta}: a prior that is no "
                "product can follow the codes, the dimension-wise KL is then minus the total "
                "correlation, and the loss falls without end; set prior: normal"
            )
        return self

    def cautions(self) -> tuple[str, ...]:
        """Small batches know little of q(z)."""
        few = f"batch_size {self.batch_size}: the estimate of q(z) is good from 256 on"
        return (*super().cautions(), *([few] if self.batch_size < 256 else []))


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + alpha MI + beta TC + gamma dimension-wise KL.

    Chen et al. 2018 (arXiv 1802.04942), Eq. 4. With all weights 1 this is the VAE with the rate of
    the drawn codes. The objective depends on batch and data set as a whole: q(z) is the average of
    the posteriors of all training images.
    """

    config: Config
    num_training_images: Tensor

    def __init__(self, config: Config, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        # A buffer: the estimator needs it wherever the model is loaded.
        self.register_buffer("num_training_images", torch.zeros((), dtype=torch.int64))

    def initialise(self, rng: torch.Generator, images: Images) -> None:
        """As every VAE, and counts the training images."""
        super().initialise(rng, images)
        self.num_training_images.fill_(len(images.x))

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The three parts of the rate, each with its weight."""
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

"""FactorVAE: a penalty on the total correlation of the codes, estimated by a critic."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from genmodels.base.model import Phase, normal
from genmodels.base.vae import Terms, VAEBase
from genmodels.base.vae_config import VAEConfig
from genmodels.networks.blocks import fully_connected
from genmodels.networks.shape import ImageShape
from genmodels.objectives.density_ratio import density_ratio_loss, permute_dimensions


class Config(VAEConfig):
    """Settings of kind `factor_vae`.

    Attributes:
        gamma: Weight of the total correlation.
        critic_width: Units per hidden layer of the critic.
        critic_depth: Number of hidden layers of the critic.
        critic_learning_rate: Learning rate of the critic at step 0; the schedule of
            `learning_rate` applies.
        critic_adam_beta1: Adam's decay rate of the first moment, for the critic.
        critic_adam_beta2: Adam's decay rate of the second moment, for the critic.
    """

    kind: Literal["factor_vae"]
    gamma: Annotated[float, Field(ge=0)]
    critic_width: Annotated[int, Field(ge=1)]
    critic_depth: Annotated[int, Field(ge=1)]
    critic_learning_rate: Annotated[float, Field(gt=0)]
    critic_adam_beta1: Annotated[float, Field(ge=0, lt=1)]
    critic_adam_beta2: Annotated[float, Field(ge=0, lt=1)]


class Model(VAEBase):
    """Minimises E_q[-log p(x | z)] + KL(q(z | x) || p(z)) + gamma TC(q(z)).

    Kim & Mnih 2018 (arXiv 1802.05983), Eq. 2 and Algorithm 2. The critic has one logit, the
    log-ratio of q(z) and prod_d q(z_d), whose mean is the total correlation (factor 1).
    """

    config: Config

    def __init__(self, config: Config, shape: ImageShape, num_classes: int) -> None:
        super().__init__(config, shape, num_classes)
        options = replace(config.network(norm="none", dropout=0.0), activation="leaky_relu")
        width, depth = config.critic_width, config.critic_depth
        layers = fully_connected(config.latent_dim, width, depth, options)
        self.critic = nn.Sequential(*layers, nn.Linear(width, 1))

    def phases(self) -> tuple[Phase, ...]:
        """The autoencoder with a frozen critic, then the critic."""
        config, critic = self.config, list(self.critic.parameters())
        others = [p for name, p in self.named_parameters() if not name.startswith("critic.")]
        betas = (float(config.critic_adam_beta1), float(config.critic_adam_beta2))
        return (
            self.whole_phase("vae", others),
            Phase("critic", critic, learning_rate=config.critic_learning_rate, betas=betas),
        )

    def training_step(
        self, x: Tensor, y: Tensor | None, phase: str, step: int, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        """The objective of the phase: autoencoder or critic."""
        if phase == "vae":
            return super().training_step(x, y, phase, step, rng)
        return self._critic_step(self.observe(x, self.pixel_noise(x, rng)), y, rng)

    def regularizer(
        self, terms: Terms, step: int, rng: torch.Generator
    ) -> tuple[Tensor, Mapping[str, Tensor | float]]:
        """The rate plus gamma times the critic's log-ratio; the loop freezes the critic."""
        ratio = self.log_density_ratio(terms.z)
        return terms.rate + self.config.gamma * ratio, {"total_correlation": ratio.mean()}

    def _critic_step(
        self, x: Tensor, y: Tensor | None, rng: torch.Generator
    ) -> Mapping[str, Tensor]:
        with torch.no_grad():
            mean, logvar = self.posterior(x, y)
            z = mean + (0.5 * logvar).exp() * normal(mean.shape, rng, mean.device)
        # Two halves of the batch, so that the two classes have no codes in common.
        half = len(z) // 2
        joint = self.log_density_ratio(z[:half])
        product = self.log_density_ratio(permute_dimensions(z[half:], rng))
        accuracy = 0.5 * ((joint > 0).float().mean() + (product < 0).float().mean())
        return {"loss": density_ratio_loss(joint, product), "accuracy": accuracy}

    def log_density_ratio(self, z: Tensor) -> Tensor:
        """The critic's log q(z) - sum_d log q(z_d) of z (N, d): (N,) nats, always in float32."""
        with torch.autocast(z.device.type, enabled=False):
            ratio: Tensor = self.critic(z).squeeze(1)
        return ratio

"""Other samplers for a trained model: the same networks with another density of the codes."""

from typing import Self

import torch
from torch import Tensor

from genmodels.base.image_likelihood import LikelihoodModel
from genmodels.base.model import GenerativeModel, Images
from genmodels.base.seeding import generator


class ExPostModel(LikelihoodModel):
    """A model with codes (N, latent_dim) whose sampler can be replaced after training.

    Ghosh et al. 2020 (arXiv 1903.12436), table 1.
    """

    def with_normal_codes(self) -> "NormalCodes":
        """A sampler that decodes draws from N(0, I) instead of this model's own sampler."""
        return NormalCodes(self)

    def with_mixture(
        self, num_components: int, x: Tensor, seed: int, labels: Tensor | None = None
    ) -> Self:
        """This model with a Gaussian mixture fitted to codes as its sampler.

        Args:
            num_components: Components of the mixture; in a conditional model, per class.
            x: (N, C, H, W) in [0, 1], the training images.
            seed: Training seed; the mixture of sampler `gmm` has the same seed.
            labels: (N,) classes, for a conditional model.
        """
        changes: dict[str, int | str] = {"gmm_components": num_components}
        if "sampler" in type(self.config).model_fields:
            changes["sampler"] = "gmm"
        config = type(self.config).model_validate(self.config.model_dump() | changes)
        other = type(self)(config, self.shape, self.num_classes).to(self.device).eval()
        state = self.state_dict()
        trained = {key: value for key, value in state.items() if not key.startswith("mixture.")}
        other.load_state_dict(other.state_dict() | trained)
        rng = generator(seed, "fit_sampler", device=self.device)
        other.fit_sampler(Images(x, labels), rng)
        return other


class NormalCodes:
    """A model whose codes come from N(0, I)."""

    def __init__(self, model: ExPostModel) -> None:
        self.model, self.conditional = model, model.conditional

    def sample(self, n: int, rng: torch.Generator, labels: Tensor | None = None) -> Tensor:
        """(n, C, H, W) in [0, 1]; the arguments are those of the model's own `sample`."""
        z = GenerativeModel.sample_latent(self.model, n, rng)
        return self.model.decode(z, self.model.labels_or_cycle(n, labels))

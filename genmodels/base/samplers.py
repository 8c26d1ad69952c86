"""Ex-post density estimation: a Gaussian mixture fitted to the codes of the training images.

Ghosh et al. 2020 (arXiv 1903.12436). It turns an autoencoder into a generative model and closes
the gap between a VAE's aggregate posterior and its prior.
"""

import warnings

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from genmodels.base.model import normal
from genmodels.objectives.priors import LOG_2_PI

#: Minimum number of codes per component, for a usable covariance estimate.
CODES_PER_COMPONENT = 50
#: Maximum number of codes in a fit; more codes cost time without a better fit.
MAX_CODES = 10_000


class MixtureSampler(nn.Module):
    """One mixture of K normals with full covariances over d dimensions per group, as buffers.

    The groups are the classes of a conditional model, whose codes may depend on the class. An
    unconditional model has one group.
    """

    weights: Tensor
    means: Tensor
    cholesky: Tensor

    def __init__(self, num_components: int, num_dimensions: int, num_groups: int = 1) -> None:
        super().__init__()
        sizes = (num_groups, num_components)
        self.register_buffer("weights", torch.zeros(sizes))
        self.register_buffer("means", torch.zeros(*sizes, num_dimensions))
        eye = torch.eye(num_dimensions).repeat(*sizes, 1, 1)
        self.register_buffer("cholesky", eye)

    def fit(self, codes: Tensor, seed: int, groups: Tensor | None = None) -> None:
        """Expectation-maximisation with k-means initialisation (scikit-learn).

        The number of components is at most N / `CODES_PER_COMPONENT`; the other components keep
        weight 0.

        Args:
            codes: (N, d).
            seed: Seed of the initialisation.
            groups: (N,) from 0; None for one group.
        """
        if len(self.weights) == 1:
            self._fit_group(0, codes, seed)
            return
        assert groups is not None
        for group in range(len(self.weights)):
            self._fit_group(group, codes[groups == group], seed)

    def _fit_group(self, group: int, codes: Tensor, seed: int) -> None:
        # Imported here, because the import takes a second and most trainings do not need it.
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
        from sklearn.mixture import GaussianMixture  # noqa: PLC0415

        self.weights[group].zero_()
        if not len(codes):  # `sample` then raises an error for this group
            return
        if len(codes) == 1:  # a class with one image: its code, with the minimum covariance
            codes = codes.repeat(2, 1)
        count = max(1, min(self.weights.shape[1], len(codes) // CODES_PER_COMPONENT))
        mixture = GaussianMixture(
            count,
            covariance_type="full",
            max_iter=2000,
            tol=1e-3,
            reg_covar=1e-6,
            random_state=seed % 2**32,
        )
        # One thread, so that the result does not depend on the number of cores.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(codes.detach().cpu().double().numpy())
        for buffer, values in (
            (self.weights, mixture.weights_),
            (self.means, mixture.means_),
            (self.cholesky, torch.linalg.cholesky(torch.from_numpy(mixture.covariances_))),
        ):
            buffer[group, :count] = torch.as_tensor(values).to(buffer)

    def sample(self, n: int, rng: torch.Generator, groups: Tensor | None = None) -> Tensor:
        """(n, d) draws.

        Args:
            n: Number of draws.
            rng: Source of all noise.
            groups: (n,) the group of each draw; None for one group.

        Raises:
            RuntimeError: `fit` had no codes for one of the groups.
        """
        device = self.means.device
        if groups is None:
            groups = torch.zeros(n, dtype=torch.int64, device=device)
        if not self.weights[groups].any(1).all():
            raise RuntimeError("the mixture sampler was not fitted")
        uniform = torch.rand(n, generator=rng, device=rng.device).to(device)
        edges = self.weights.double().cumsum(1)[groups]
        # Rounding must not select an empty component, which lies behind the last edge.
        last = (self.weights > 0).sum(1)[groups] - 1
        below = edges <= (uniform.double() * edges[:, -1])[:, None]
        chosen = torch.minimum(below.sum(1), last)
        noise = normal((n, self.means.shape[-1]), rng, device)
        spread = torch.einsum("nij,nj->ni", self.cholesky[groups, chosen], noise)
        return self.means[groups, chosen] + spread

    def log_prob(self, z: Tensor) -> Tensor:
        """(N,) log-density in nats of z (N, d) under the first group's mixture."""
        weights, means, cholesky = self.weights[0], self.means[0], self.cholesky[0]
        centred = z.unsqueeze(1) - means
        solved = torch.linalg.solve_triangular(
            cholesky, centred.permute(1, 2, 0), upper=False
        ).square()
        log_det = cholesky.diagonal(dim1=1, dim2=2).log().sum(1)
        each = -0.5 * (solved.sum(1).T + z.shape[1] * LOG_2_PI) - log_det
        return torch.logsumexp(each + weights.log(), 1)

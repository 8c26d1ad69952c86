"""Ex-post density: a Gaussian mixture fitted to the codes of the training images.

Ghosh et al. 2020 (arXiv 1903.12436): it turns an autoencoder into a generative model, and closes
the gap between a VAE's aggregate posterior and its prior.
"""

import warnings

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from genmodels.base import normal
from genmodels.priors import LOG_2_PI

#: A component with fewer codes has no covariance worth the name.
CODES_PER_COMPONENT = 50
#: More codes make the fit slower and not better.
MAX_CODES = 10_000


class MixtureSampler(nn.Module):
    """A mixture of K normals with full covariances over d dimensions, kept as buffers."""

    weights: Tensor
    means: Tensor
    cholesky: Tensor

    def __init__(self, num_components: int, num_dimensions: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(num_components))
        self.register_buffer("means", torch.zeros(num_components, num_dimensions))
        eye = torch.eye(num_dimensions).repeat(num_components, 1, 1)
        self.register_buffer("cholesky", eye)

    def fit(self, codes: Tensor, seed: int) -> None:
        """Expectation-maximisation from k-means, as in scikit-learn.

        Few codes get fewer components: `CODES_PER_COMPONENT` each, the others keep the weight 0.

        Args:
            codes: (N, d).
            seed: Of the start.
        """
        # Here, because it takes a second that most trainings need not spend.
        from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415
        from sklearn.mixture import GaussianMixture  # noqa: PLC0415

        count = max(1, min(len(self.weights), len(codes) // CODES_PER_COMPONENT))
        mixture = GaussianMixture(
            count,
            covariance_type="full",
            max_iter=2000,
            tol=1e-3,
            reg_covar=1e-6,
            random_state=seed % 2**32,
        )
        # One thread: the result must not depend on the number of cores.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            mixture.fit(codes.detach().cpu().double().numpy())
        self.weights.zero_()
        for buffer, values in (
            (self.weights, mixture.weights_),
            (self.means, mixture.means_),
            (self.cholesky, torch.linalg.cholesky(torch.from_numpy(mixture.covariances_))),
        ):
            buffer[:count] = torch.as_tensor(values).to(buffer)

    def sample(self, n: int, rng: torch.Generator) -> Tensor:
        """(n, d) draws.

        Raises:
            RuntimeError: Nothing was fitted.
        """
        if not self.weights.any():
            raise RuntimeError("the mixture sampler was not fitted")
        device = self.means.device
        uniform = torch.rand(n, generator=rng, device=rng.device).to(device)
        edges = self.weights.double().cumsum(0)
        # Past the last edge lies nothing: rounding must not choose an empty component.
        used = int((self.weights > 0).sum())
        chosen = torch.bucketize(uniform.double() * edges[-1], edges[: used - 1], right=True)
        noise = normal((n, self.means.shape[1]), rng, device)
        return self.means[chosen] + torch.einsum("nij,nj->ni", self.cholesky[chosen], noise)

    def log_prob(self, z: Tensor) -> Tensor:
        """(N,) log-density of (N, d), nats."""
        centred = z.unsqueeze(1) - self.means
        solved = torch.linalg.solve_triangular(
            self.cholesky, centred.permute(1, 2, 0), upper=False
        ).square()
        log_det = self.cholesky.diagonal(dim1=1, dim2=2).log().sum(1)
        each = -0.5 * (solved.sum(1).T + z.shape[1] * LOG_2_PI) - log_det
        return torch.logsumexp(each + self.weights.log(), 1)

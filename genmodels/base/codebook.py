"""Vector quantisation with a codebook of moving averages (van den Oord et al. 2017).

arXiv 1711.00937, section 3 (quantisation) and appendix A.1 (moving averages).
"""

import torch
from torch import Tensor, nn

#: Lloyd iterations of the k-means initialisation.
K_MEANS_ITERATIONS = 10


class Codebook(nn.Module):
    """K vectors, each the moving average of the encodings nearest to it.

    The vectors are buffers, so they get no gradient. The count of a code is the moving average of
    the number of encodings per batch that are assigned to it. The sums of appendix A.1 are not
    stored, because a sum is count times vector.

    The counts are not smoothed (appendix A.1 adds 1e-5 to each). The vector of a code that a batch
    does not use stays bit-identical, and the divisor of every other code is at least 1 - decay.

    Attributes:
        vectors: (K, d), float32 under every precision of the networks.
        counts: (K,).
    """

    vectors: Tensor
    counts: Tensor

    def __init__(self, num_codes: int, dim: int, decay: float, revival_threshold: float) -> None:
        """All vectors are 0 until `initialise`.

        Args:
            num_codes: K.
            dim: d.
            decay: Decay of the moving averages per batch.
            revival_threshold: A code with a count below this is dead and replaced; 0 = no
                replacement.
        """
        super().__init__()
        self.decay = decay
        self.revival_threshold = revival_threshold
        # With a count of 1 and a threshold of 2, nearly all codes would be dead after one batch.
        self.first_count = max(1.0, revival_threshold)
        self.register_buffer("vectors", torch.zeros(num_codes, dim))
        self.register_buffer("counts", torch.full((num_codes,), self.first_count))

    def initialise(self, encodings: Tensor, rng: torch.Generator) -> None:
        """Sets the vectors to the centres of a k-means clustering.

        Args:
            encodings: (N, d).
            rng: On the CPU.
        """
        centres = k_means(encodings.float(), len(self.vectors), K_MEANS_ITERATIONS, rng)
        self.vectors.copy_(centres)
        self.counts.fill_(self.first_count)

    def nearest(self, z: Tensor) -> Tensor:
        """Encodings (..., d) to the nearest codes (...), int64; the vector of code k maps to k."""
        return _nearest(z.float(), self.vectors)

    @torch.no_grad()
    def update(self, z: Tensor, codes: Tensor, rng: torch.Generator) -> Tensor:
        """Updates the moving averages with a batch, then replaces dead codes.

        If n_k encodings with the sum s_k are nearest to code k, the new sum is decay * old sum +
        (1 - decay) s_k, the new count is decay * old count + (1 - decay) n_k, and the vector is
        their quotient (appendix A.1, Eqs. 6 to 8).

        Args:
            z: (N, d) encodings.
            codes: (N,) their nearest codes.
            rng: Selects the encodings that replace dead codes.

        Returns:
            Number of replaced codes; a scalar, float32.
        """
        z = z.float()
        used, sums = _totals(z, codes, len(self.vectors))
        self.counts.lerp_(used, 1 - self.decay)
        # The quotient, written as an increment that is exactly 0 for unused codes, also at count 0.
        increment = (1 - self.decay) * (sums - used[:, None] * self.vectors)
        self.vectors += increment / self.counts.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
        dead = self.counts < self.revival_threshold
        # One draw for every code: a draw per dead code would have to wait for the GPU.
        rows = torch.randint(len(z), (len(dead),), generator=rng, device=rng.device).to(z.device)
        self.vectors.copy_(torch.where(dead[:, None], z[rows], self.vectors))
        self.counts.masked_fill_(dead, self.first_count)
        return dead.sum().float()


def straight_through(z: Tensor, vectors: Tensor) -> Tensor:
    """The value of `vectors` and the gradient of `z` (van den Oord et al. 2017, Sec. 3.2).

    Args:
        z: (..., d) encodings.
        vectors: (..., d) the vectors of their codes.
    """
    # The second term is exactly 0, so the decoder gets the same vectors as in `decode`.
    return vectors.detach() + (z - z.detach())


def perplexity(codes: Tensor, num_codes: int) -> Tensor:
    """The exponential of the entropy of a batch's code frequencies, between 1 and K.

    Args:
        codes: (...) int64.
        num_codes: K.
    """
    shares = _usage(codes, num_codes) / codes.numel()
    return torch.special.entr(shares).sum().exp()


def used_codes(codes: Tensor, num_codes: int) -> Tensor:
    """Number of distinct values in `codes`; a scalar, float32."""
    return (_usage(codes, num_codes) > 0).sum().float()


@torch.no_grad()
def k_means(points: Tensor, num_centres: int, iterations: int, rng: torch.Generator) -> Tensor:
    """Lloyd's algorithm with k-means++ initialisation (Arthur & Vassilvitskii 2007).

    Many encodings are equal, because many image corners are empty, and a uniform random
    initialisation would select copies of them. k-means++ selects a point equal to a centre only
    after every distinct point is a centre.

    Args:
        points: (N, d) float32.
        num_centres: K; if K exceeds the number of distinct points, some centres coincide.
        iterations: Number of Lloyd iterations.
        rng: On the CPU.

    Returns:
        (K, d). A centre without points keeps its position.
    """
    draws = torch.rand(num_centres, generator=rng, dtype=torch.float64).to(points.device)
    weights = torch.ones(len(points), dtype=torch.float64, device=points.device)
    centres = torch.empty(num_centres, points.shape[1], device=points.device)
    for k in range(num_centres):
        cumulated = weights.cumsum(0)
        pick = torch.searchsorted(cumulated, draws[k] * cumulated[-1], right=True)
        centres[k] = points[pick.clamp_max(len(points) - 1)]
        squares = (points - centres[k]).square().sum(1).double()
        weights = squares if k == 0 else torch.minimum(weights, squares)
    for _ in range(iterations):
        used, sums = _totals(points, _nearest(points, centres), num_centres)
        centres = torch.where(used[:, None] > 0, sums / used.clamp_min(1)[:, None], centres)
    return centres


@torch.no_grad()
def _nearest(z: Tensor, vectors: Tensor) -> Tensor:
    # Without the expanded square: the distance of a vector to itself is then exactly 0, and a
    # distance does not depend on the other rows.
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(z.flatten(0, -2), vectors, compute_mode=exact).argmin(1).view(z.shape[:-1])


def _usage(codes: Tensor, num_codes: int) -> Tensor:
    return torch.bincount(codes.flatten(), minlength=num_codes).float()


def _totals(points: Tensor, codes: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Number of points of each code, (K,), and their sums, (K, d)."""
    assigned = nn.functional.one_hot(codes, num_codes).to(points.dtype)
    # A matrix product, because the order of additions in index_add on a GPU is undefined.
    with torch.autocast(points.device.type, enabled=False):
        return assigned.sum(0), assigned.T @ points

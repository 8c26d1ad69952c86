"""Vector quantisation: a codebook that follows the encoder (van den Oord et al. 2017).

Sec. 3 of arXiv 1711.00937 for the quantisation, its appendix A.1 for the moving averages.
"""

import torch
from torch import Tensor, nn

#: Lloyd iterations of the k-means start.
K_MEANS_ITERATIONS = 10


class Codebook(nn.Module):
    """K vectors, each the moving average of the encodings that are nearest to it.

    They are buffers: no gradient reaches them. A code's count is a moving average, too: the
    encodings a batch assigns to it. Sums need no buffer of their own, a sum is count times vector.

    The counts are not smoothed (the appendix adds 1e-5 to each): a code that a batch does not use
    keeps its vector to the last bit, and no other one is divided by less than 1 - decay.

    Attributes:
        vectors: (K, d), float32 whatever the precision of the networks.
        counts: (K,).
    """

    vectors: Tensor
    counts: Tensor

    def __init__(self, num_codes: int, dim: int, decay: float, revival_threshold: float) -> None:
        """All vectors are 0 until `initialise`.

        Args:
            num_codes: K.
            dim: d.
            decay: What a batch leaves of the old counts and sums.
            revival_threshold: A code whose count is below it is dead and replaced; 0 for never.
        """
        super().__init__()
        self.decay = decay
        self.revival_threshold = revival_threshold
        # At 1 while the threshold is 2, nearly all codes would be dead before they were tried.
        self.first_count = max(1.0, revival_threshold)
        self.register_buffer("vectors", torch.zeros(num_codes, dim))
        self.register_buffer("counts", torch.full((num_codes,), self.first_count))

    def initialise(self, encodings: Tensor, rng: torch.Generator) -> None:
        """Starts at the centres of a k-means clustering.

        Args:
            encodings: (N, d).
            rng: On the CPU.
        """
        centres = k_means(encodings.float(), len(self.vectors), K_MEANS_ITERATIONS, rng)
        self.vectors.copy_(centres)
        self.counts.fill_(self.first_count)

    def nearest(self, z: Tensor) -> Tensor:
        """Encodings (..., d) to the nearest codes (...), int64; a code's vector is its own."""
        return _nearest(z.float(), self.vectors)

    @torch.no_grad()
    def update(self, z: Tensor, codes: Tensor, rng: torch.Generator) -> Tensor:
        """Takes a batch in and then replaces dead codes.

        With n_k encodings that sum to s_k, the vector sum and the count are decay times the old one
        plus (1 - decay) s_k or n_k, and the vector is their quotient (appendix A.1, eqs. 6 to 8).

        Args:
            z: (N, d) encodings.
            codes: (N,) what `nearest` says of them.
            rng: Picks the encodings that dead codes are replaced by.

        Returns:
            How many codes were replaced; a scalar, float32.
        """
        z = z.float()
        used, sums = _totals(z, codes, len(self.vectors))
        self.counts.lerp_(used, 1 - self.decay)
        # The quotient as a step, which is exactly 0 for unused codes, even at a count of 0.
        pull = (1 - self.decay) * (sums - used[:, None] * self.vectors)
        self.vectors += pull / self.counts.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
        dead = self.counts < self.revival_threshold
        # Always as many draws as codes: nobody has to wait for the number of dead ones.
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
    # The second term is exactly 0, so that decoders see the very vectors they will be given.
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
    """How many different codes there are among `codes`; a scalar, float32."""
    return (_usage(codes, num_codes) > 0).sum().float()


@torch.no_grad()
def k_means(points: Tensor, num_centres: int, iterations: int, rng: torch.Generator) -> Tensor:
    """Lloyd's algorithm from a k-means++ start (Arthur & Vassilvitskii 2007).

    A plain random start would pick copies of one point from the many equal encodings that empty
    corners of images have; here a point equal to a centre is never picked while others are left.

    Args:
        points: (N, d) float32.
        num_centres: K; may be more than there are different points, then centres coincide.
        iterations: Of assigning all points and averaging.
        rng: On the CPU.

    Returns:
        (K, d). A centre without points stays where it was.
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
    # Differences, not the expanded square: the distance of a code to itself is then exactly 0, and
    # no distance depends on the other rows.
    exact = "donot_use_mm_for_euclid_dist"
    return torch.cdist(z.flatten(0, -2), vectors, compute_mode=exact).argmin(1).view(z.shape[:-1])


def _usage(codes: Tensor, num_codes: int) -> Tensor:
    return torch.bincount(codes.flatten(), minlength=num_codes).float()


def _totals(points: Tensor, codes: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """How many points each code has, (K,), and their sums, (K, d)."""
    assigned = nn.functional.one_hot(codes, num_codes).to(points.dtype)
    # A product, since index_add on a GPU adds in any order.
    with torch.autocast(points.device.type, enabled=False):
        return assigned.sum(0), assigned.T @ points

"""Mutual information gap with the class: whether a single latent dimension encodes the class.

(I_1 - I_2) / H(y), where I_1 and I_2 are the two largest mutual informations of a dimension of
E[z | x] with the class, over histograms of 20 bins (Chen et al. 2018, arXiv 1802.04942, Eq. 6;
binning of Locatello et al. 2019, arXiv 1811.12359). In [0, 1].

The class is the only known factor of these data sets and no factor that generated them, so this is
no measure of disentanglement. A plug-in estimate is too high by about (bins - 1) (classes - 1) /
(2 n) nats, 0.085 for 1,000 images and 10 classes; its mean over permuted labels is subtracted.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.latents import unseen_labels
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Encoder
from evaluation.measuring.records import UnavailableError

BINS = 20
PERMUTATIONS = 20


def equal_width_bins(values: Tensor, bins: int = BINS) -> Tensor:
    """(N, d) bin indices from 0 of values (N, d), between the extremes of each dimension."""
    low, high = values.amin(0), values.amax(0)
    width = (high - low) / bins
    # A constant dimension has one bin.
    return ((values - low) / torch.where(width > 0, width, 1)).long().clamp(max=bins - 1)


def mutual_information(bins: Tensor, labels: Tensor) -> Tensor:
    """Plug-in mutual information of each dimension with the class.

    Args:
        bins: (N, d) int64 from 0.
        labels: (N,) int64 from 0.

    Returns:
        (d,) float64 nats, in [0, H(y)] up to rounding.
    """
    n, d = bins.shape
    num_bins, num_classes = int(bins.max()) + 1, int(labels.max()) + 1
    cells = (torch.arange(d) * num_bins + bins) * num_classes + labels[:, None]
    counts = torch.bincount(cells.flatten(), minlength=d * num_bins * num_classes)
    joint = counts.reshape(d, num_bins, num_classes).double() / n
    return _entropy(joint.sum(2)) + _entropy(joint.sum(1)) - _entropy(joint.flatten(1))


def corrected_information(bins: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
    """Plug-in mutual information (d,) minus its mean over permuted labels, at least 0.

    Args:
        bins: (N, d) int64 from 0.
        labels: (N,) int64 from 0.
        rng: Source of the permutations, which are the same for all dimensions.
    """
    by_chance = torch.stack(
        [
            mutual_information(bins, labels[torch.randperm(len(labels), generator=rng)])
            for _ in range(PERMUTATIONS)
        ]
    )
    return (mutual_information(bins, labels) - by_chance.mean(0)).clamp(min=0)


def _entropy(p: Tensor) -> Tensor:
    """(...,) nats of distributions (..., K)."""
    return -torch.special.xlogy(p, p).sum(-1)


def _compute(context: Context) -> dict[str, float | Measurement]:
    labels = unseen_labels(context, context.reference)
    mean, _ = context.posterior(context.reference)
    if len(mean) < 2:
        raise UnavailableError("too_few_samples")
    if mean.shape[1] < 2:
        raise UnavailableError("one_latent_dimension")
    entropy = _entropy(torch.bincount(labels).double() / len(labels)).item()
    if not entropy:
        raise UnavailableError("one_class")
    rng = torch.Generator().manual_seed(context.seeds.metric)
    ranked = corrected_information(equal_width_bins(mean), labels, rng).sort(descending=True)
    first, second = ranked.values[:2].tolist()
    params = {
        "bins": BINS,
        "permutations": PERMUTATIONS,
        "first": first,
        "second": second,
        "dimensions": ranked.indices[:2].tolist(),
        "class_entropy": entropy,
    }
    return {"mig_class": Measurement((first - second) / entropy, params)}


METRIC = Metric("mig_class", (Encoder,), (ValueSpec("mig_class", "fraction", True),), _compute)

"""The values of the project and of other packages, from the same features."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from evaluation.measuring.moments import frechet_parts
from evaluation.measuring.overlap import overlap
from evaluation.metrics.density_coverage import K as K_COVERAGE
from evaluation.metrics.density_coverage import coverage, density
from evaluation.metrics.inception_score import class_score
from evaluation.metrics.kid import kernel_distance
from evaluation.metrics.precision_recall import K as K_PRECISION
from evaluation.metrics.precision_recall import precision, recall
from tests.bench.feature_pairs import Pair

Measure = Callable[[Pair], Mapping[str, float]]


@dataclass(frozen=True)
class Peer:
    """An independent implementation.

    Attributes:
        name: Name in the table.
        module: Module that must be importable.
        measure: Function that returns its values.
        dtype: Type of the features that it gets.
    """

    name: str
    module: str
    measure: Measure
    dtype: torch.dtype = torch.float64


def ours(pair: Pair) -> dict[str, float]:
    """The project's values."""
    sets = overlap(pair.reference, pair.generated)
    return {
        "fid": sum(frechet_parts(pair.reference, pair.generated)),
        "kid": kernel_distance(pair.reference, pair.generated),
        "is": class_score(pair.logits),
        "precision": precision(sets),
        "recall": recall(sets),
        "density": density(sets),
        "coverage": coverage(sets),
    }


def torch_fidelity(pair: Pair) -> dict[str, float]:
    """torch-fidelity's functions of features; KID on the full sets, if they have equal sizes."""
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    reference, generated = pair.reference, pair.generated
    one, two = (metric_fid.fid_features_to_statistics(x) for x in (reference, generated))
    covered = metric_prc.prc_features_to_metric(
        generated, reference, prc_neighborhood=K_PRECISION, save_cpu_ram=False, verbose=False
    )
    kid = metric_kid.kid_features_to_metric(
        reference,
        generated,
        kid_subsets=1,
        kid_subset_size=len(reference),
        rng_seed=0,
        verbose=False,
    )
    score = metric_isc.isc_features_to_metric(pair.logits, splits=1)
    return {
        "fid": metric_fid.fid_statistics_to_metric(one, two, False)["frechet_inception_distance"],
        "kid": kid["kernel_inception_distance_mean"],
        "is": score["inception_score_mean"],
        "precision": covered["precision"],
        "recall": covered["recall"],
    }


def torch_fidelity_subsets(pair: Pair) -> dict[str, float]:
    """KID with defaults: the mean over 100 random subsets, here with half of the features."""
    from torch_fidelity import metric_kid

    scores = metric_kid.kid_features_to_metric(
        pair.reference,
        pair.generated,
        kid_subsets=100,
        kid_subset_size=len(pair.reference) // 2,
        rng_seed=0,
        verbose=False,
    )
    return {"kid": scores["kernel_inception_distance_mean"]}


class _Handed(nn.Module):
    """An extractor that returns its input."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x


def torchmetrics(pair: Pair) -> dict[str, float]:
    """torchmetrics' metrics with an identity extractor; KID with its kernel function."""
    from torchmetrics.image.fid import FrechetInceptionDistance
    from torchmetrics.image.inception import InceptionScore
    from torchmetrics.image.kid import poly_mmd

    reference, generated, logits = pair.reference, pair.generated, pair.logits
    fid = FrechetInceptionDistance(feature=_Handed(reference.shape[1]))
    fid.update(reference, real=True)
    fid.update(generated, real=False)
    score = InceptionScore(feature=_Handed(logits.shape[1]), splits=1)
    score.update(logits)
    return {
        "fid": fid.compute().item(),
        "kid": poly_mmd(reference, generated).item(),
        "is": score.compute()[0].item(),
    }


def prdc(pair: Pair) -> dict[str, float]:
    """The four values of prdc, with the project's numbers of neighbours."""
    from prdc import compute_prdc

    sets = pair.reference.numpy(), pair.generated.numpy()
    few, many = (compute_prdc(*sets, nearest_k=k) for k in (K_PRECISION, K_COVERAGE))
    return {
        **{name: float(few[name]) for name in ("precision", "recall")},
        **{name: float(many[name]) for name in ("density", "coverage")},
    }


def clean_fid(pair: Pair) -> dict[str, float]:
    """clean-fid's FID from means and covariances; KID with one subset of all features."""
    from cleanfid import fid

    one, two = pair.reference.numpy(), pair.generated.numpy()
    moments = [part for x in (one, two) for part in (x.mean(0), np.cov(x, rowvar=False))]
    return {
        "fid": float(fid.frechet_distance(*moments)),
        "kid": fid.kernel_distance(one, two, num_subsets=1, max_subset_size=len(one)),
    }


PEERS = (
    Peer("torch-fidelity", "torch_fidelity", torch_fidelity),
    Peer("torch-fidelity, float32", "torch_fidelity", torch_fidelity, torch.float32),
    Peer("torch-fidelity, subsets", "torch_fidelity", torch_fidelity_subsets),
    Peer("torchmetrics", "torchmetrics", torchmetrics),
    Peer("torchmetrics, float32", "torchmetrics", torchmetrics, torch.float32),
    Peer("prdc", "prdc", prdc),
    Peer("clean-fid", "cleanfid", clean_fid),
)

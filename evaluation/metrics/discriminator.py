"""Accuracy, calibration and memorisation of a discriminator.

The numbers of train, reference and generated images are equal. Values of two models are not
comparable, because a low accuracy means a good generator or a bad discriminator. The scores of a
critic are no logits, so it gets only the two AUROCs and the gap.
"""

import functools
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from evaluation.measuring import model_calls
from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec, failure
from evaluation.measuring.protocols import Discriminator, Sampler
from evaluation.measuring.records import UnavailableError

#: Bins of the calibration error and of the reliability diagram.
BINS = 15

_PROBABILITY_VALUES = (
    ValueSpec("disc_acc_real_train", "fraction", None),
    ValueSpec("disc_acc_real_test", "fraction", None),
    ValueSpec("disc_acc_fake", "fraction", None),
    ValueSpec("disc_acc", "fraction", None),
    ValueSpec("disc_brier", "raw", None),
    ValueSpec("disc_logloss", "raw", None),
    ValueSpec("disc_ece", "fraction", False, 0.0),
)
_SCORE_VALUES = (
    ValueSpec("disc_auroc", "fraction", None),
    ValueSpec("disc_gap", "ratio", None, 0.0),
    ValueSpec("disc_membership_auroc", "fraction", None, 0.5),
)


def auroc(positive: Tensor, negative: Tensor) -> float:
    """Mann-Whitney estimate of P(positive > negative) + P(equal) / 2, by mid-ranks.

    Raises:
        UnavailableError: One of the two sets is empty.
    """
    n, m = len(positive), len(negative)
    if not n or not m:
        raise UnavailableError("one_class")
    _, group, counts = torch.cat([positive, negative]).unique(
        return_inverse=True, return_counts=True
    )
    # Equal scores all get the mean of their ranks.
    ranks = (counts.cumsum(0).double() - (counts - 1) / 2)[group]
    return ((ranks[:n].sum() - n * (n + 1) / 2) / (n * m)).item()


def calibration_error(p: Tensor, is_real: Tensor, bins: int = BINS) -> float:
    """Mean over equal-width bins of p of |mean p - share of real|, weighted by the counts.

    Args:
        p: (N,) probabilities of being real.
        is_real: (N,) zeros and ones.
        bins: Number of bins on [0, 1] (default 15).
    """
    probability, real, _ = _binned(p, is_real, bins)
    return (probability - real).abs().sum().item() / len(p)


def reliability(p: Tensor, is_real: Tensor, bins: int = BINS) -> list[list[float]]:
    """The reliability diagram (DeGroot & Fienberg 1983); calibrated p lie on the diagonal.

    Args:
        p: (N,) probabilities of being real.
        is_real: (N,) zeros and ones.
        bins: Number of bins of equal width on [0, 1] (default 15).

    Returns:
        Mean p, share of real images and number of images of each bin that is not empty.
    """
    probability, real, counts = _binned(p, is_real, bins)
    full = counts > 0
    means = torch.stack([probability / counts, real / counts, counts], dim=1)[full]
    rows: list[list[float]] = means.tolist()
    return rows


def _binned(p: Tensor, is_real: Tensor, bins: int) -> tuple[Tensor, Tensor, Tensor]:
    """(bins,) sums of p, numbers of real images and numbers of images."""
    index = (p.double() * bins).long().clamp(max=bins - 1)
    probability, real, counts = (
        torch.zeros(bins, dtype=torch.float64).index_add_(0, index, values.double())
        for values in (p, is_real, torch.ones_like(p))
    )
    return probability, real, counts


def gap(train: Tensor, test: Tensor) -> float | Measurement:
    """Difference of the mean scores of (N,) images in units of the pooled standard deviation."""
    spread = ((train.double().var() + test.double().var()) / 2).sqrt().item()
    difference = (train.double().mean() - test.double().mean()).item()
    if not spread:
        return 0.0 if not difference else failure("constant_scores")
    return difference / spread


def probability_values(train: Tensor, test: Tensor, fake: Tensor) -> dict[str, float | Measurement]:
    """The values that need probabilities, from float64 logits (N,) of the three sets."""
    logits = torch.cat([test, fake])
    is_real = torch.cat([torch.ones_like(test), torch.zeros_like(fake)])
    p = logits.sigmoid()
    on_test, on_fake = (test >= 0).double().mean().item(), (fake < 0).double().mean().item()

    def balanced(values: Tensor) -> float:
        return (values[: len(test)].mean() + values[len(test) :].mean()).item() / 2

    return {
        "disc_acc_real_train": (train >= 0).double().mean().item(),
        "disc_acc_real_test": on_test,
        "disc_acc_fake": on_fake,
        "disc_acc": (on_test + on_fake) / 2,
        "disc_brier": balanced((p - is_real).square()),
        "disc_logloss": balanced(
            F.binary_cross_entropy_with_logits(logits, is_real, reduction="none")
        ),
        "disc_ece": Measurement(
            calibration_error(p, is_real), {"reliability": reliability(p, is_real)}
        ),
    }


def _scores(context: Context, images: Tensor, labels: Tensor | None) -> Tensor:
    """(N,) float64 scores of images; a conditional model also gets their labels."""
    model = context.model
    assert isinstance(model, Discriminator)
    with model_calls.evaluation_mode(model):
        parts = [
            model.discriminate(x, **arguments).flatten().cpu()
            for x, arguments in model_calls.batches(model, images, labels, context.batch_size)
        ]
    scores = torch.cat(parts).double()
    if not scores.isfinite().all():
        raise UnavailableError("non_finite_scores")
    return scores


def _compute(context: Context) -> dict[str, float | Measurement]:
    assert isinstance(context.model, Discriminator)
    generated, num = context.samples, min(context.num, len(context.train.images))
    if num < 2:
        raise UnavailableError("too_few_samples")
    real = context.reference.first(num)
    # The real images are scored once for all sets of samples.
    train, test = (
        context.cached(
            ("discriminator scores", split.split, split.sha256, num),
            functools.partial(_scores, context, split.images, split.labels),
        )
        for split in (context.train.first(num), real)
    )
    fake = _scores(context, generated[:num], real.labels)  # samples have the reference labels
    values: dict[str, float | Measurement] = {
        "disc_auroc": auroc(test, fake),
        "disc_gap": gap(train, test),
        "disc_membership_auroc": auroc(train, test),
    }
    if context.model.probabilistic:
        values |= probability_values(train, test, fake)
    else:
        values |= {spec.name: failure("not_supported") for spec in _PROBABILITY_VALUES}
    # A train split smaller than the reference set limits the number of images of every set.
    used = {"images_a_side": num}
    return {
        name: replace(value, params={**value.params, **used})
        if isinstance(value, Measurement)
        else Measurement(value, used)
        for name, value in values.items()
    }


METRIC = Metric(
    "discriminator", (Discriminator, Sampler), _PROBABILITY_VALUES + _SCORE_VALUES, _compute
)

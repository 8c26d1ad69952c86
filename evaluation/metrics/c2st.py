"""Can a fresh linear judge tell real from generated features (Lopez-Paz & Oquab 2017)?

Logistic regression on standardised features; accuracy and AUROC are means over five folds, so that
every image is judged once by a judge that has not seen it. A linear judge ranks models where the
one on pixels (`c2st_pixel`) is right about all of them. Generated duplicates are in several folds
at once; that the judge then knows them is intended. Of sets of more than 10,000 images the same
rows of both are drawn: the classes of a conditional model's samples stay as balanced as they were.

Intervals: two images of different folds judge each other with one and the same similarity, so that
the variance over folds is up to twice that of independent images (measured: 1.2 to 1.7 times).
Wilson's interval is made for half of them: N for the accuracy on N real and N generated images. Of
an AUROC, whose variance is at most A (1 - A) / N (Birnbaum & Klose 1957), for N / 2.

The p-value comes from one half against the other: given the judge, the held-out images are
independent, and a coin is the null hypothesis.
"""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from evaluation.measuring.context import Context, UnavailableError
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Sampler
from evaluation.measuring.shares import coin_p_value, wilson
from evaluation.metrics.discriminator import auroc

ACCURACY = "c2st_{extractor}"
AUROC = "c2st_auroc_{extractor}"
FOLDS = 5
PENALTY = 0.1
#: Of each set: the judge's float64 copies of 50,000 rows of 2,048 features take 4 GiB.
MAX_IMAGES = 10_000
SCALED_AT_ONCE = 1000

Scores = tuple[Tensor, Tensor]


def fold_scores(
    reference: Tensor, generated: Tensor, seed: int, folds: int = FOLDS
) -> Iterator[Scores]:
    """Scores of each fold's real and generated rows by a judge of the other folds.

    Args:
        reference: (N, d), N >= folds.
        generated: (M, d), M >= folds.
        seed: Of the folds, which have equal shares of both sets.
        folds: Number of folds.

    Yields:
        Two float64 vectors, the logits of being generated.
    """
    # Half a second of start-up that a model without samples does not need.
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415
    from sklearn.preprocessing import StandardScaler  # noqa: PLC0415

    num = len(reference)
    is_fake = torch.arange(num + len(generated)) >= num

    def rows(indices: Tensor) -> Any:
        real, fake = indices[~is_fake[indices]], indices[is_fake[indices]] - num
        x = torch.empty(len(indices), reference.shape[1], dtype=torch.float64)
        x[: len(real)], x[len(real) :] = reference[real], generated[fake]
        return x.numpy()

    def judged(known: Tensor, held_out: Tensor) -> Tensor:
        # In place, and learned from a few rows at a time: whole, it makes two more copies of them.
        scaler, x = StandardScaler(copy=False), rows(known)
        for start in range(0, len(x), SCALED_AT_ONCE):
            scaler.partial_fit(x[start : start + SCALED_AT_ONCE])
        judge = LogisticRegression(C=PENALTY, max_iter=1000)
        judge.fit(scaler.transform(x), is_fake[known].numpy())
        return torch.from_numpy(judge.decision_function(scaler.transform(rows(held_out))))

    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold in splitter.split(is_fake.numpy(), is_fake.numpy()):
        known, held_out = map(torch.from_numpy, fold)
        scores, fake = judged(known, held_out), is_fake[held_out]
        yield scores[~fake], scores[fake]


def num_right(real: Tensor, fake: Tensor) -> int:
    """How many of the scores are on the right side of 0."""
    return int((real < 0).sum()) + int((fake >= 0).sum())


def half_p_value(reference: Tensor, generated: Tensor, seed: int) -> float:
    """How likely a coin is as right about one half as a judge of the other half."""
    real, fake = next(fold_scores(reference, generated, seed, folds=2))
    return coin_p_value(num_right(real, fake), len(real) + len(fake))


def told_apart(reference: Tensor, generated: Tensor, seed: int) -> dict[str, Measurement]:
    """Accuracy and AUROC of judges of real and generated features.

    Args:
        reference: (N, d), N >= 5.
        generated: (N, d).
        seed: Of the folds, and of the rows where there are more than `MAX_IMAGES`.
    """
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(reference), generator=rng)[:MAX_IMAGES].sort().values
    x, y, num = reference[rows], generated[rows], len(rows)
    folds = list(fold_scores(x, y, seed))
    accuracy = fmean(num_right(*scores) / sum(map(len, scores)) for scores in folds)
    ranked = fmean(auroc(fake, real) for real, fake in folds)
    params = {"folds": FOLDS, "penalty": PENALTY}
    tested = {"p_value": half_p_value(x, y, seed)}
    return {
        ACCURACY: Measurement(accuracy, params | tested, wilson(accuracy, num), num=num),
        AUROC: Measurement(ranked, params, wilson(ranked, num / 2), num=num),
    }


def _compute(context: Context) -> Mapping[str, float | Measurement]:
    if context.num < FOLDS:
        raise UnavailableError("too_few_samples")
    features = context.reference_features, context.sample_features
    return told_apart(*features, context.seeds.metric)


METRIC = Metric(
    "c2st",
    (Sampler,),
    (ValueSpec(ACCURACY, "fraction", False, 0.5), ValueSpec(AUROC, "fraction", False, 0.5)),
    _compute,
)

"""Classifier two-sample test of features with a linear classifier (Lopez-Paz & Oquab 2017).

Logistic regression on standardised features separates real from generated images. Accuracy and
AUROC are means over five folds, so every image is classified once by a classifier that was fitted
without it. A linear classifier ranks models where the one on pixels (`c2st_pixel`) has accuracy 1
for all of them. Generated duplicates can be in the training and in the held-out folds; that this
raises the accuracy is intended. From sets of more than 10,000 images the same rows of both sets are
drawn, which keeps the class balance of a conditional model's samples.

Intervals: the classifiers of different folds share images, so the variance over folds is up to
twice that of independent images (measured: 1.2 to 1.7 times). Wilson's interval therefore uses half
of the count: N for the accuracy on N real and N generated images; N / 2 for the AUROC, whose
variance is at most A (1 - A) / N (Birnbaum & Klose 1957).

The p-value uses a classifier fitted to one half and tested on the other. Given the classifier, the
held-out images are independent, and the null hypothesis is guessing.
"""

from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Sampler
from evaluation.measuring.records import UnavailableError
from evaluation.measuring.shares import coin_p_value, wilson
from evaluation.metrics.discriminator import auroc

ACCURACY = "c2st_{extractor}"
AUROC = "c2st_auroc_{extractor}"
FOLDS = 5
PENALTY = 0.1
#: Images used per set: float64 copies of 50,000 rows of 2,048 features would take 4 GiB.
MAX_IMAGES = 10_000
#: Rows per step of the standardisation.
SCALED_AT_ONCE = 1000

Scores = tuple[Tensor, Tensor]


def fold_scores(
    reference: Tensor, generated: Tensor, seed: int, folds: int = FOLDS
) -> Iterator[Scores]:
    """Scores of the real and the generated rows of each fold by a classifier of the other folds.

    Args:
        reference: (N, d), N >= folds.
        generated: (M, d), M >= folds.
        seed: Seed of the folds, which have equal shares of both sets.
        folds: Number of folds (default 5).

    Yields:
        Two float64 vectors: the logits of P(generated) of the real and of the generated rows.
    """
    # Half a second to import, which a model without samples saves.
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

    def held_out_logits(fitted: Tensor, held_out: Tensor) -> Tensor:
        # In place and a few rows at a time: fitting all rows at once makes two more copies of them.
        scaler, x = StandardScaler(copy=False), rows(fitted)
        for start in range(0, len(x), SCALED_AT_ONCE):
            scaler.partial_fit(x[start : start + SCALED_AT_ONCE])
        classifier = LogisticRegression(C=PENALTY, max_iter=1000)
        classifier.fit(scaler.transform(x), is_fake[fitted].numpy())
        return torch.from_numpy(classifier.decision_function(scaler.transform(rows(held_out))))

    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for fold in splitter.split(is_fake.numpy(), is_fake.numpy()):
        fitted, held_out = map(torch.from_numpy, fold)
        scores, fake = held_out_logits(fitted, held_out), is_fake[held_out]
        yield scores[~fake], scores[fake]


def num_correct(real: Tensor, fake: Tensor) -> int:
    """Number of correct scores: below 0 for real, at least 0 for generated images."""
    return int((real < 0).sum()) + int((fake >= 0).sum())


def half_p_value(reference: Tensor, generated: Tensor, seed: int) -> float:
    """p-value of the accuracy on one half of a classifier fitted to the other half."""
    real, fake = next(fold_scores(reference, generated, seed, folds=2))
    return coin_p_value(num_correct(real, fake), len(real) + len(fake))


def two_sample_test(reference: Tensor, generated: Tensor, seed: int) -> dict[str, Measurement]:
    """Accuracy and AUROC of classifiers of real and generated features.

    Args:
        reference: (N, d), N >= 5.
        generated: (N, d).
        seed: Seed of the folds, and of the rows if there are more than `MAX_IMAGES`.
    """
    rng = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(reference), generator=rng)[:MAX_IMAGES].sort().values
    x, y, num = reference[rows], generated[rows], len(rows)
    folds = list(fold_scores(x, y, seed))
    accuracy = fmean(num_correct(*scores) / sum(map(len, scores)) for scores in folds)
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
    return two_sample_test(*features, context.seeds.metric)


METRIC = Metric(
    "c2st",
    (Sampler,),
    (ValueSpec(ACCURACY, "fraction", False, 0.5), ValueSpec(AUROC, "fraction", False, 0.5)),
    _compute,
)

"""Linear probe: accuracy of a multinomial logistic regression of the class on E[z | x].

The accuracy is that on the reference images. The probe is fitted to at most 10,000 train images,
standardised by their statistics; the penalty is selected on the validation images (Alain & Bengio
2017, arXiv 1610.01644, probe hidden layers in this way). Null for a conditional encoder, which
receives the class.
"""

from typing import Any

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.latents import unseen_labels
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Encoder
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError
from evaluation.measuring.shares import wilson

#: Inverse penalty strengths C, the strongest penalty first; it wins ties.
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
#: Largest number of train images; more would cost time and hardly change the value.
MAX_TRAIN = 10_000
MAX_ITERATIONS = 1000


def probe(
    train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Fits the probe and classifies the images of `test`.

    Args:
        train: Latents (N, d) and classes (N,) for the fit and the standardisation.
        valid: Latents and classes for the selection of the penalty.
        test: Latents and classes of the images to classify.

    Returns:
        (N,) bool, True for each correct classification of `test`; and the selected strength `C`
        with its `valid_accuracy`.

    Raises:
        UnavailableError: All train images are of one class.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  (takes a second to import)

    latents, labels = train
    if len(labels.unique()) < 2:
        raise UnavailableError("one_class")
    mean, spread = latents.double().mean(0), latents.double().std(0, correction=0)
    # A constant dimension becomes 0 instead of NaN.
    spread[spread == 0] = 1

    def standardised(latents: Tensor) -> Any:
        return ((latents.double() - mean) / spread).numpy()

    fits = [
        LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(
            standardised(latents), labels.numpy()
        )
        for strength in STRENGTHS
    ]
    scores = [float(fit.score(standardised(valid[0]), valid[1].numpy())) for fit in fits]
    best = max(range(len(fits)), key=scores.__getitem__)
    correct = torch.from_numpy(fits[best].predict(standardised(test[0]))).eq(test[1])
    return correct, {"C": STRENGTHS[best], "valid_accuracy": scores[best]}


def _encoded(context: Context, real: RealImages) -> tuple[Tensor, Tensor]:
    labels = unseen_labels(context, real)
    return context.posterior(real)[0], labels


def _compute(context: Context) -> dict[str, float | Measurement]:
    if context.valid is None:
        raise UnavailableError("no_valid_images")
    splits = (context.train.first(MAX_TRAIN), context.valid, context.reference)
    train, valid, test = (_encoded(context, real) for real in splits)
    correct, selection = probe(train, valid, test)
    value = correct.double().mean().item()
    params = {"train_images": len(train[1]), "valid_images": len(valid[1]), **selection}
    return {"linear_probe": Measurement(value, params, wilson(value, len(correct)))}


METRIC = Metric(
    "linear_probe", (Encoder,), (ValueSpec("linear_probe", "fraction", True),), _compute
)

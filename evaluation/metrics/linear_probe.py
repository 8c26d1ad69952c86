"""Linear probe: how well multinomial logistic regression tells the class from E[z | x].

Accuracy on the reference images. Fitted to the first 10,000 train images at most, standardised by
their statistics; the penalty is chosen on the validation images (Alain & Bengio 2017, arXiv
1610.01644, probe hidden layers in this way). A conditional encoder is told the class: null.
"""

from typing import Any

import torch
from torch import Tensor

from evaluation.measuring.context import Context, RealImages, UnavailableError
from evaluation.measuring.latents import unseen_labels
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Encoder
from evaluation.measuring.shares import wilson

#: Inverse strengths of the penalty, the strongest first, which wins a tie.
STRENGTHS = (0.01, 0.1, 1.0, 10.0)
#: More train images would decide the time that it takes, and hardly its value.
MAX_TRAIN = 10_000
MAX_ITERATIONS = 1000


def probe(
    train: tuple[Tensor, Tensor], valid: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]
) -> tuple[Tensor, dict[str, float]]:
    """Which images of `test` the probe classifies correctly.

    Args:
        train: Latents (N, d) and classes (N,) to fit to, and to standardise by.
        valid: The same of other images, to choose the penalty on.
        test: The same of the images to classify.

    Returns:
        (N,) bool; and the strength `C` chosen with its accuracy `valid_accuracy`.

    Raises:
        UnavailableError: The train images are of one class.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415  (a second of start-up)

    latents, labels = train
    if len(labels.unique()) < 2:
        raise UnavailableError("one_class")
    mean, spread = latents.double().mean(0), latents.double().std(0, correction=0)
    # A constant dimension stays at 0 instead of dividing by it.
    spread[spread == 0] = 1

    def seen(latents: Tensor) -> Any:
        return ((latents.double() - mean) / spread).numpy()

    fits = [
        LogisticRegression(C=strength, max_iter=MAX_ITERATIONS).fit(seen(latents), labels.numpy())
        for strength in STRENGTHS
    ]
    scores = [float(fit.score(seen(valid[0]), valid[1].numpy())) for fit in fits]
    best = max(range(len(fits)), key=scores.__getitem__)
    correct = torch.from_numpy(fits[best].predict(seen(test[0]))).eq(test[1])
    return correct, {"C": STRENGTHS[best], "valid_accuracy": scores[best]}


def _encoded(context: Context, real: RealImages) -> tuple[Tensor, Tensor]:
    labels = unseen_labels(context, real)
    return context.posterior(real)[0], labels


def _compute(context: Context) -> dict[str, float | Measurement]:
    if context.valid is None:
        raise UnavailableError("no_valid_images")
    splits = (context.train.first(MAX_TRAIN), context.valid, context.reference)
    train, valid, test = (_encoded(context, real) for real in splits)
    correct, chosen = probe(train, valid, test)
    value = correct.double().mean().item()
    params = {"train_images": len(train[1]), "valid_images": len(valid[1]), **chosen}
    return {"linear_probe": Measurement(value, params, wilson(value, len(correct)))}


METRIC = Metric(
    "linear_probe", (Encoder,), (ValueSpec("linear_probe", "fraction", True),), _compute
)

"""Classification accuracy score of a conditional model (Ravuri & Vinyals 2019, arXiv 1905.10887).

A fresh network learns the classes from generated images only and is tested on real ones: images
that look wrong, that lack a part of a class or that show another class than the one asked for all
cost accuracy. `baseline` in `params` is the same network after as many real training images, which
is what a perfect model would reach; the number means nothing without it.

The interval is about the test images (Wilson), for this one network.
"""

from typing import Any

import torch
from torch import Tensor

from evaluation.context import Context, RealImages
from evaluation.fresh_classifier import num_epochs, train_fresh
from evaluation.metric import Measurement, Metric, ValueSpec
from evaluation.protocols import Conditional, Sampler
from evaluation.shares import wilson


def accuracy_after(
    images: Tensor, labels: Tensor, test: RealImages, num_classes: int, seed: int
) -> float:
    """Accuracy on real images of a network that learned from others.

    Args:
        images: (N, C, H, W) to learn from.
        labels: (N,) their classes.
        test: The real images, with labels.
        num_classes: K.
        seed: Of the weights and the training.

    Raises:
        UnavailableError: The network cannot be trained.
    """
    predicted = train_fresh(images, labels, num_classes, seed).logits(test.images).argmax(1)
    assert test.labels is not None
    return (predicted == test.labels).double().mean().item()


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated, labels, seed = context.samples, context.sample_labels, context.seeds.metric
    real = context.train.first(context.num)
    known = [labels] if real.labels is None else [labels, real.labels]
    num_classes = int(torch.cat(known).max()) + 1
    value = accuracy_after(generated, labels, context.reference, num_classes, seed)
    params: dict[str, Any] = {"train_images": context.num, "epochs": num_epochs(context.num)}
    if real.labels is not None and len(real.images):
        params["baseline"] = accuracy_after(
            real.images, real.labels, context.reference, num_classes, seed
        )
        params["baseline_images"] = len(real.images)
    return {"cas": Measurement(value, params, wilson(value, context.num))}


METRIC = Metric(
    "class_accuracy",
    (Sampler, Conditional),
    (ValueSpec("cas", "fraction", True),),
    _compute,
    every_set=False,
)

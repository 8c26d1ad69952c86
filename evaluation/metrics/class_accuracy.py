"""Classification accuracy score of a conditional model (Ravuri & Vinyals 2019, arXiv 1905.10887).

A fresh network learns the classes from generated images only and is tested on real ones: images
that look wrong, that lack a part of a class or that show another class than the one asked for all
cost accuracy. Compare with the reference row of held-out images, where the network learned from as
many real ones: that is what a perfect model would reach, and the number means nothing without it.

The interval is about the test images (Wilson), for this one network.
"""

from evaluation.measuring.context import Context, UnavailableError
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Conditional, Sampler
from evaluation.measuring.shares import wilson
from evaluation.measuring.two_sample_classifier import num_epochs, train_fresh


def _compute(context: Context) -> dict[str, float | Measurement]:
    images, labels = context.samples, context.sample_labels
    if context.reference.labels is None:
        raise UnavailableError("no_labels")
    if len(context.reference.labels.unique()) < 2:  # whoever always says this class is right
        raise UnavailableError("one_class")
    num_classes = 1 + int(max(labels.max(), context.reference.labels.max()))
    judge = train_fresh(images, labels, num_classes, context.seeds.metric)
    predicted = judge.logits(context.reference.images).argmax(1)
    value = (predicted == context.reference.labels).double().mean().item()
    params = {"train_images": context.num, "epochs": num_epochs(context.num)}
    return {"cas": Measurement(value, params, wilson(value, context.num))}


METRIC = Metric(
    "class_accuracy",
    (Sampler, Conditional),
    (ValueSpec("cas", "fraction", True),),
    _compute,
    every_set=False,
)

"""Classification accuracy score of a conditional model (Ravuri & Vinyals 2019, arXiv 1905.10887).

A small network learns the classes from generated images only and is tested on real images. Images
of low quality, a missing part of a class and images of another class than the requested one all
reduce the accuracy. Compare with the reference row of held-out images, whose network learned from
the same number of real images: this is the accuracy of a perfect model.

Wilson's interval covers the test images for this one network.
"""

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.metric_classifier import num_epochs, train_metric_classifier
from evaluation.measuring.protocols import Conditional, Sampler
from evaluation.measuring.records import UnavailableError
from evaluation.measuring.shares import wilson


def _compute(context: Context) -> dict[str, float | Measurement]:
    images, labels = context.samples, context.sample_labels
    if context.reference.labels is None:
        raise UnavailableError("no_labels")
    if len(context.reference.labels.unique()) < 2:  # a constant answer would have accuracy 1
        raise UnavailableError("one_class")
    num_classes = 1 + int(max(labels.max(), context.reference.labels.max()))
    classifier = train_metric_classifier(images, labels, num_classes, context.seeds.metric)
    predicted = classifier.logits(context.reference.images).argmax(1)
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

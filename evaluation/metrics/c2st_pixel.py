"""Classifier two-sample test of pixels with a small network (Lopez-Paz & Oquab 2017).

A small convolutional network learns to separate half of the real from half of the generated images
and classifies the rest. It detects a difference but hardly ranks models: faint noise already gives
accuracy 1. Generated duplicates can be in both halves; that this raises the accuracy is intended.

Given the network, the held-out images are independent. So the accuracy has Wilson's interval for
their number. The AUROC, whose variance is at most A (1 - A) / N with N held-out images per set
(Birnbaum & Klose 1957), has Wilson's interval for N. The p-value tests against guessing. Intervals
and p-value are valid for this one split and network.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.metric_classifier import halves, num_epochs, train_metric_classifier
from evaluation.measuring.protocols import Sampler
from evaluation.measuring.shares import coin_p_value, wilson
from evaluation.metrics.c2st import num_correct
from evaluation.metrics.discriminator import auroc

ACCURACY, AUROC = "c2st_pixel", "c2st_pixel_auroc"


def held_out_scores(reference: Tensor, generated: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Float64 logits of P(generated) of the held-out real and the held-out generated images.

    Args:
        reference: (N, C, H, W), N >= 2, rounded to 8 bits.
        generated: (N, C, H, W), rounded to 8 bits.
        seed: Seed of the halves, the weights and the training.

    Raises:
        UnavailableError: The network cannot be trained.
    """
    rng = torch.Generator().manual_seed(seed)
    fitted, tested = zip(*(halves(len(side), rng) for side in (reference, generated)), strict=True)
    images = torch.cat([reference[fitted[0]], generated[fitted[1]]])
    is_fake = torch.arange(len(images)) >= len(fitted[0])
    classifier = train_metric_classifier(images, is_fake.long(), 2, seed)
    logits = [classifier.logits(reference[tested[0]]), classifier.logits(generated[tested[1]])]
    real, fake = ((side[:, 1] - side[:, 0]).double() for side in logits)
    return real, fake


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated = context.samples
    real, fake = held_out_scores(context.reference.images, generated, context.seeds.metric)
    correct, count = num_correct(real, fake), len(real) + len(fake)
    ranked = auroc(fake, real)
    trained_on = 2 * (context.num // 2)
    params = {"train_images": trained_on, "epochs": num_epochs(trained_on)}
    tested = {"p_value": coin_p_value(correct, count)}
    return {
        ACCURACY: Measurement(correct / count, params | tested, wilson(correct / count, count)),
        AUROC: Measurement(ranked, params, wilson(ranked, len(real))),
    }


METRIC = Metric(
    "c2st_pixel",
    (Sampler,),
    (ValueSpec(ACCURACY, "fraction", False, 0.5), ValueSpec(AUROC, "fraction", False, 0.5)),
    _compute,
    every_set=False,
)

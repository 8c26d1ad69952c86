"""Can a fresh network tell real from generated pixels (Lopez-Paz & Oquab 2017)?

A small convolutional network learns from half of the real and half of the generated images, and
judges the rest. It proves a difference rather than rank models: faint noise already gives 1.
Generated duplicates are in both halves; that the network then knows them is intended.

Intervals: given the network, the held-out images are independent, so Wilson's for their number;
of an AUROC, whose variance is at most A (1 - A) / N with N held-out images a side (Birnbaum & Klose
1957), for N. The p-value is a coin's. All of it is about this one split and this one network.
"""

import torch
from torch import Tensor

from evaluation.measuring.context import Context
from evaluation.measuring.metric import Measurement, Metric, ValueSpec
from evaluation.measuring.protocols import Sampler
from evaluation.measuring.shares import coin_p_value, wilson
from evaluation.measuring.two_sample_classifier import halves, num_epochs, train_fresh
from evaluation.metrics.c2st import num_right
from evaluation.metrics.discriminator import auroc

ACCURACY, AUROC = "c2st_pixel", "c2st_pixel_auroc"


def held_out_scores(reference: Tensor, generated: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Logits of being generated of the held-out real and generated images, float64.

    Args:
        reference: (N, C, H, W), N >= 2, already rounded to 8 bits.
        generated: (N, C, H, W), likewise.
        seed: Of the halves, the weights and the training.

    Raises:
        UnavailableError: The network cannot be trained.
    """
    rng = torch.Generator().manual_seed(seed)
    known, tested = zip(*(halves(len(side), rng) for side in (reference, generated)), strict=True)
    images = torch.cat([reference[known[0]], generated[known[1]]])
    is_fake = torch.arange(len(images)) >= len(known[0])
    judge = train_fresh(images, is_fake.long(), 2, seed)
    logits = [judge.logits(reference[tested[0]]), judge.logits(generated[tested[1]])]
    real, fake = ((side[:, 1] - side[:, 0]).double() for side in logits)
    return real, fake


def _compute(context: Context) -> dict[str, float | Measurement]:
    generated = context.samples
    real, fake = held_out_scores(context.reference.images, generated, context.seeds.metric)
    right, count = num_right(real, fake), len(real) + len(fake)
    ranked = auroc(fake, real)
    trained_on = 2 * (context.num // 2)
    params = {"train_images": trained_on, "epochs": num_epochs(trained_on)}
    tested = {"p_value": coin_p_value(right, count)}
    return {
        ACCURACY: Measurement(right / count, params | tested, wilson(right / count, count)),
        AUROC: Measurement(ranked, params, wilson(ranked, len(real))),
    }


METRIC = Metric(
    "c2st_pixel",
    (Sampler,),
    (ValueSpec(ACCURACY, "fraction", False, 0.5), ValueSpec(AUROC, "fraction", False, 0.5)),
    _compute,
    every_set=False,
)

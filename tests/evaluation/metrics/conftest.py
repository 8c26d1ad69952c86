"""The measurement of a metric of latents."""

import pytest
from torch import Tensor

from evaluation.measuring.metric import Measurement
from tests.evaluation.metrics.latents import PixelEncoder, images_of


@pytest.fixture
def measure(make_context):
    def run(module, latents: Tensor, labels: Tensor | None = None, **changed) -> Measurement:
        model = changed.pop("model", PixelEncoder())
        context = make_context(model, reference=images_of(latents, labels), **changed)
        (measured,) = module.METRIC.compute(context).values()
        return measured if isinstance(measured, Measurement) else Measurement(measured)

    return run

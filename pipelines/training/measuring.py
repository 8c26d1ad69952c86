"""Measures trained models, one process for each.

The stage `evaluate`, reproductions and the retraining of a study call `measure_all`; a trial of a
study calls `measure` in its own process.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluation.measuring.context import Seeds
from evaluation.runner import Evaluation, Settings, evaluate
from genmodels.base.model import GenerativeModel
from genmodels.training import cost
from pipelines.data.extractors import Extracted
from pipelines.data.prepared import Prepared, Real
from pipelines.settings.sections import Evaluate
from pipelines.training import workers
from pipelines.training.weights import read_model

Draw = Callable[[GenerativeModel, Evaluation, Real], None]


@dataclass(frozen=True, eq=False)
class Measurement:
    """One trained model and what is measured of it.

    Attributes:
        model: The model's name.
        seed: The training seed.
        folder: Output folder of its training.
        made_by: The command that makes it, for errors.
        data: The data to measure on.
        settings: Section `evaluate`.
        split: The split to compare with: `valid` wherever the result chooses anything.
        draw: Draws pictures after the measurement, in the same process; None for no pictures.
    """

    model: str
    seed: int
    folder: Path
    made_by: str
    data: Prepared
    settings: Evaluate
    split: Literal["valid", "test"] = "test"
    draw: Draw | None = None

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.model} seed {self.seed}"


@dataclass(frozen=True)
class Measured:
    """What was measured of one model.

    Attributes:
        records: One of each value, as plain JSON values.
        cost: Parameters and multiply-adds.
        kind: The model's kind.
        family: `vae` or `gan`.
        seconds: Wall-clock time of measuring and drawing.
        cpu_seconds: Processor time of the same.
    """

    records: list[dict[str, Any]]
    cost: dict[str, int]
    kind: str
    family: str
    seconds: float
    cpu_seconds: float


def settings_of(section: Evaluate, seed: int) -> Settings:
    """The settings of the runner.

    Args:
        section: Section `evaluate`.
        seed: The training seed.
    """
    seeds = Seeds(seed, section.sample_seed, section.metric_seed)
    return Settings(seeds, section.max_samples, section.sample_sets)


def measure(
    model: GenerativeModel,
    seed: int,
    section: Evaluate,
    extracted: Extracted,
    real: Real,
    progress: Callable[[str], None] = lambda name: None,
) -> Evaluation:
    """Measures a model in this process.

    Args:
        model: In evaluation mode.
        seed: The training seed.
        section: Section `evaluate`.
        extracted: The extractors.
        real: The images to compare with. The replicas of the extractor judge on the test split
            only: they say how stable a published ranking is.
        progress: Called with the name of each metric before it is measured.
    """
    return evaluate(
        model,
        section.metrics,
        reference=real.reference,
        train=real.train,
        valid=real.valid,
        extractors=extracted.extractors,
        replicas=extracted.replicas if real.reference.split == "test" else (),
        settings=settings_of(section, seed),
        progress=progress,
    )


def measure_all(
    models: Sequence[Measurement],
    device: str,
    threads: int,
    handle: Callable[[Measurement, Any], None],
    at_once: int | None = None,
) -> list[Measured]:
    """Measures trained models side by side.

    Args:
        models: The models, at least one.
        device: `cpu` or `cuda`.
        threads: Torch's threads in each process.
        handle: Receives each model's messages, in this process: the name of each metric before it
            is measured, and at last `Measured`.
        at_once: Largest number of processes on a CPU (default: the cores).

    Returns:
        The results, in the order of the models.

    Raises:
        UserError: A model was not trained, or a worker was killed.
    """
    results: dict[int, Measured] = {}

    def take(index: int, message: Any) -> None:
        if isinstance(message, Measured):
            results[index] = message
        handle(models[index], message)

    workers.run(
        functools.partial(_measure, models, device),
        range(len(models)),
        device=device,
        threads=threads,
        handle=take,
        at_once=at_once,
        label=lambda index: models[index].label,
    )
    return [results[index] for index in range(len(models))]


def _measure(models: Sequence[Measurement], device: str, index: int, send: workers.Send) -> None:
    one = models[index]
    start, cpu = time.monotonic(), time.process_time()
    model = read_model(one.folder, one.made_by, device)
    extracted = one.data.extracted()
    real = one.data.real(extracted, one.split)
    evaluation = measure(model, one.seed, one.settings, extracted, real, send)
    if one.draw is not None:
        one.draw(model, evaluation, real)
    send(
        Measured(
            [record.to_dict() for record in evaluation.records],
            {
                "num_parameters": cost.num_parameters(model),
                "multiply_adds_sample": cost.multiply_adds_sample(model),
                "multiply_adds_train": cost.multiply_adds_train(model),
            },
            model.config.kind,
            model.family,
            time.monotonic() - start,
            time.process_time() - cpu,
        )
    )

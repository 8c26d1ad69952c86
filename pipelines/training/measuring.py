"""Measures trained models, one process for each.

The stage `evaluate`, reproductions and the retraining of a study call `measure_all`; a trial of a
study calls `measure` in its own process.
"""

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evaluation.measuring.context import Seeds
from evaluation.runner import Evaluation, Settings, evaluate
from genmodels.base.model import GenerativeModel
from genmodels.training import cost
from pipelines.data.extractors import Extracted
from pipelines.data.prepared import Prepared, Real
from pipelines.settings.sections import Evaluate
from pipelines.training import workers
from pipelines.training.progress import Progress
from pipelines.training.weights import read_model


@dataclass(frozen=True, eq=False)
class MeasuringJob:
    """One trained model and what to measure; its name in messages is `vae seed 0`.

    Attributes:
        folder: Output folder of its training, which the command `made_by` makes.
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
    draw: Callable[[GenerativeModel, Evaluation, Real], None] | None = None

    def __str__(self) -> str:
        return f"{self.model} seed {self.seed}"


class Measured(NamedTuple):
    """The results of one model; the times are those of measuring and drawing."""

    records: list[dict[str, Any]]  # one of each value, as plain JSON values
    cost: dict[str, int]  # parameters and multiply-adds
    kind: str
    family: str  # `vae` or `gan`
    seconds: float
    cpu_seconds: float


def settings_of(section: Evaluate, seed: int) -> Settings:
    """The settings of the runner for a model with this training seed."""
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
    """Measures a model, in evaluation mode, in this process.

    The replicas of the extractor judge on the test split only: they say how stable a published
    ranking is. `progress` is called with the name of each metric before it is measured.
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
    title: str,
    jobs: Sequence[MeasuringJob],
    device: str,
    threads: int,
    *,
    handle: Callable[[MeasuringJob, Measured], None] = lambda job, measured: None,
    at_once: int | None = None,
) -> list[Measured]:
    """Measures trained models (at least one) side by side and returns the results in order.

    The progress display names the work `title`. `handle` receives each result when it is there, in
    this process. On a CPU there are at most `at_once` processes (default: the cores).

    Raises:
        UserError: A model was not trained, or a worker was killed.
    """
    with Progress(title, {str(job): len(job.settings.metrics) for job in jobs}, "metric") as shown:

        def take(job: MeasuringJob, message: str | Measured) -> None:
            if isinstance(message, Measured):
                handle(job, message)
                shown.finish(str(job))
            else:
                shown.update(str(job), job.settings.metrics.index(message), metric=message)

        return workers.run(
            functools.partial(_measure, device),
            jobs,
            device=device,
            threads=threads,
            handle=take,
            at_once=at_once,
            label=str,
        )


def _measure(device: str, job: MeasuringJob, send: workers.Send) -> Measured:
    start, cpu = time.monotonic(), time.process_time()
    model = read_model(job.folder, job.made_by, device)
    extracted = job.data.extracted()
    real = job.data.real(extracted, job.split)
    evaluation = measure(model, job.seed, job.settings, extracted, real, send)
    if job.draw is not None:
        job.draw(model, evaluation, real)
    return Measured(
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

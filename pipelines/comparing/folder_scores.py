"""The metrics of a folder of pictures against real ones; the command `score` prints them.

Pictures are measured without resizing or conversion (see `pipelines.data.picture_folder`).
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from evaluation import metrics as registry
from evaluation.measuring.context import Seeds
from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.measuring.moments import covariance, frechet_floor
from evaluation.measuring.published_statistics import frechet_from_moments, load_statistics
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import Record
from evaluation.plan import as_text, plan
from evaluation.runner import FixedImages, Settings, evaluate_images, metrics_of_images
from pipelines.data import splits
from pipelines.data.extractors import (
    NO_EXTRACTORS,
    Extracted,
    load_extracted,
    open_inception,
    real_images,
)
from pipelines.data.picture_folder import read_folder, shape_text
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from pipelines.settings.params import Params
from pipelines.training.progress import Progress


@dataclass(frozen=True)
class Task:
    """The images and settings of one scoring.

    Attributes:
        images: (N, C, H, W) in [0, 1].
        train: Training images, for the memorisation metrics; empty where they are unknown.
        metrics: Names of files in `evaluation/metrics/`.
    """

    name: str
    images: torch.Tensor
    reference: RealImages
    train: RealImages
    metrics: Sequence[str]
    extractors: Sequence[FeatureExtractor | MissingExtractor]
    settings: Settings


def read(
    settings: Params,
    *,
    images: str,
    reference: str,
    train: str | None,
    metrics: Sequence[str],
    max_samples: int,
) -> Task:
    """Reads the pictures on all sides: folders, or prepared splits as reference and train.

    `train` None is the train split if the reference is the valid or test split, else no images. No
    `metrics` are those of `evaluate.metrics` that need images only. Each side has at most
    `max_samples` images.

    Raises:
        UserError: A folder, a split or a metric is missing, or shapes differ.
    """
    try:
        for name in metrics:
            registry.load_metric(name)
    except ValueError as error:
        raise UserError(f"--metric: {error}") from None
    seeds = Seeds(None, settings.evaluate.sample_seed, settings.evaluate.metric_seed)
    pictures = read_folder(images, "DIR", seeds.sample, max_samples)
    extracted = _extracted(settings, reference)
    chosen = metrics or metrics_of_images(settings.evaluate.metrics, labelled=False)
    if not chosen:
        raise UserError("evaluate.metrics: every metric needs a model; name others with --metric")
    real = _real(reference, "--reference", extracted, max_samples)
    shape = shape_text(pictures.shape[1:])
    if (other := shape_text(real.images.shape[1:])) != shape:
        raise UserError(
            f"DIR: {images}: {shape}, but the reference {reference} is {other}; nothing is resized"
        )
    # Not if the reference is the train split: a copy would be as near to both.
    if train is None and reference in {"valid", "test"}:
        train = "train"
    if train is None:
        known = RealImages.of(real.images[:0], dataset="none", split="none")
    else:  # all of them: any of them may have been copied
        known = _real(train, "--train", extracted, None)
    if (other := shape_text(known.images.shape[1:])) != shape:
        raise UserError(f"--train: {train}: {other}, not {shape}")
    extractors = list(extracted.extractors)
    # The Inception network needs no output of stage `features`.
    if "inception" in set(settings.features.extractors) - {e.name for e in extractors}:
        extractors.append(open_inception(settings.features))
    return Task(images, pictures, real, known, chosen, extractors, Settings(seeds, max_samples))


def _real(name: str, option: str, extracted: Extracted, most: int | None) -> RealImages:
    if name in splits.SPLITS:
        return real_images(name, extracted)
    return RealImages.of(
        read_folder(name, option, 0, most), dataset=Path(name).name, split="folder"
    )


def _extracted(settings: Params, reference: str) -> Extracted:
    """The outputs of stage `features`, for a prepared split only.

    The classifier was trained on the prepared data, and its unit of distance is the variance of
    their features: its values on other data would look similar and mean something else.
    """
    if reference not in splits.SPLITS:
        return Extracted((MissingExtractor("classifier", "classifier_of_other_data"),), (), {}, {})
    needed = (paths.PREPARE / "manifest.json", paths.FEATURES / "card.json")
    has_outputs = all(path.is_file() for path in needed)
    return load_extracted(settings.features) if has_outputs else NO_EXTRACTORS


def planned(task: Task) -> str:
    """The metrics that would be computed, as a table."""
    return as_text(plan(FixedImages(task.images), task.metrics, task.extractors, task.settings))


def score(task: Task) -> tuple[Record, ...]:
    """Measures the pictures and shows the progress."""
    counts = {task.name: len(task.metrics)}
    with Progress("score", counts, "metric") as progress:

        def show(metric: str) -> None:
            progress.update(task.name, task.metrics.index(metric), metric=metric)

        return evaluate_images(
            task.images,
            task.metrics,
            reference=task.reference,
            train=task.train,
            extractors=task.extractors,
            settings=task.settings,
            progress=show,
        ).records


def score_statistics(
    settings: Params, images: str, path: str, max_samples: int
) -> tuple[Record, ...]:
    """The Inception distance of a folder to the published `mu` and `sigma` of real images (.npz).

    Raises:
        UserError: A file or the network's weights are missing, or sigma is no covariance.
    """
    file = Path(path).expanduser()
    if not file.is_file():
        raise UserError(f"--reference: {path}: no such file")
    try:
        mean, scatter = load_statistics(file)
    except ValueError as error:
        raise UserError(f"--reference: {error}") from None
    extractor = open_inception(settings.features)
    if isinstance(extractor, MissingExtractor):
        raise UserError(f"--reference: {path}: statistics need the Inception network's weights")
    chosen = settings.evaluate
    pictures = read_folder(images, "DIR", chosen.sample_seed, max_samples)
    features = extractor.features(pictures).double()
    if len(features) < 2 or features.shape[1] != len(mean):
        raise UserError(
            f"--reference: {path}: of {len(mean)} features, and {images} has {len(features)} "
            f"images of {features.shape[1]}; at least 2 images and as many features are needed"
        )
    try:
        parts = frechet_from_moments(mean, scatter, features.mean(0), covariance(features))
    except ValueError as error:
        raise UserError(f"--reference: {path}: {error}") from None
    n, d = features.shape
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    return (
        Record(
            name=f"fid_{extractor.name}",
            value=sum(parts),
            unit=extractor.unit,
            n_real=None,
            n_fake=n,
            reference={"dataset": file.name, "split": "statistics", "sha256": sha256},
            extractor=f"sha256:{extractor.sha256}",
            seed={"train": None, "sample": chosen.sample_seed, "metric": chosen.metric_seed},
            higher_is_better=False,
            ideal=0.0,
            order="quality",
            params={
                "mean_part": parts[0],
                "covariance_part": parts[1],
                # Published statistics are those of many images: their own error is negligible.
                "iid_floor": frechet_floor(scatter, n, math.inf),
                "rank_deficient": n <= d,
            },
        ),
    )

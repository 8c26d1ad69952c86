"""Scores any folder of pictures against real ones, whoever made them.

Behind `python -m pipelines.evaluate --images DIR`. Pictures are measured as they are (see
`pipelines.data.picture_folder`).
"""

import argparse
import hashlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

from evaluation import metrics as registry
from evaluation.measuring.context import Seeds
from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor
from evaluation.measuring.moments import covariance, frechet_floor
from evaluation.measuring.published_statistics import frechet_from_moments, load_statistics
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import Record
from evaluation.plan import as_text, plan
from evaluation.runner import FixedImages, Settings, evaluate_images
from pipelines.comparing.score_table import held_out, table
from pipelines.data import splits
from pipelines.data.extractors import (
    NOTHING,
    Extracted,
    load_extracted,
    open_inception,
    real_images,
)
from pipelines.data.picture_folder import read_folder, shape_text
from pipelines.pictures.out_file import out_file
from pipelines.references import sampled_metrics
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError
from pipelines.settings.params import Params


@dataclass(frozen=True)
class Task:
    """What is to be scored.

    Attributes:
        images: (N, C, H, W) in [0, 1].
        reference: The real images.
        train: What a copy would be a copy of; empty where it is not known.
        metrics: Names of files in `evaluation/metrics/`.
        extractors: What features are made with.
        settings: Seeds and sizes.
    """

    images: torch.Tensor
    reference: RealImages
    train: RealImages
    metrics: Sequence[str]
    extractors: Sequence[FeatureExtractor | MissingExtractor]
    settings: Settings


def prepare(
    settings: Params,
    *,
    images: str,
    reference: str,
    train: str | None,
    metrics: Sequence[str],
    max_samples: int,
) -> Task:
    """Reads what is to be scored.

    Args:
        settings: All of params.yaml.
        images: A folder of pictures.
        reference: A folder of pictures, or a prepared split.
        train: Likewise; None for the train split beside the valid or the test split, otherwise
            nothing.
        metrics: Names of metrics; empty for all of `evaluate.metrics` that images alone can have.
        max_samples: At most so many images on each side.

    Raises:
        UserError: Something is missing, or shapes differ.
    """
    try:
        for name in metrics:
            registry.load_metric(name)
    except ValueError as error:
        raise UserError(f"--metric: {error}") from None
    seeds = Seeds(None, settings.evaluate.sample_seed, settings.evaluate.metric_seed)
    pictures = read_folder(images, "--images", seeds.sample, max_samples)
    extracted = _extracted(settings, reference)
    chosen = metrics or sampled_metrics(settings.evaluate.metrics, labelled=False)
    if not chosen:
        raise UserError("evaluate.metrics: none that pictures alone can have; name some: --metric")
    real = _real(reference, "--reference", extracted, max_samples)
    shape = tuple(pictures.shape[1:])
    if tuple(real.images.shape[1:]) != shape:
        raise UserError(
            f"--images: {images}: {shape_text(shape)}, but the reference {reference} is "
            f"{shape_text(real.images.shape[1:])}; nothing is resized"
        )
    if train is None and reference in {"valid", "test"}:  # beside itself it would hide all copies
        train = "train"
    # All of it: a copy may be one of any.
    known = _real(train, "--train", extracted, None) if train else _nothing(real)
    if tuple(known.images.shape[1:]) != shape:
        raise UserError(
            f"--train: {train}: {shape_text(known.images.shape[1:])}, not {shape_text(shape)}"
        )
    return Task(
        pictures,
        real,
        known,
        chosen,
        _extractors(extracted, settings),
        Settings(seeds, max_samples),
    )


def score(task: Task) -> tuple[Record, ...]:
    """Measures the pictures, with a bar in a terminal."""
    with tqdm(total=len(task.metrics), unit="metric", disable=not sys.stderr.isatty()) as bar:

        def progress(name: str) -> None:
            bar.set_description(name)
            bar.update()

        return evaluate_images(
            task.images,
            task.metrics,
            reference=task.reference,
            train=task.train,
            extractors=task.extractors,
            settings=task.settings,
            progress=progress,
        ).records


def score_statistics(
    settings: Params, images: str, path: str, max_samples: int
) -> tuple[Record, ...]:
    """The Inception distance of a folder to published statistics of real images.

    Args:
        settings: All of params.yaml.
        images: A folder of pictures.
        path: A file of `mu` and `sigma`, as other packages write them (.npz).
        max_samples: At most so many pictures.

    Raises:
        UserError: A file is missing or no such file, sigma is no covariance, or the network's
            weights are not here.
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
    pictures = read_folder(images, "--images", chosen.sample_seed, max_samples)
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
    identity = {"dataset": file.name, "split": "statistics"}
    return (
        Record(
            name=f"fid_{extractor.name}",
            value=sum(parts),
            unit=extractor.unit,
            n_real=None,
            n_fake=n,
            reference={**identity, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()},
            extractor=f"sha256:{extractor.sha256}",
            seed={"train": None, "sample": chosen.sample_seed, "metric": chosen.metric_seed},
            higher_is_better=False,
            ideal=0.0,
            order="quality",
            params={
                "mean_part": parts[0],
                "covariance_part": parts[1],
                # Published statistics are of so many images that theirs is no error.
                "iid_floor": frechet_floor(scatter, n, math.inf),
                "rank_deficient": n <= d,
            },
        ),
    )


def planned(task: Task) -> str:
    """What would be computed, without computing it."""
    found = plan(FixedImages(task.images), task.metrics, task.extractors, task.settings)
    return as_text(found)


def main(given: argparse.Namespace, settings: Params) -> None:
    """Scores a folder as the command line says.

    Args:
        given: As `pipelines.evaluate.parse` makes it, with `images`.
        settings: All of params.yaml.

    Raises:
        UserError: See `prepare` and `score_statistics`.
    """
    out = out_file(given.out, "--out") if given.out else None
    if given.reference.endswith(".npz"):
        records = score_statistics(settings, given.images, given.reference, given.max_samples)
    else:
        task = prepare(
            settings,
            images=given.images,
            reference=given.reference,
            train=given.train,
            metrics=given.metric,
            max_samples=given.max_samples,
        )
        if given.dry_run:
            print(planned(task))
            return
        records = score(task)
    print(table(records, held_out(records)))
    if out:
        files.write_json(out, [record.to_dict() for record in records])


def _real(name: str, option: str, extracted: Extracted, most: int | None) -> RealImages:
    if name in splits.SPLITS:
        return real_images(name, splits.load_split(name), extracted)
    images = read_folder(name, option, 0, most)
    return RealImages.of(images, dataset=Path(name).name, split="folder")


def _nothing(real: RealImages) -> RealImages:
    return RealImages.of(real.images[:0], dataset="none", split="none")


def _extracted(settings: Params, reference: str) -> Extracted:
    """What `features` made, for a prepared split alone.

    The classifier knows the prepared data, and the unit of its distances is the variance of their
    features: of other data its values would look alike and mean something else.
    """
    if reference not in splits.SPLITS:
        return Extracted((MissingExtractor("classifier", "classifier_of_other_data"),), (), {}, {})
    made = (paths.PREPARE / "manifest.json", paths.FEATURES / "card.json")
    return load_extracted(settings.features) if all(path.is_file() for path in made) else NOTHING


def _extractors(
    extracted: Extracted, settings: Params
) -> list[FeatureExtractor | MissingExtractor]:
    """The Inception network looks at any pictures, so it needs nothing that `features` made."""
    found = list(extracted.extractors)
    names = {extractor.name for extractor in found}
    if "inception" in settings.features.extractors and "inception" not in names:
        found.append(open_inception(settings.features))
    return found

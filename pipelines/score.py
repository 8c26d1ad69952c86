"""Scores any folder of pictures against real ones, whoever made them.

Behind `python -m pipelines.evaluate --images DIR`. Pictures are measured as they are: nothing is
resized, cropped or turned from colour to grey, since that would measure something else.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from evaluation import metric as registry
from evaluation.comparison import number
from evaluation.context import RealImages, Seeds
from evaluation.features import Extractor, FeatureExtractor, MissingExtractor
from evaluation.plan import as_text, plan
from evaluation.records import Record
from evaluation.runner import FixedImages, Settings, evaluate_images
from pipelines import datasets, paths, splits
from pipelines.errors import UserError
from pipelines.extracted import NOTHING, Extracted, load_extracted, open_inception, real_images
from pipelines.params import Params
from pipelines.references import sampled_metrics


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


def read_folder(name: str, option: str) -> torch.Tensor:
    """All pictures in a folder and below it, as they are.

    Args:
        name: The folder.
        option: The option that names it, for an error.

    Returns:
        (N, C, H, W) in [0, 1], in the order of their paths.

    Raises:
        UserError: There is no such folder or no picture in it, or they differ in shape.
    """
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(f"{option}: {name}: no such folder")
    found = sorted(p for p in folder.rglob("*") if p.suffix.lower() in datasets.SUFFIXES)
    if not found:
        allowed = ", ".join(sorted(datasets.SUFFIXES))
        raise UserError(f"{option}: {name}: no picture in it ({allowed})")
    bar = tqdm(found, desc=f"reading {name}", unit="file", disable=not sys.stderr.isatty())
    arrays: list[npt.NDArray[np.uint8]] = []
    for path in bar:
        array = datasets.read_as_it_is(path)
        if arrays and array.shape != arrays[0].shape:
            raise UserError(
                f"{path}: {_shape(array.shape)}, but {found[0].name} is {_shape(arrays[0].shape)}; "
                "all pictures of a folder have to have one shape"
            )
        arrays.append(array)
    return torch.from_numpy(np.stack(arrays)).to(torch.float32).div_(255)


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
        train: Likewise; None for the train split beside a prepared split, otherwise nothing.
        metrics: Names of metrics; empty for all of `evaluate.metrics` that images alone can have.
        max_samples: At most so many images on each side.

    Raises:
        UserError: Something is missing, or shapes differ.
    """
    try:
        for name in metrics:
            registry.load(name)
    except ValueError as error:
        raise UserError(f"--metric: {error}") from None
    pictures = read_folder(images, "--images")
    prepared = (paths.PREPARE / "manifest.json").is_file()
    extracted = NOTHING
    if (paths.FEATURES / "card.json").is_file() and prepared:
        extracted = load_extracted(settings.features)
    real = _real(reference, "--reference", extracted)
    shape = tuple(pictures.shape[1:])
    if tuple(real.images.shape[1:]) != shape:
        raise UserError(
            f"--images: {images}: {_shape(shape)}, but the reference {reference} is "
            f"{_shape(real.images.shape[1:])}; nothing is resized"
        )
    if train is None and reference in splits.SPLITS:
        train = "train"
    known = _real(train, "--train", extracted) if train else _nothing(real)
    if tuple(known.images.shape[1:]) != shape:
        raise UserError(f"--train: {train}: {_shape(known.images.shape[1:])}, not {_shape(shape)}")
    seeds = Seeds(None, settings.evaluate.sample_seed, settings.evaluate.metric_seed)
    return Task(
        # In random order, as every real set is: a folder is often sorted by class.
        _shuffled(pictures, seeds.sample),
        real,
        known,
        metrics or sampled_metrics(settings.evaluate.metrics),
        _fitting(extracted, settings, shape),
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


def table(records: Sequence[Record]) -> str:
    """A line for each value: what it is, which direction is better, its interval or its reason."""
    width = max(len(record.name) for record in records)
    lines = []
    for record in records:
        arrow = {True: "↑", False: "↓", None: " "}[record.higher_is_better]
        line = f"{record.name:{width}} {arrow} {number(record.value, 4):>12}"
        if record.reason:
            line += f"  {record.reason.replace('_', ' ')}"
        elif record.interval:
            low, high = (number(record.interval[key], 4) for key in ("low", "high"))
            line += f"  {low} to {high} ({record.interval['method']})"
        lines.append(line)
    first = records[0]
    return "\n".join(
        [
            *lines,
            f"{first.n_real:,} images on each side; reference {first.reference['dataset']} "
            f"{first.reference['split']}, sha256 {first.reference['sha256'][:8]}",
        ]
    )


def planned(task: Task) -> str:
    """What would be computed, without computing it."""
    found = plan(FixedImages(task.images), task.metrics, task.extractors, task.settings)
    return as_text(found)


def _real(name: str, option: str, extracted: Extracted) -> RealImages:
    if name in splits.SPLITS:
        return real_images(name, splits.load_split(name), extracted)
    images = _shuffled(read_folder(name, option), 0)
    return RealImages.of(images, dataset=Path(name).name, split="folder")


def _nothing(real: RealImages) -> RealImages:
    return RealImages.of(real.images[:0], dataset="none", split="none")


def _shuffled(images: torch.Tensor, seed: int) -> torch.Tensor:
    rng = torch.Generator().manual_seed(seed)
    return images[torch.randperm(len(images), generator=rng)]


def _fitting(
    extracted: Extracted, settings: Params, shape: tuple[int, ...]
) -> list[FeatureExtractor | MissingExtractor]:
    """The pipeline's extractors; its classifier only looks at images of its own shape."""
    found: list[FeatureExtractor | MissingExtractor] = []
    for extractor in extracted.extractors:
        other = isinstance(extractor, Extractor) and extractor.image_shape != shape
        found.append(MissingExtractor(extractor.name, "other_image_shape") if other else extractor)
    names = {extractor.name for extractor in found}
    if "inception" in settings.features.extractors and "inception" not in names:
        found.append(open_inception(settings.features))
    return found


def _shape(shape: Sequence[int]) -> str:
    channels, height, width = shape
    return f"{width}x{height} {'grey' if channels == 1 else 'RGB'}"

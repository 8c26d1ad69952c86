"""Stage `prepare`: real images as uint8 arrays, split once, with a manifest of hashes.

Writes `outputs/prepare/`: `<split>.npy` (N, C, H, W) uint8, `<split>_labels.npy` (N,) int64 if the
data has labels, and `manifest.json`. The other stages read these files as float32 in [0, 1] with
`pipelines.data.splits`.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.data import datasets
from pipelines.data.datasets import Source
from pipelines.data.splits import SPLITS
from pipelines.settings import command_line, files, paths, resolved, resolving
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.sections import Prepare

Indices = npt.NDArray[np.int64]


def split_indices(source: Source, settings: Prepare) -> dict[str, Indices]:
    """Draws the splits: for each the shuffled indices of its images in `source.images`.

    A stratified split biases every distance between real images down, so that a good model looks
    worse than it is. An official test set, if the data set has one, is the test split.

    Raises:
        UserError: A stratified split of data without labels.
    """
    rng = np.random.default_rng(settings.split_seed)
    indices = np.arange(len(source.images))
    pool, test = indices[: source.num_pool], indices[source.num_pool :]
    if settings.max_images is not None and settings.max_images < len(indices):
        num_test = round(settings.max_images * settings.test_fraction) if len(test) else 0
        pool = np.sort(rng.permutation(pool)[: settings.max_images - num_test])
        test = np.sort(rng.permutation(test)[:num_test])
    fractions = {"valid": settings.valid_fraction}
    if not len(test):
        fractions["test"] = settings.test_fraction
    groups = [pool]
    if settings.split_design == "stratified":
        if source.labels is None:
            raise UserError(
                "params.yaml: prepare.split_design: 'stratified' needs labels, and "
                f"{settings.dataset} has none; use 'random'"
            )
        groups = [pool[source.labels[pool] == c] for c in np.unique(source.labels[pool])]
    parts: dict[str, list[Indices]] = {name: [] for name in SPLITS}
    for group in groups:
        shuffled, start = rng.permutation(group), 0
        for name, fraction in fractions.items():
            stop = start + round(fraction * len(group))
            parts[name].append(shuffled[start:stop])
            start = stop
        parts["train"].append(shuffled[start:])
    if len(test):
        parts["test"].append(test)
    return {name: rng.permutation(np.concatenate(parts[name])) for name in SPLITS}


def check_classes(source: Source, splits: Mapping[str, Indices]) -> None:
    """Raises a `UserError` if a split has no images, or none of a class: metrics would lack it."""
    for name, indices in splits.items():
        if not len(indices):
            raise UserError(
                f"prepare: the {name} split is empty: {len(source.images)} images are too few "
                "for prepare.valid_fraction and prepare.test_fraction"
            )
    if source.labels is None or source.class_names is None:
        return
    for label, class_name in enumerate(source.class_names):
        total = int((source.labels == label).sum())
        for name, indices in splits.items():
            if not (source.labels[indices] == label).any():
                raise UserError(
                    f"prepare: class {class_name!r} has too few images ({total}): none is "
                    f"in the {name} split; add images or set prepare.split_design: stratified"
                )


def make(settings: Prepare, folder: Path | None = None) -> dict[str, Any]:
    """Reads a data set, splits it, writes the arrays and the manifest, and returns the manifest.

    The output folder, by default that of the pipeline, is replaced.

    Raises:
        UserError: The data is missing, or a class has no image in a split.
    """
    source = datasets.LOADERS[settings.dataset](settings)
    splits = split_indices(source, settings)
    check_classes(source, splits)
    return write_splits(source, splits, settings, folder)


def write_splits(
    source: Source,
    splits: Mapping[str, Indices],
    settings: Prepare,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Writes the arrays and the manifest, and returns the manifest."""
    manifest: dict[str, Any] = {
        "dataset": settings.dataset,
        "image_shape": list(source.images.shape[1:]),
        "num_classes": len(source.class_names) if source.class_names else None,
        "class_names": source.class_names,
        "split_design": settings.split_design,
        "split_seed": settings.split_seed,
        "splits": {},
    }
    with files.new_folder(folder or paths.PREPARE) as new:
        for name, indices in splits.items():
            images = np.ascontiguousarray(source.images[indices])
            np.save(new / f"{name}.npy", images)
            entry: dict[str, Any] = {"count": len(images), "sha256": _sha256(images)}
            if source.labels is not None and source.class_names:
                labels = source.labels[indices].astype("<i8")
                np.save(new / f"{name}_labels.npy", labels)
                entry["labels_sha256"] = _sha256(labels)
                entry["class_counts"] = np.bincount(
                    labels, minlength=len(source.class_names)
                ).tolist()
            manifest["splits"][name] = entry
        files.write_json(new / "manifest.json", manifest)
    return manifest


def _sha256(array: npt.NDArray[Any]) -> str:
    return hashlib.sha256(array.tobytes()).hexdigest()


@exit_on_user_error
def main() -> None:
    """Runs the stage."""
    command_line.parser("prepare", __doc__).parse_args()
    manifest = make(resolving.load(resolved.PrepareSettings).prepare)
    shape, parts = manifest["image_shape"], manifest["splits"]
    counts = ", ".join(f"{name} {part['count']:,}" for name, part in parts.items())
    size = math.prod(shape) * sum(part["count"] for part in parts.values()) / 1e6
    sides = "x".join(map(str, shape[1:]))
    print(f"{manifest['dataset']}: {counts} images of {sides} ({size:.1f} MB)")


if __name__ == "__main__":
    main()

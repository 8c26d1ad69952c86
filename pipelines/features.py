"""Stage `features`: the feature extractor, the features of the real splits, and the floor.

Writes `outputs/features/`: `extractor.pt`, `card.json`, `<split>.npy` (N, d) float32 and
`floor.json`. Data without labels has no extractor: its card says so, and every feature metric is
null. The other stages read all this through `pipelines.extracted`.
"""

import dataclasses
import math
import sys
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from evaluation.classifier import (
    ClassifierSettings,
    LabelledImages,
    describe,
    train_classifier,
)
from evaluation.context import Seeds
from evaluation.features import Extractor, save
from evaluation.moments import covariance, frechet_floor
from evaluation.runner import Settings, evaluate_images
from pipelines import files, params, paths, splits
from pipelines.errors import UserError, exit_on_user_error
from pipelines.extracted import real_images

#: What the held-out row is measured in: the distance of two real sets is the floor of a model's.
FLOOR_METRICS = ("fid", "kid", "inception_score")

NO_EXTRACTOR = {
    "extractor": None,
    "reason": "the data has no labels to train a classifier with",
    "warning": None,
}


def train(images: LabelledImages, num_classes: int, settings: params.Features) -> Extractor:
    """Trains the extractor: a bar in a terminal, about five lines elsewhere.

    Args:
        images: The train split's images (N, C, H, W) in [0, 1] and labels (N,).
        num_classes: K.
        settings: Section `features`.

    Raises:
        UserError: The training diverged.
    """
    terminal = sys.stderr.isatty()
    every = math.ceil(settings.epochs / 5)
    with tqdm(total=settings.epochs, desc="extractor", unit="epoch", disable=not terminal) as bar:

        def progress(epoch: int, loss: float) -> None:
            bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
            bar.update()
            if not terminal and epoch % every == 0:
                line = f"extractor: epoch {epoch} of {settings.epochs}, loss {loss:.3f}"
                print(line, file=sys.stderr, flush=True)

        try:
            return train_classifier(
                *images, num_classes, classifier_settings(settings), settings.seed, progress
            )
        except ValueError as error:
            raise UserError(f"features: {error}") from None


def classifier_settings(settings: params.Features) -> ClassifierSettings:
    """What of section `features` decides the extractor besides the seed."""
    return ClassifierSettings(**settings.model_dump(exclude={"seed", "min_accuracy"}))


def floor(
    images: dict[str, torch.Tensor],
    features: dict[str, torch.Tensor],
    extractor: Extractor | None,
    seed: int,
    max_samples: int,
) -> dict[str, Any]:
    """How far real images are from real images: the valid split scored against the test split.

    Args:
        images: (N, C, H, W) in [0, 1] of each split.
        features: (N, d) of each split; empty without an extractor.
        extractor: The extractor, or None.
        seed: Of the permutation for the class score's splits.
        max_samples: At most so many images on each side, as for the models.

    Returns:
        `rows`: records by row and value name, null where the valid split has fewer images than the
        models are measured on; `analytic`: what theory expects of two such sets of
        `analytic_n` images each.
    """
    real = {name: real_images(name, images[name], features.get(name)) for name in images}
    evaluation = evaluate_images(
        images["valid"],
        FLOOR_METRICS,
        reference=real["test"],
        train=real["train"],
        extractor=extractor,
        settings=Settings(Seeds(train=None, sample=seed, metric=seed), max_samples),
    )
    n = min(len(images["test"]), max_samples)
    records = evaluation.records
    if len(images["valid"]) < n:
        # At another n it would be another metric: the bias of a distance is about 1/n.
        records = tuple(
            dataclasses.replace(r, value=None, reason="fewer_held_out_images") for r in records
        )
    analytic = None
    if extractor is not None and n >= 2:
        analytic = frechet_floor(covariance(features["test"]), n, n)
    return {
        "rows": {"held_out": {record.name: record.to_dict() for record in records}},
        "analytic": {"fid_classifier": analytic},
        "analytic_n": n,
    }


def warning(accuracy: float, minimum: float) -> str | None:
    """One line where the extractor is too weak to be trusted."""
    if accuracy >= minimum:
        return None
    return (
        f"the extractor's test accuracy {accuracy:.3f} is below features.min_accuracy "
        f"{minimum}: read every feature metric with doubt"
    )


def write(
    card: dict[str, Any],
    distances: dict[str, Any],
    extractor: Extractor | None,
    features: dict[str, torch.Tensor],
) -> None:
    """Writes the stage's folder."""
    with files.new_folder(paths.FEATURES) as folder:
        files.write_json(folder / "card.json", card)
        files.write_json(folder / "floor.json", distances)
        if extractor is not None:
            save(extractor, folder / "extractor.pt")
        for name, values in features.items():
            np.save(folder / f"{name}.npy", values.numpy())


@exit_on_user_error
def main() -> None:
    """Runs the stage."""
    loaded = params.load()
    settings, max_samples = loaded.features, loaded.evaluate.max_samples
    # The last bits of the weights depend on the number of threads.
    torch.set_num_threads(loaded.train.threads)
    data = {name: splits.load_split(name) for name in splits.SPLITS}
    images = {name: split.images for name, split in data.items()}
    labelled = {
        name: (split.images, split.labels)
        for name, split in data.items()
        if split.labels is not None
    }
    if not labelled:
        distances = floor(images, {}, None, settings.seed, max_samples)
        write(NO_EXTRACTOR, distances, None, {})
        print("features: no labels, so no extractor; the feature metrics will be null")
        return
    num_classes = splits.load_manifest()["num_classes"]
    extractor = train(labelled["train"], num_classes, settings)
    features = {name: extractor.features(images[name]) for name in images}
    card = describe(extractor, labelled, features, classifier_settings(settings), settings.seed)
    accuracy = card["accuracy"]["test"]
    card["warning"] = warning(accuracy, settings.min_accuracy)
    distances = floor(images, features, extractor, settings.seed, max_samples)
    write(card, distances, extractor, features)
    held_out = distances["rows"]["held_out"]["fid_classifier"]["value"]
    shown = "none (too few images)" if held_out is None else f"{held_out:.2f}"
    print(f"features: test accuracy {accuracy:.3f}, fid_classifier of held-out images {shown}")
    if card["warning"]:
        print(f"warning: {card['warning']}", file=sys.stderr)


if __name__ == "__main__":
    main()

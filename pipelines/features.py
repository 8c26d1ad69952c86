"""Stage `features`: the feature extractor, the features of the real splits, and the floor.

Writes `outputs/features/`: `extractor.pt`, `card.json`, `<split>.npy` (N, d) float32 and
`floor.json`. Data without labels has no extractor: its card says so, and every feature metric is
null. The other stages read all this through `pipelines.extracted`.
"""

import dataclasses
import math
import sys
from pathlib import Path
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
from pipelines.splits import Split

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
    data: dict[str, Split],
    features: dict[str, torch.Tensor],
    extractor: Extractor | None,
    seed: int,
    max_samples: int,
    prepared: Path | None = None,
) -> dict[str, Any]:
    """How far real images are from real images: the valid split scored against the test split.

    Args:
        data: The splits.
        features: (N, d) of each split; empty without an extractor.
        extractor: The extractor, or None.
        seed: Of the permutation for the class score's splits.
        max_samples: At most so many images on each side, as for the models.
        prepared: Where the splits were read from; None for the pipeline's own.

    Returns:
        `rows`: records by row and value name, null where the valid split has fewer images than the
        models are measured on; `analytic`: what theory expects of two such sets of
        `analytic_n` images each.
    """
    real = {
        name: real_images(name, split, features.get(name), prepared) for name, split in data.items()
    }
    evaluation = evaluate_images(
        data["valid"].images,
        FLOOR_METRICS,
        reference=real["test"],
        train=real["train"],
        extractor=extractor,
        settings=Settings(Seeds(train=None, sample=seed, metric=seed), max_samples),
    )
    n = min(len(data["test"].images), max_samples)
    records = evaluation.records
    if len(data["valid"].images) < n:
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


def make(
    settings: params.Features,
    max_samples: int,
    prepared: Path | None = None,
    folder: Path | None = None,
) -> dict[str, Any]:
    """Trains the extractor and writes the stage's folder.

    Args:
        settings: Section `features`.
        max_samples: At most so many images on each side of the floor.
        prepared: A folder as `prepare` makes it; None for the pipeline's own.
        folder: Where to; it is replaced. None for the pipeline's own.

    Returns:
        The floor's `rows` and `analytic`, and under `card` what is known about the extractor: where
        the data has no labels there is none, and the card says so.

    Raises:
        UserError: The training diverged.
    """
    data = {name: splits.load_split(name, prepared) for name in splits.SPLITS}
    labelled = {
        name: (split.images, split.labels)
        for name, split in data.items()
        if split.labels is not None
    }
    extractor, features, card = None, dict[str, torch.Tensor](), dict[str, Any](NO_EXTRACTOR)
    if labelled:
        num_classes = splits.load_manifest(prepared)["num_classes"]
        extractor = train(labelled["train"], num_classes, settings)
        features = {name: extractor.features(split.images) for name, split in data.items()}
        card = describe(extractor, labelled, features, classifier_settings(settings), settings.seed)
        card["warning"] = warning(card["accuracy"]["test"], settings.min_accuracy)
    distances = floor(data, features, extractor, settings.seed, max_samples, prepared)
    with files.new_folder(folder or paths.FEATURES) as new:
        files.write_json(new / "card.json", card)
        files.write_json(new / "floor.json", distances)
        if extractor is not None:
            save(extractor, new / "extractor.pt")
        for name, values in features.items():
            np.save(new / f"{name}.npy", values.numpy())
    return {"card": card, **distances}


@exit_on_user_error
def main() -> None:
    """Runs the stage."""
    loaded = params.load()
    # The last bits of the weights depend on the number of threads.
    torch.set_num_threads(loaded.train.threads)
    made = make(loaded.features, loaded.evaluate.max_samples)
    card = made["card"]
    if card["extractor"] is None:
        print("features: no labels, so no extractor; the feature metrics will be null")
        return
    held_out = made["rows"]["held_out"]["fid_classifier"]["value"]
    shown = "none (too few images)" if held_out is None else f"{held_out:.2f}"
    accuracy = card["accuracy"]["test"]
    print(f"features: test accuracy {accuracy:.3f}, fid_classifier of held-out images {shown}")
    if card["warning"]:
        print(f"warning: {card['warning']}", file=sys.stderr)


if __name__ == "__main__":
    main()

"""Stage `features`: the feature extractors and the features of the real splits.

Writes `outputs/features/`: `card.json` (a description of each extractor),
`<name>/<split>.safetensors` (the features (N, d) float32 of each extractor and split),
`classifier/extractor.safetensors` (the trained classifier) and `replicas/<seed>.safetensors` (its
replicas). The classifier needs data with labels, the Inception network a file of weights. If an
extractor is missing, its card contains the reason, and its metrics are null.
`pipelines.data.extractors` reads this folder.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evaluation.measuring.classifier import (
    ClassifierSettings,
    LabelledImages,
    describe,
    train_classifier,
)
from evaluation.measuring.extractors import Extractor, FeatureExtractor, MissingExtractor
from pipelines.data import splits
from pipelines.data.extractors import open_inception, save_extractor, save_features
from pipelines.data.splits import Split
from pipelines.settings import command_line, files, paths, resolved, resolving
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.sections import Features
from pipelines.training.progress import Progress


def make(
    settings: Features, prepared: Path | None = None, folder: Path | None = None
) -> dict[str, dict[str, Any]]:
    """Makes the extractors, writes the output folder and returns the card of each extractor.

    `prepared` is an output folder of `prepare`, `folder` the output folder, which is replaced
    (default: those of the pipeline).

    Raises:
        UserError: The data is missing, a training diverged, or the file of weights is wrong.
    """
    data = {name: splits.load_split(name, prepared) for name in splits.SPLITS}
    manifest = splits.load_manifest(prepared)
    cards: dict[str, dict[str, Any]] = {}
    with files.new_folder(folder or paths.FEATURES) as new:
        for name in dict.fromkeys(settings.extractors):
            make_one = _classifier if name == "classifier" else _inception
            cards[name] = make_one(data, settings, manifest, new)
        files.write_json(new / "card.json", cards)
    return cards


def _classifier(
    data: Mapping[str, Split], settings: Features, manifest: Mapping[str, Any], new: Path
) -> dict[str, Any]:
    labelled = {
        name: (split.images, split.labels)
        for name, split in data.items()
        if split.labels is not None
    }
    if not labelled:
        return _missing("no_extractor", "the data has no labels to train a classifier with")
    names = set(ClassifierSettings.__dataclass_fields__)
    classifier = ClassifierSettings(**settings.model_dump(include=names))
    seeds = range(settings.seed, settings.seed + 1 + settings.replicas)
    extractor, *replicas = _train(labelled["train"], manifest["num_classes"], classifier, seeds)
    save_extractor(extractor, new / "classifier" / "extractor.safetensors")
    for seed, replica in zip(seeds[1:], replicas, strict=True):
        save_extractor(replica, new / "replicas" / f"{seed}.safetensors")
    features = _features(extractor, data, manifest, new)
    card = describe(extractor, labelled, features, classifier, settings.seed)
    accuracy, warning = card["accuracy"]["test"], None
    if accuracy < settings.min_accuracy:
        warning = (
            f"the extractor's test accuracy {accuracy:.3f} is below features.min_accuracy "
            f"{settings.min_accuracy}: metrics in feature space are unreliable"
        )
    return {**card, "warning": warning}


def _train(
    images: LabelledImages, num_classes: int, settings: ClassifierSettings, seeds: Sequence[int]
) -> list[Extractor]:
    """Trains the classifier and its replicas, one for each seed."""
    extractors = []
    epochs = {f"seed {seed}": settings.epochs for seed in seeds}
    with Progress("features", epochs, "epoch") as progress:
        for seed, key in zip(seeds, epochs, strict=True):

            def show(epoch: int, loss: float, key: str = key) -> None:
                progress.update(key, epoch, loss=loss)

            progress.update(key, 0)
            try:
                extractors.append(train_classifier(*images, num_classes, settings, seed, show))
            except ValueError as error:
                raise UserError(f"features: {error}") from None
            progress.finish(key)
    return extractors


def _inception(
    data: Mapping[str, Split], settings: Features, manifest: Mapping[str, Any], new: Path
) -> dict[str, Any]:
    extractor = open_inception(settings)
    if isinstance(extractor, MissingExtractor):
        return _missing(extractor.reason, "its file of weights is missing")
    features = _features(extractor, data, manifest, new)
    return {
        "extractor": f"sha256:{extractor.sha256}",
        "name": extractor.name,
        "num_features": features["train"].shape[1],
        "warning": None,
    }


def _missing(reason: str, text: str) -> dict[str, Any]:
    return {"extractor": None, "missing": reason, "reason": text, "warning": None}


def _features(
    extractor: FeatureExtractor, data: Mapping[str, Split], manifest: Mapping[str, Any], new: Path
) -> dict[str, torch.Tensor]:
    features = {name: extractor.features(split.images) for name, split in data.items()}
    for name, values in features.items():
        path = new / extractor.name / f"{name}.safetensors"
        images = manifest["splits"][name]["sha256"]
        save_features(values, path, extractor=extractor.sha256, images=images)
    return features


@exit_on_user_error
def main() -> None:
    """Runs the stage."""
    command_line.parser("features", __doc__).parse_args()
    settings = resolving.load(resolved.FeaturesSettings)
    # The last bits of the weights depend on the number of threads.
    torch.set_num_threads(settings.threads)
    for name, card in make(settings.features).items():
        if card["extractor"] is None:
            print(f"features: no {name}: {card['reason']}; its metrics will be null")
        elif "accuracy" in card:
            print(f"features: {name}, test accuracy {card['accuracy']['test']:.3f}")
        else:
            print(f"features: {name}, {card['num_features']} features")
        if card["warning"]:
            print(f"warning: {card['warning']}", file=sys.stderr)


if __name__ == "__main__":
    main()

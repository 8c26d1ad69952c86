"""The inputs of the report: the outputs of the other stages, read and checked for completeness."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from evaluation.comparing.leaderboard import Row
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError

PICTURES = (
    "samples",
    "classes",
    "reconstructions",
    "nearest",
    "interpolations",
    "traversals",
    "manifold",
)


@dataclass(frozen=True)
class ModelResult:
    """One model.

    Attributes:
        row: Its values.
        settings: The settings of its training: its resolved entry of params.yaml.
        histories: For each seed the training curves, one row per epoch.
        pictures: PNG files of the first seed by name; which ones depends on the kind of model.
        latents: The content of latents.json of the first seed; None if there is no such file.
    """

    row: Row
    settings: Mapping[str, Any]
    histories: Mapping[str, pd.DataFrame]
    pictures: Mapping[str, bytes]
    latents: Mapping[str, Any] | None


@dataclass(frozen=True)
class Results:
    """Everything the report shows.

    Attributes:
        models: The selected models, in the order of params.yaml.
        references: Image sets of known quality to compare the models with.
        reference_pictures: PNG files of the first images of each set.
        manifest: The description of the data that `prepare` writes.
        cards: The description of each extractor that `features` writes.
        studies: The summary of each finished study that `tune` writes.
    """

    models: list[ModelResult]
    references: list[Row]
    reference_pictures: Mapping[str, bytes]
    manifest: Mapping[str, Any]
    cards: Mapping[str, Mapping[str, Any]]
    studies: Sequence[Mapping[str, Any]]


def read(selected: Sequence[str], seeds: Sequence[int]) -> Results:
    """Reads the outputs of all stages; the folders of models that are not selected are ignored.

    Args:
        selected: The models, in the order of the report.
        seeds: The training seeds.

    Raises:
        UserError: A file is missing, broken or from other seeds; the stage to run is named.
    """
    manifest = files.read_json(paths.PREPARE / "manifest.json", "dvc repro prepare")
    cards = files.read_json(paths.FEATURES / "card.json", "dvc repro features")
    made_by = "dvc repro references"
    references = files.read_json(paths.REFERENCES / "rows.json", made_by)
    models = [_model(name, seeds) for name in selected]
    drawn = {name: paths.REFERENCES / f"{name}.png" for name in references["rows"]}
    pictures = {name: path.read_bytes() for name, path in drawn.items() if path.is_file()}
    summaries = sorted(paths.STUDY_SUMMARIES.glob("*.json"))
    studies = [files.read_json(path, f"make tune STUDY={path.stem}") for path in summaries]
    return Results(models, _references(references), pictures, manifest, cards, studies)


def _references(stored: Mapping[str, Any]) -> list[Row]:
    """The measured rows, then the values that theory predicts for two sets of real images."""
    measured = []
    for name, row in stored["rows"].items():
        records = list(row["records"].values())
        values = {record["name"]: (record["value"], record["reason"]) for record in records}
        measured.append(_reference(name, values, records))
    expected = {key: (value, "not_supported") for key, value in stored["expected_floor"].items()}
    return [*measured, _reference("expected_floor", expected, [])]


def _reference(
    name: str,
    values: Mapping[str, tuple[float | None, str | None]],
    records: Sequence[Mapping[str, Any]],
) -> Row:
    """A reference is drawn once, so its values have no spread."""
    summary = {
        key: {"mean": value, "std": None, "n": int(value is not None), "reason": reason}
        for key, (value, reason) in values.items()
    }
    return Row(name, "reference", "reference", {}, summary, {"drawn": records})


def read_row(name: str, seeds: Sequence[int], settings: Mapping[str, Any] | None = None) -> Row:
    """The values of a model.

    Args:
        name: Name of the model.
        seeds: The training seeds.
        settings: The settings of its training, if they were read already.

    Raises:
        UserError: A file is missing, broken or from other seeds; the stage to run is named.
    """
    wanted, evaluate = [str(seed) for seed in seeds], f"dvc repro evaluate@{name}"
    summary = files.read_json(paths.METRICS / f"{name}.json", evaluate)
    records_path = paths.EVALUATE / name / "records.json"
    records = files.read_json(records_path, evaluate)["seeds"]
    if set(records) != set(wanted):
        raise UserError(
            f"{records_path}: holds seeds {', '.join(records)}, params.yaml asks for "
            f"{', '.join(wanted)}; run `{evaluate}`"
        )
    cost, settings = summary["cost"], settings or _trained_with(name, seeds[0])
    num_images = settings["num_steps"] * settings["batch_size"]
    return Row(
        name,
        summary["kind"],
        summary["family"],
        {**cost, "multiply_adds_run": cost["multiply_adds_train"] * num_images},
        summary["metrics"],
        {seed: records[seed] for seed in wanted},
    )


def _model(name: str, seeds: Sequence[int]) -> ModelResult:
    settings = _trained_with(name, seeds[0])
    row = read_row(name, seeds, settings)
    evaluate, train = f"dvc repro evaluate@{name}", f"dvc repro train@{name}"
    histories = {
        str(seed): _read_history(paths.TRAIN / name / str(seed) / "history.csv", train)
        for seed in seeds
    }
    pictures, latents = _of_first_seed(paths.EVALUATE / name / str(seeds[0]), evaluate)
    return ModelResult(row, settings, histories, pictures, latents)


def _trained_with(name: str, seed: int) -> dict[str, Any]:
    """The settings of a model's training."""
    path = paths.TRAIN / name / str(seed) / "config.json"
    settings: dict[str, Any] = files.read_json(path, f"dvc repro train@{name}")["settings"]
    return settings


def _read_history(path: Path, made_by: str) -> pd.DataFrame:
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `{made_by}`") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a table ({error}); run `{made_by}` again") from None


def _of_first_seed(folder: Path, made_by: str) -> tuple[dict[str, bytes], dict[str, Any] | None]:
    """The pictures and the content of latents.json."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run `{made_by}`")
    found = {picture: folder / f"{picture}.png" for picture in PICTURES}
    pictures = {picture: path.read_bytes() for picture, path in found.items() if path.is_file()}
    path = folder / "latents.json"
    return pictures, files.read_json(path, made_by) if path.is_file() else None

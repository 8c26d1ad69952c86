"""What the stages before the report have left behind, read back and checked for completeness."""

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
        row: Its place in the comparison.
        settings: What it was trained with: its flat entry of params.yaml.
        histories: For each seed the training curves, one row an epoch.
        pictures: PNG files of the first seed by name; a model has those it is capable of.
        latents: What its latents.json of the first seed says; None where it has none.
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
        models: The selected ones, in the order of params.yaml.
        references: Image sets of known quality to read the models against.
        reference_pictures: PNG files of their first images.
        manifest: What `prepare` says about the data.
        cards: What `features` says about each extractor.
        studies: What `pipelines.tune` says of each study that was run to its end.
    """

    models: list[ModelResult]
    references: list[Row]
    reference_pictures: Mapping[str, bytes]
    manifest: Mapping[str, Any]
    cards: Mapping[str, Mapping[str, Any]]
    studies: Sequence[Mapping[str, Any]]


def read(selected: Sequence[str], seeds: Sequence[int]) -> Results:
    """Reads the outs of all stages.

    A folder that an earlier setting has left behind is ignored.

    Args:
        selected: The models, in the order of the report.
        seeds: The training seeds.

    Raises:
        UserError: A file is missing, broken or from other seeds; the stage to run is named.
    """
    manifest = files.read_json(paths.PREPARE / "manifest.json", "dvc repro prepare")
    cards = files.read_json(paths.FEATURES / "card.json", "dvc repro features")
    made_by = "dvc repro references"
    found = files.read_json(paths.REFERENCES / "rows.json", made_by)
    models = [_model(name, seeds) for name in selected]
    drawn = {name: paths.REFERENCES / f"{name}.png" for name in found["rows"]}
    pictures = {name: path.read_bytes() for name, path in drawn.items() if path.is_file()}
    summaries = sorted(paths.STUDY_SUMMARIES.glob("*.json"))
    told = [files.read_json(path, f"make tune STUDY={path.stem}") for path in summaries]
    return Results(models, _references(found), pictures, manifest, cards, told)


def _references(found: Mapping[str, Any]) -> list[Row]:
    """The measured rows, then what theory expects of two sets of real images."""
    measured = []
    for name, row in found["rows"].items():
        records = list(row["records"].values())
        values = {record["name"]: (record["value"], record["reason"]) for record in records}
        measured.append(_reference(name, values, records))
    expected = {key: (value, "not_supported") for key, value in found["expected_floor"].items()}
    return [*measured, _reference("expected_floor", expected, [])]


def _reference(
    name: str,
    values: Mapping[str, tuple[float | None, str | None]],
    records: Sequence[Mapping[str, Any]],
) -> Row:
    """A reference is drawn once: its values have no spread."""
    summary = {
        key: {"mean": value, "std": None, "n": int(value is not None), "reason": reason}
        for key, (value, reason) in values.items()
    }
    return Row(name, "reference", "reference", {}, summary, {"drawn": records})


def read_row(name: str, seeds: Sequence[int], settings: Mapping[str, Any] | None = None) -> Row:
    """A model's place in the comparison.

    Args:
        name: Of the model.
        seeds: The training seeds.
        settings: What it was trained with, where that is known already.

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
            f"{', '.join(wanted)}; `{evaluate}` makes it anew"
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
        raise UserError(f"{path}: no such file; `{made_by}` makes it") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a table ({error}); `{made_by}` makes it anew") from None


def _of_first_seed(folder: Path, made_by: str) -> tuple[dict[str, bytes], dict[str, Any] | None]:
    """The pictures, and what is known about the latents."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; `{made_by}` makes it")
    found = {picture: folder / f"{picture}.png" for picture in PICTURES}
    pictures = {picture: path.read_bytes() for picture, path in found.items() if path.is_file()}
    path = folder / "latents.json"
    return pictures, files.read_json(path, made_by) if path.is_file() else None

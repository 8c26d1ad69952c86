"""The inputs of the report: the outputs of the other stages, read and checked for completeness."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evaluation.comparing.leaderboard import Leaderboard, RecordDict, Row, leaderboard
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError


@dataclass(frozen=True)
class ModelResult:
    """One model.

    Attributes:
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
        references: Image sets of known quality; `reference_pictures` are PNG files of each one.
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
    """Reads the outputs of all stages for the selected models, in the order of the report.

    Raises:
        UserError: A file is missing, broken or from other seeds; the stage to run is named.
    """
    references = files.read_json(paths.REFERENCES / "rows.json", "dvc repro references")
    drawn = {name: paths.REFERENCES / f"{name}.png" for name in references["rows"]}
    return Results(
        [_model(name, seeds) for name in selected],
        _references(references),
        {name: path.read_bytes() for name, path in drawn.items() if path.is_file()},
        files.read_json(paths.PREPARE / "manifest.json", "dvc repro prepare"),
        files.read_json(paths.FEATURES / "card.json", "dvc repro features"),
        [
            files.read_json(path, f"make tune STUDY={path.stem}")
            for path in sorted(paths.STUDY_SUMMARIES.glob("*.json"))
        ],
    )


def _references(stored: Mapping[str, Any]) -> list[Row]:
    """The measured rows, then the values that theory predicts for two sets of real images."""
    expected = [
        {"name": name, "value": value, "reason": "not_supported"}
        for name, value in stored["expected_floor"].items()
    ]
    measured = {name: list(row["records"].values()) for name, row in stored["rows"].items()}
    return [
        *(_reference(name, records, records) for name, records in measured.items()),
        _reference("expected_floor", expected, []),
    ]


def _reference(name: str, values: Sequence[RecordDict], records: Sequence[RecordDict]) -> Row:
    """A reference is drawn once, so its values have no spread."""
    summary = {}
    for value in values:
        mean, reason = value["value"], value["reason"]
        n = int(mean is not None)
        summary[value["name"]] = {"mean": mean, "std": None, "n": n, "reason": reason}
    return Row(name, "reference", "reference", {}, summary, {"drawn": records})


def read_row(name: str, seeds: Sequence[int]) -> Row:
    """The values of a model.

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
    cost, settings = summary["cost"], _settings(name, seeds)
    num_images = settings["num_steps"] * settings["batch_size"]
    return Row(
        name,
        summary["kind"],
        summary["family"],
        {**cost, "multiply_adds_run": cost["multiply_adds_train"] * num_images},
        summary["metrics"],
        {seed: records[seed] for seed in wanted},
    )


def board(
    models: Iterable[Row], references: Sequence[Row] = (), rank_by: str | None = None
) -> Leaderboard:
    """The comparison of the models.

    Raises:
        UserError: Values are not comparable, or `rank_by` is no column with a direction.
    """
    try:
        joined = leaderboard(list(models), references)
    except ValueError as error:
        raise UserError(f"{error}; `dvc repro` measures them again") from None
    try:
        if rank_by is not None:
            joined.ranked(rank_by)
    except ValueError as error:
        raise UserError(f"params.yaml: report.rank_by: {error}") from None
    return joined


def _settings(name: str, seeds: Sequence[int]) -> dict[str, Any]:
    path = paths.TRAIN / name / str(seeds[0]) / "config.json"
    return dict(files.read_json(path, f"dvc repro train@{name}")["settings"])


def _model(name: str, seeds: Sequence[int]) -> ModelResult:
    folder, evaluate = paths.EVALUATE / name / str(seeds[0]), f"dvc repro evaluate@{name}"
    row = read_row(name, seeds)
    histories = {str(seed): _history(name, seed) for seed in seeds}
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; run `{evaluate}`")
    pictures = {path.stem: path.read_bytes() for path in folder.glob("*.png")}
    path = folder / "latents.json"
    latents = files.read_json(path, evaluate) if path.is_file() else None
    return ModelResult(row, _settings(name, seeds), histories, pictures, latents)


def _history(name: str, seed: int) -> pd.DataFrame:
    path, train = paths.TRAIN / name / str(seed) / "history.csv", f"dvc repro train@{name}"
    try:
        return pd.read_csv(path)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; run `{train}`") from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError) as error:
        raise UserError(f"{path}: not a table ({error}); run `{train}` again") from None

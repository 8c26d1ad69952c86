"""The leaderboard as tables of text, for the page and the Markdown file."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.comparing import reference_rows, significance
from evaluation.comparing.leaderboard import Column, Leaderboard, Row
from evaluation.comparing.value_text import decimals, interval, number

#: Pairs in the wrong order that a note names.
SHOWN_PAIRS = 3

#: Names of the reference rows for people.
REFERENCE_NAMES = {
    **{name: name.replace("_", " ") for name in reference_rows.ROWS},
    "held_out": "held-out real images",
    "pca_gaussian": "PCA Gaussian",
    "expected_floor": "two real sets, by theory",
}

#: Reasons of missing values in words; any other reason is printed as it is.
REASONS = {
    "not_supported": "the model cannot do what this metric needs",
    "not_measured": "not measured",
    "other_likelihood": "another likelihood, whose values are not comparable",
    "no_extractor": "there is no feature extractor for this data set",
    "no_weights": "the extractor's weights are missing",
    "too_few_samples": "too few images",
    "non_finite_samples": "the model made images that are not finite",
    "non_finite_value": "the value is not finite",
    "no_likelihood": "a Bernoulli distribution of grey values is not a likelihood of the data",
    "deterministic_encoder": "the encoder is deterministic: there is no posterior",
    "no_unit_normal_prior": "the prior is not N(0, I)",
    "label_is_given": "the encoder receives the class, so its latents can copy it",
    "no_valid_images": "there are no validation images to select on",
    "one_latent_dimension": "a gap needs two latent dimensions",
    "one_class": "all images are of one class",
    "no_labels": "the images have no labels",
    "class_missing": "there are no images of one of the classes",
    "not_conditional": "the model is not conditional",
    "non_finite_latents": "the latents are not finite",
    "non_finite_likelihood": "the likelihood of an image is not finite",
    "non_finite_features": "the features of an image are not finite",
    "fewer_images_than_neighbours": "fewer images than the neighbours that the metric needs",
    "too_few_for_extrapolation": "fewer than 15 images per feature: too few for the extrapolation",
    "judge_not_trainable": "the judge could not be trained on these images",
    "too_few_train_images": "fewer than two training images to compare with",
    "image_smaller_than_window": "the images are smaller than the window of 11 pixels",
    "image_smaller_than_judge": "the images are too small for the judge",
    "identical_images": "all images of one side are the same",
    "constant_scores": "the discriminator gives all images the same score",
    "non_finite_scores": "the discriminator gives scores that are not finite",
    "non_finite_reconstructions": "the reconstructions are not finite",
    "classifier_of_other_data": "the pipeline's classifier is trained on the prepared data only",
    "fewer_images_than_the_reference": "fewer images than the models are measured on",
    "held_out_copies": "too many held-out images are also training images: none can be closer",
    "fewer_held_out_images": "fewer held-out images than the models are measured on",
    "undequantised_density": "the density of pixels that are not dequantised is unbounded",
}


@dataclass(frozen=True)
class TextCell:
    """One cell as text.

    Attributes:
        mean: The mean, or a dash.
        sd: The standard deviation over the seeds; empty if there is none.
        exact: The mean in full precision, to sort by; None if it is missing.
        best: Whether it is the best mean of its column.
        note: The mark of the footnote about a missing value; empty if none is missing.
    """

    mean: str
    sd: str
    exact: float | None
    best: bool
    note: str


@dataclass(frozen=True)
class TextRow:
    """One row of a table.

    Attributes:
        row: Its model or reference.
        rank: Position by the ranking value; None for a reference or without a value.
        group: Letters; models that share one are not distinguishable. Empty if nothing is testable.
        interval: Student's 95 % interval of the ranking value over training seeds; empty without
            one.
        low: The lower bound in full precision, to sort by; None without an interval.
        cells: The values.
    """

    row: Row
    rank: int | None
    group: str
    interval: str
    low: float | None
    cells: Sequence[TextCell]

    @property
    def num_seeds(self) -> int | None:
        """Number of training seeds of the row; None for a reference."""
        return None if self.row.family == "reference" else len(self.row.records)


@dataclass(frozen=True)
class Table:
    """A titled part of the leaderboard.

    Attributes:
        title: What the columns have in common.
        columns: The columns from left to right.
        rows: Models from best to worst, then references.
        notes: Footnotes: mark and text.
        flags: For each column that misorders reference rows, by its key: which rows.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[TextRow]
    notes: Sequence[tuple[str, str]]
    flags: Mapping[str, str]


def tables(board: Leaderboard, rank_by: str) -> list[Table]:
    """Splits the columns by the families that have them: all, with or without a direction, or some.

    The first table is the leaderboard; its first column is `rank_by`.
    """
    present = list(dict.fromkeys(row.family for row in board.models))
    shared: list[Column] = []
    diagnostics: list[Column] = []
    partial: dict[str, list[Column]] = {}
    for column in board.columns:
        having = [family for family in present if family in board.families(column)]
        if column.key == rank_by or (having == present and column.higher_is_better is not None):
            shared.append(column)
        elif having == present:
            diagnostics.append(column)
        elif having:
            families = " and ".join(f"{family.upper()}s" for family in having)
            partial.setdefault(families, []).append(column)
    shared.sort(key=lambda column: column.key != rank_by)
    groups = [("All models", shared), ("Diagnostics without a direction", diagnostics)]
    groups += [(f"{families} only", columns) for families, columns in partial.items()]
    return [_table(board, title, columns, rank_by) for title, columns in groups if columns]


def empty_columns(board: Leaderboard) -> list[tuple[Column, str]]:
    """The columns in which no model has a value, each with the reasons."""
    empty = []
    for column in board.columns:
        if not board.families(column):
            cells = [board.cell(row, column) for row in board.models]
            reasons = dict.fromkeys(in_words(cell.reason) for cell in cells)
            empty.append((column, "; ".join(reasons)))
    return empty


def _table(board: Leaderboard, title: str, columns: Sequence[Column], rank_by: str) -> Table:
    ranked = board.ranked(rank_by)
    ranking = board.column(rank_by)
    notes: dict[str, str] = {}
    groups = board.groups(ranking)
    rows = []
    places = decimals(board.cell(row, ranking).mean for row in board.models)
    for row in (*ranked, *board.references):
        empty = all(board.cell(row, column).mean is None for column in columns)
        proper = rank_by in {column.key for column in columns}
        if empty and not (proper and row in board.models):
            continue  # a row of dashes; only the leaderboard shows every model
        cells = [_cell(board, row, column, notes) for column in columns]
        valued = row in board.models and board.cell(row, ranking).mean is not None
        rank = ranked.index(row) + 1 if valued else None
        bounds = significance.interval(board.values(row, ranking))
        low = bounds[0] if bounds else None
        rows.append(
            TextRow(row, rank, groups.get(row.name, ""), interval(bounds, places), low, cells)
        )
    flags = {column.key: text for column in columns if (text := _flag(board, column))}
    return Table(title, columns, rows, [(mark, text) for text, mark in notes.items()], flags)


def _flag(board: Leaderboard, column: Column) -> str:
    """The first pairs of reference rows in the wrong order, in words."""
    pairs = [
        f"{REFERENCE_NAMES[worse]} no worse than {REFERENCE_NAMES[better]}"
        for better, worse in board.broken(column)
    ]
    more = len(pairs) - SHOWN_PAIRS
    return "; ".join(pairs[:SHOWN_PAIRS] + ([f"and {more} more pairs"] if more > 0 else []))


def _cell(board: Leaderboard, row: Row, column: Column, notes: dict[str, str]) -> TextCell:
    cell = board.cell(row, column)
    places = decimals(board.cell(model, column).mean for model in board.models)
    if row.family == "reference":
        return TextCell(number(cell.mean, places), "", cell.mean, best=False, note="")
    note = ""
    if cell.mean is None:
        note = _mark(in_words(cell.reason), notes)
    elif cell.n < len(row.records):
        reasons = [
            record["reason"]
            for records in row.records.values()
            for record in records
            if record["name"] == column.metric and record["value"] is None
        ]
        text = f"{cell.n} of {len(row.records)} seeds: {in_words(reasons[0] if reasons else None)}"
        note = _mark(text, notes)
    sd = "" if cell.std is None else number(cell.std, places)
    return TextCell(number(cell.mean, places), sd, cell.mean, row.name in board.best(column), note)


def _mark(text: str, notes: dict[str, str]) -> str:
    """The footnote's letter: a, b, ..., z, aa, bb."""
    index = len(notes)
    return notes.setdefault(text, chr(ord("a") + index % 26) * math.ceil((index + 1) / 26))


def in_words(reason: str | None) -> str:
    """Why a value is missing, in words."""
    return REASONS.get(reason or "", (reason or "unknown reason").replace("_", " "))

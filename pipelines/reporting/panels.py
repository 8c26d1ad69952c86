"""Panels of the report: trade-offs, discriminators, independent judges, memorisation."""

from collections.abc import Iterable, Mapping, Sequence
from math import log, nan
from types import MappingProxyType
from typing import Any

from evaluation.comparing.leaderboard import Column, Leaderboard, Row
from evaluation.comparing.reference_rows import FLOOR
from evaluation.comparing.tables import REFERENCE_NAMES
from evaluation.comparing.verdict import COPY_BELOW
from evaluation.figures.calibration import Reliability, pooled, reliability_plot
from evaluation.figures.dots import Axis, Dots, Level, dot_plot
from evaluation.figures.planes import Marks, Points, plane_plot
from pipelines.reporting.pictures import Look

COSTS = {
    "multiply_adds_run": ("training", "multiply-adds spent in training"),
    "num_parameters": ("size", "parameters, discriminator included"),
}
#: Series of a plot, by metric.
SHARES = {
    "disc_acc_real_train": "real, train split",
    "disc_acc_real_test": "real, test split",
    "disc_acc_fake": "generated",
}
AREAS = {
    "disc_auroc": "real test over generated",
    "disc_membership_auroc": "real train over real test",
}
FRACTION = (0.0, 1.0)
CHANCE, NONE = Level(0.5, "chance"), Level(0.0, "none")


def panels(
    board: Leaderboard, rank_by: str, extractors: Sequence[str], looks: Mapping[str, Look]
) -> dict[str, dict[str, list[str]]]:
    """The plots of each group of each panel as SVG elements; `texts.j2` has titles and captions.

    The column `rank_by` orders the models; a group or a panel without values is left out or empty.
    """
    groups = {
        "tradeoffs": {
            "rate_distortion": _rate_distortion(board, looks),
            "quality": _quality(board, board.column(rank_by), looks),
        },
        "judges": {
            "discriminators": _discriminators(board, rank_by, looks),
            "independent": _independent(board, rank_by, extractors),
        },
        "memorisation": {"copies": _memorisation(board, rank_by, extractors, looks)},
    }
    return {
        panel: {
            group: drawn for group, plots in own.items() if (drawn := list(filter(None, plots)))
        }
        for panel, own in groups.items()
    }


def _rate_distortion(board: Leaderboard, looks: Mapping[str, Look]) -> list[str]:
    """One plane per likelihood: nats of different likelihoods are not comparable."""
    rates, distortions = (
        {column.observation: column for column in board.columns if column.metric == metric}
        for metric in ("rate", "distortion")
    )
    plots = []
    for seen in (observation for observation in rates if observation in distortions):
        pairs = [(r, board.pairs_of_seeds(r, rates[seen], distortions[seen])) for r in board.models]
        title = f"Rate and distortion{f', {seen}' if seen else ''}"
        labels = ("rate (nats/image)", "distortion (nats/image)")
        lines = Marks(frontier="lower", equal_sums=True)
        plots.append(_plane(pairs, looks, title, labels, lines))
    return plots


def _quality(board: Leaderboard, ranking: Column, looks: Mapping[str, Look]) -> list[str]:
    """Samples against reconstructions, with the cost as the area of a mark, and against costs."""
    plots = []
    floor = next((board.cell(r, ranking).mean for r in board.references if r.name == FLOOR), None)
    y_label = f"{ranking.key} {ranking.arrow}"
    values = [(row, board.values(row, ranking)) for row in board.models]
    mse = next((column for column in board.columns if column.metric == "mse"), None)
    if mse is not None and board.families(mse):
        pairs = [
            (row, [(nan, value) for value in own])  # in the strip beside the plane
            if board.cell(row, mse).mean is None
            else (row, board.pairs_of_seeds(row, mse, ranking))
            for row, own in values
        ]
        title, labels = (
            f"{ranking.key}, {mse.key} and training",
            (f"{mse.key} {mse.arrow}", y_label),
        )
        marks = Marks(floor=floor, strip="no\nreconstruction")
        costs = {row.name: log(row.cost["multiply_adds_run"]) for row in board.models}
        low, high = min(costs.values()), max(costs.values())
        weights = {name: (cost - low) / (high - low or 1) for name, cost in costs.items()}
        plots.append(_plane(pairs, looks, title, labels, marks, weights))
    for key, (cost, label) in COSTS.items():
        pairs = [(row, [(float(row.cost[key]), value) for value in own]) for row, own in values]
        marks = Marks(floor=floor, frontier="higher" if ranking.higher_is_better else "lower")
        title, labels = f"{ranking.key} and {cost}", (label, y_label)
        plots.append(_plane(pairs, looks, title, labels, marks))
    return plots


def _plane(
    pairs: Iterable[tuple[Row, Sequence[tuple[float, float]]]],
    looks: Mapping[str, Look],
    title: str,
    labels: tuple[str, str],
    marks: Marks,
    weights: Mapping[str, float] = MappingProxyType({}),
) -> str:
    """A plot of the rows that have (x, y) pairs of seeds; empty if no model has any."""
    points = [
        Points(
            _name(row),
            looks[row.name].style if row.name in looks else None,
            own,
            weights.get(row.name),
        )
        for row, own in pairs
        if own
    ]
    if all(point.style is None for point in points):
        return ""
    return plane_plot(points, title, labels, marks)


def _discriminators(board: Leaderboard, rank_by: str, looks: Mapping[str, Look]) -> list[str]:
    gap = Axis("real train minus real test, in standard deviations", [NONE])
    error = Axis("expected calibration error", [NONE], FRACTION)
    return [
        _dots(board, rank_by, SHARES, "Accuracy", Axis("share", [CHANCE], FRACTION)),
        _dots(board, rank_by, AREAS, "AUROC", Axis("AUROC", [CHANCE], FRACTION)),
        _dots(board, rank_by, {"disc_gap": "gap"}, "Overfitting gap", gap),
        _dots(board, rank_by, {"disc_ece": "error"}, "Calibration", error),
        _reliability(board, rank_by, looks),
    ]


def _reliability(board: Leaderboard, rank_by: str, looks: Mapping[str, Look]) -> str:
    """Reliability of the discriminators' probabilities, on half real and half generated images."""
    models = []
    for row in board.ranked(rank_by):
        # With several sets of samples, the by-products belong to the first set.
        seeds = [
            params.get("first_set", params).get("reliability")
            for params in _params(row, "disc_ece")
        ]
        if bins := [of_seed for of_seed in seeds if of_seed]:
            models.append(Reliability(row.name, looks[row.name].style, pooled(bins)))
    return reliability_plot(models, "Reliability") if models else ""


def _params(row: Row, metric: str) -> list[Mapping[str, Any]]:
    """The by-products of a metric, one entry per seed."""
    records = (record for of_seed in row.records.values() for record in of_seed)
    return [record["params"] for record in records if record["name"] == metric]


def _independent(board: Leaderboard, rank_by: str, extractors: Sequence[str]) -> list[str]:
    series = {"c2st_pixel": "network on pixels"}
    series |= {f"c2st_{name}": f"linear judge, {name} features" for name in extractors}
    series |= {f"nn1_{name}": f"nearest neighbour, {name} features" for name in extractors}
    title, axis = "Accuracy of independent judges", Axis("accuracy", [CHANCE], FRACTION)
    return [_dots(board, rank_by, series, title, axis, references=True)]


def _memorisation(
    board: Leaderboard, rank_by: str, extractors: Sequence[str], looks: Mapping[str, Look]
) -> list[str]:
    """Whether samples are copies of training images, in pixels and in features."""
    plots = [_copies(board, name, looks) for name in extractors]
    for metric, title, label, log_from in (
        ("authpct", "Authentic images", "share of images that are not near-copies", None),
        ("copy_share", "Suspiciously close images", "share closer than 99 % of held-out", 0.01),
    ):
        series = {f"{metric}_{name}": f"{name} features" for name in extractors}
        series = {f"{metric}_pixel": "pixels", **series}
        levels = [
            Level(float(params[0]["held_out"]), f"held-out images, {name}", name)
            for key, name in series.items()
            # The same for every model.
            if (params := [p for row in board.models for p in _params(row, key) if "held_out" in p])
        ]
        axis = Axis(label, levels, FRACTION, log_from)
        plots.append(_dots(board, rank_by, series, title, axis, references=True))
    return plots


def _copies(board: Leaderboard, extractor: str, looks: Mapping[str, Look]) -> str:
    columns = {column.key: column for column in board.columns}
    pixel, feature = columns.get("ct_pixel"), columns.get(f"ct_{extractor}")
    if pixel is None or feature is None:
        return ""
    rows = (*board.models, *board.references)
    return _plane(
        [(row, board.pairs_of_seeds(row, pixel, feature)) for row in rows],
        looks,
        f"C_T in pixels and in {extractor} features",
        ("C_T, pixels", f"C_T, {extractor} features"),
        Marks(shaded=(COPY_BELOW, "copies")),
    )


def _dots(
    board: Leaderboard,
    rank_by: str,
    series: Mapping[str, str],
    title: str,
    axis: Axis,
    references: bool = False,
) -> str:
    """A plot of some metrics; empty if no model has a value of any of them."""
    columns = {series[c.key]: c for c in board.columns if c.key in series}
    rows = [
        Dots(
            _name(row),
            {name: board.values(row, columns[name]) for name in series.values() if name in columns},
        )
        for row in (*board.ranked(rank_by), *(board.references if references else ()))
    ]
    if not any(any(row.series.values()) for row in rows[: len(board.models)]):
        return ""
    return dot_plot(rows, title, axis)


def _name(row: Row) -> str:
    return REFERENCE_NAMES.get(row.name, row.name) if row.family == "reference" else row.name

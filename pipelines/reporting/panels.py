"""The panels of the report: what discriminators and judges say, and what looks memorised."""

from collections.abc import Mapping, Sequence

from evaluation.comparing.leaderboard import Column, Leaderboard, Row
from evaluation.comparing.tables import REFERENCE_NAMES
from evaluation.comparing.value_text import number
from evaluation.comparing.verdict import COPY_BELOW
from evaluation.figures import dots as dot_figures
from evaluation.figures import planes
from evaluation.figures.calibration import Reliability, pooled, reliability_plot
from evaluation.figures.dots import Axis, Dots, Level
from evaluation.figures.planes import Marks, Points
from pipelines.reporting.plots import Look, Plots

#: Series of a plot, by the metric they show.
SHARES = {
    "disc_acc_real_train": "real, train split",
    "disc_acc_real_test": "real, test split",
    "disc_acc_fake": "generated",
}
AREAS = ("real test over generated", "real train over real test")
FRACTION = (0.0, 1.0)
CHANCE = Level(0.5, "a coin")
SEEDS = (
    "Large mark: mean of the seeds, small marks: the seeds, line: Student's 95 % interval of the "
    "mean over training seeds."
)


def judges(
    board: Leaderboard, rank_by: str, extractors: Sequence[str], marks: Mapping[str, Look]
) -> list[Plots]:
    """What each GAN's own discriminator tells, and what judges say that no model was trained with.

    Args:
        board: The comparison.
        rank_by: The column that orders the models.
        extractors: Names of the feature extractors.
        marks: Colour and marker of each model.
    """
    return _discriminators(board, rank_by, marks) + _independent(board, rank_by, extractors)


def _discriminators(board: Leaderboard, rank_by: str, marks: Mapping[str, Look]) -> list[Plots]:
    none, areas = Level(0.0, "none"), {"disc_auroc": AREAS[0], "disc_membership_auroc": AREAS[1]}
    gap = Axis("real train minus real test, in deviations", [none])
    drawn = [
        _dots(board, rank_by, SHARES, "Images told right", Axis("share", [CHANCE], FRACTION)),
        _dots(board, rank_by, areas, "Images put in order", Axis("AUROC", [CHANCE], FRACTION)),
        _dots(board, rank_by, {"disc_gap": "gap"}, "Overfitting gap", gap),
        _dots(
            board,
            rank_by,
            {"disc_ece": "error"},
            "Calibration",
            Axis("expected calibration error", [none], FRACTION),
        ),
        _reliability(board, rank_by, marks),
    ]
    plots = [plot for plot in drawn if plot]
    if not plots:
        return []
    caption = (
        "A discriminator that knows its training images scores them above test images: it is right "
        "about them more often, its gap is above 0, and train over test is above a coin. Of "
        "generated images half told right is a good generator or a weak discriminator, so these "
        "numbers do not rank models. A critic's scores are no probabilities: it has an AUROC and a "
        "gap only. Reliability: on the diagonal its probabilities are right; a course steeper than "
        "that is less sure than it could be, a flatter one too sure; a mark's area is its share of "
        f"the images, all seeds. {SEEDS}"
    )
    return [Plots("The models' own discriminators", caption, [], plots)]


def _reliability(board: Leaderboard, rank_by: str, marks: Mapping[str, Look]) -> str:
    """How the probabilities of the discriminators are to be read, half real and half generated."""
    models = []
    for row in board.ranked(rank_by):
        told = [
            r["params"] for found in row.records.values() for r in found if r["name"] == "disc_ece"
        ]
        # Of several sets of samples the by-products are those of the first.
        seeds = [params.get("first_set", params).get("reliability") for params in told]
        if bins := [found for found in seeds if found]:
            models.append(Reliability(row.name, marks[row.name].style, pooled(bins)))
    return reliability_plot(models, "Reliability") if models else ""


def _independent(board: Leaderboard, rank_by: str, extractors: Sequence[str]) -> list[Plots]:
    series = {"c2st_pixel": "network on pixels"}
    series |= {f"c2st_{name}": f"linear judge, {name} features" for name in extractors}
    series |= {f"nn1_{name}": f"nearest neighbour, {name} features" for name in extractors}
    axis = Axis("accuracy", [CHANCE], FRACTION)
    plot = _dots(board, rank_by, series, "Told apart by an independent judge", axis, True)
    caption = (
        "Judges that were trained for this comparison alone, on real and generated images, and "
        "asked about others: 0.5 is a model whose images nobody tells from real ones. A nearest "
        f"neighbour below 0.5 points to copies. {SEEDS}"
    )
    return [Plots("Independent judges", caption, [], [plot])] if plot else []


def memorisation(
    board: Leaderboard, rank_by: str, extractors: Sequence[str], marks: Mapping[str, Look]
) -> list[Plots]:
    """Whether samples are training images, in pixels and in features, beside held-out images."""
    plots = [_copies(board, name, marks) for name in extractors]
    spaces = ("pixel", *extractors)
    for metric, title, label, log_from in (
        ("authpct", "Authentic images", "share of images that keep their distance", None),
        ("copy_share", "Suspiciously close images", "share closer than 99 % of held-out", 0.01),
    ):
        series = {f"{metric}_{space}": _space(space) for space in spaces}
        levels = [
            Level(value, f"held-out images, {name}", name)
            for key, name in series.items()
            if (value := _held_out(board, key)) is not None
        ]
        axis = Axis(label, levels, FRACTION, log_from)
        plots.append(_dots(board, rank_by, series, title, axis, True))
    found = [plot for plot in plots if plot]
    if not found:
        return []
    caption = (
        "C_T compares the distances to the training images with those of held-out images: 0 is "
        f"like held-out images, below {number(COPY_BELOW, 0)} is nearer by more than chance. "
        "Nearer in pixels alone is a blur, in features alone a plain likeness; copies are nearer "
        "in both, the shaded corner. Fewer authentic images or more close ones than of held-out "
        f"images point the same way. Hollow marks: reference rows. {SEEDS}"
    )
    return [Plots("Copies of training images", caption, [], found)]


def _copies(board: Leaderboard, extractor: str, marks: Mapping[str, Look]) -> str:
    columns = _columns(board)
    pixel, feature = columns.get("ct_pixel"), columns.get(f"ct_{extractor}")
    if pixel is None or feature is None:
        return ""
    points = []
    for row in (*board.models, *board.references):
        if pairs := board.pairs_of_seeds(row, pixel, feature):
            style = marks[row.name].style if row.name in marks else None
            points.append(Points(_name(row), style, pairs))
    if not any(point.style is not None for point in points):
        return ""
    return planes.plane_plot(
        points,
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
    """A plot of some metrics; empty where no model has a value of any of them."""
    columns = _columns(board)

    def dots(row: Row) -> Dots:
        found = {
            name: board.values(row, columns[metric])
            for metric, name in series.items()
            if metric in columns
        }
        return Dots(_name(row), found)

    rows = [dots(row) for row in board.ranked(rank_by)]
    if not any(any(row.series.values()) for row in rows):
        return ""
    rows += [dots(row) for row in board.references if references]
    return dot_figures.dot_plot(rows, title, axis)


def _columns(board: Leaderboard) -> dict[str, Column]:
    return {column.key: column for column in board.columns}


def _held_out(board: Leaderboard, metric: str) -> float | None:
    """What held-out images score against the training images: the same beside every model."""
    for row in board.models:
        for records in row.records.values():
            for record in records:
                if record["name"] == metric and "held_out" in record["params"]:
                    return float(record["params"]["held_out"])
    return None


def _name(row: Row) -> str:
    return REFERENCE_NAMES.get(row.name, row.name) if row.family == "reference" else row.name


def _space(name: str) -> str:
    return "pixels" if name == "pixel" else f"{name} features"

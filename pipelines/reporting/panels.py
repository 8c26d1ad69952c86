"""Panels of the report: discriminators, independent judges, memorisation."""

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

#: Series of a plot, by metric.
SHARES = {
    "disc_acc_real_train": "real, train split",
    "disc_acc_real_test": "real, test split",
    "disc_acc_fake": "generated",
}
AREAS = ("real test over generated", "real train over real test")
FRACTION = (0.0, 1.0)
CHANCE = Level(0.5, "chance")
SEEDS = (
    "Large mark: mean over training seeds; small marks: the seeds; line: Student's 95 % interval "
    "of the mean."
)


def judges(
    board: Leaderboard, rank_by: str, extractors: Sequence[str], marks: Mapping[str, Look]
) -> list[Plots]:
    """The discriminator of each GAN, and judges that no model was trained against.

    Args:
        board: The comparison.
        rank_by: The column that orders the models.
        extractors: Names of the feature extractors.
        marks: Colour and marker of each model.
    """
    return _discriminators(board, rank_by, marks) + _independent(board, rank_by, extractors)


def _discriminators(board: Leaderboard, rank_by: str, marks: Mapping[str, Look]) -> list[Plots]:
    none, areas = Level(0.0, "none"), {"disc_auroc": AREAS[0], "disc_membership_auroc": AREAS[1]}
    gap = Axis("real train minus real test, in standard deviations", [none])
    drawn = [
        _dots(board, rank_by, SHARES, "Accuracy", Axis("share", [CHANCE], FRACTION)),
        _dots(board, rank_by, areas, "AUROC", Axis("AUROC", [CHANCE], FRACTION)),
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
        "An overfitted discriminator scores training images above test images: higher accuracy on "
        "training images, gap above 0, AUROC of train over test above 0.5. An accuracy of 0.5 on "
        "generated images means a good generator or a weak discriminator, so these values do not "
        "rank models. A critic's scores are not probabilities: it has an AUROC and a gap only. "
        "Reliability: on the diagonal the probabilities are correct; steeper than the diagonal is "
        "under-confident, flatter is over-confident; the area of a mark is its share of the "
        f"images, all seeds pooled. {SEEDS}"
    )
    return [Plots("The models' own discriminators", caption, [], plots)]


def _reliability(board: Leaderboard, rank_by: str, marks: Mapping[str, Look]) -> str:
    """Reliability of the discriminators' probabilities, on half real and half generated images."""
    models = []
    for row in board.ranked(rank_by):
        calibrations = [
            record["params"]
            for records in row.records.values()
            for record in records
            if record["name"] == "disc_ece"
        ]
        # With several sets of samples, the by-products belong to the first set.
        seeds = [params.get("first_set", params).get("reliability") for params in calibrations]
        if bins := [of_seed for of_seed in seeds if of_seed]:
            models.append(Reliability(row.name, marks[row.name].style, pooled(bins)))
    return reliability_plot(models, "Reliability") if models else ""


def _independent(board: Leaderboard, rank_by: str, extractors: Sequence[str]) -> list[Plots]:
    series = {"c2st_pixel": "network on pixels"}
    series |= {f"c2st_{name}": f"linear judge, {name} features" for name in extractors}
    series |= {f"nn1_{name}": f"nearest neighbour, {name} features" for name in extractors}
    axis = Axis("accuracy", [CHANCE], FRACTION)
    plot = _dots(board, rank_by, series, "Accuracy of independent judges", axis, True)
    caption = (
        "Classifiers of real against generated images, trained for this comparison only and tested "
        "on other images. 0.5: the images of the model are not distinguishable from real ones. A "
        f"nearest-neighbour accuracy below 0.5 indicates copies. {SEEDS}"
    )
    return [Plots("Independent judges", caption, [], [plot])] if plot else []


def memorisation(
    board: Leaderboard, rank_by: str, extractors: Sequence[str], marks: Mapping[str, Look]
) -> list[Plots]:
    """Whether samples are copies of training images, in pixels and in features."""
    plots = [_copies(board, name, marks) for name in extractors]
    spaces = ("pixel", *extractors)
    for metric, title, label, log_from in (
        ("authpct", "Authentic images", "share of images that are not near-copies", None),
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
    drawn = [plot for plot in plots if plot]
    if not drawn:
        return []
    caption = (
        "C_T compares the distances of samples to the training images with those of held-out "
        f"images: 0 is like held-out images, below {number(COPY_BELOW, 0)} is closer by more than "
        "chance. Closer in pixels only means blurred images, in features only similar images; "
        "copies are closer in both (shaded corner). Fewer authentic images, or more suspiciously "
        "close ones, than among held-out images also indicate copies. Hollow marks: reference "
        f"rows. {SEEDS}"
    )
    return [Plots("Copies of training images", caption, [], drawn)]


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
    """A plot of some metrics; empty if no model has a value of any of them."""
    columns = _columns(board)

    def dots(row: Row) -> Dots:
        values = {
            name: board.values(row, columns[metric])
            for metric, name in series.items()
            if metric in columns
        }
        return Dots(_name(row), values)

    rows = [dots(row) for row in board.ranked(rank_by)]
    if not any(any(row.series.values()) for row in rows):
        return ""
    rows += [dots(row) for row in board.references if references]
    return dot_figures.dot_plot(rows, title, axis)


def _columns(board: Leaderboard) -> dict[str, Column]:
    return {column.key: column for column in board.columns}


def _held_out(board: Leaderboard, metric: str) -> float | None:
    """The value of held-out images against the training images; the same for every model."""
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

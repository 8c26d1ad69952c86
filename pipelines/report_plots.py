"""The plots of the report: which curves and which planes, of which models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation import figures
from evaluation.comparison import Column, Leaderboard, Row
from evaluation.reference_rows import FLOOR
from pipelines.report_inputs import ModelResult

#: The marks of `figures.MARKERS` as characters, for the names beside the plots.
GLYPHS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "◀", "▶", "⬟")
COSTS = {
    "num_parameters": "parameters, discriminator included",
    "multiply_adds_train": "multiply-adds per training image",
}


@dataclass(frozen=True)
class Look:
    """How a model is marked all over the page; `style` is its number for `evaluation.figures`."""

    style: int
    colour: str
    glyph: str


@dataclass(frozen=True)
class Plots:
    """Plots that share a heading and a key: SVG elements and the names of the models in them."""

    title: str
    caption: str
    names: Sequence[str]
    plots: Sequence[str]


def looks(board: Leaderboard) -> dict[str, Look]:
    """Each model's mark, by its place in params.yaml."""
    return {
        row.name: Look(
            i, figures.COLOURS[i % len(figures.COLOURS)], GLYPHS[i % len(figures.MARKERS)]
        )
        for i, row in enumerate(board.models)
    }


def curves(models: Sequence[ModelResult], marks: Mapping[str, Look]) -> list[Plots]:
    """What was watched on the validation split, the models of one family over each other.

    Likelihood models that model different data (`likelihood`, `sigma`, `binarize`) stand apart,
    because nats of one are not comparable with nats of the other.
    """
    groups: dict[tuple[str, str], list[ModelResult]] = {}
    for model in models:
        keys = ("likelihood", "sigma", "binarize")
        told = [
            f"{key} {model.settings[key]}" for key in keys if model.settings.get(key) is not None
        ]
        groups.setdefault((model.row.family, ", ".join(told)), []).append(model)
    return [_curve_group(family, told, found, marks) for (family, told), found in groups.items()]


def _curve_group(
    family: str, told: str, models: Sequence[ModelResult], marks: Mapping[str, Look]
) -> Plots:
    names = dict.fromkeys(
        name
        for model in models
        for history in model.histories.values()
        for name in reversed(history.columns)  # the headline stands last in the file
        if name.startswith("valid/")
    )
    plots = []
    for name in names:
        lines = [
            figures.Curves(
                model.row.name,
                marks[model.row.name].style,
                next(iter(model.histories.values()))["epoch"].tolist(),
                [history[name].tolist() for history in model.histories.values()],
            )
            for model in models
            if all(name in history for history in model.histories.values())
        ]
        plots.append(figures.curve_plot(lines, name, "epoch"))
    title = f"{family.upper()}s" + (f": {told}" if told else "")
    caption = "Validation split; line: mean of the seeds, band: their range."
    return Plots(title, caption, [model.row.name for model in models], plots)


def rates(models: Sequence[ModelResult], marks: Mapping[str, Look]) -> dict[str, str]:
    """By model the rate of each latent dimension, where there is one, as an SVG element."""
    plots = {}
    for model in models:
        if model.latents and model.latents["rate"]:
            name, nats, active = model.row.name, model.latents["rate"], model.latents["active"]
            title = f"{name}: {sum(nats):.1f} nats, {sum(active)} of {len(active)} active"
            dimensions = model.latents["dimensions"]
            plots[name] = figures.rate_plot(nats, active, dimensions, title, marks[name].style)
    return plots


def planes(models: Sequence[ModelResult], class_names: Sequence[str]) -> dict[str, str]:
    """By model of two latents where test images lie, coloured by class, as an SVG element."""
    plots = {}
    for model in models:
        if model.latents and "plane" in model.latents:
            name, plane = model.row.name, model.latents["plane"]
            title = f"{name}: codes of {len(plane['codes'])} test images"
            plots[name] = figures.class_plot(plane["codes"], plane["labels"], class_names, title)
    return plots


def tradeoffs(board: Leaderboard, rank_by: str, marks: Mapping[str, Look]) -> list[Plots]:
    """Rate against distortion, and the ranking metric against reconstruction and against cost."""
    found = []
    for rate in (column for column in board.columns if column.metric == "rate"):
        for distortion in (column for column in board.columns if column.metric == "distortion"):
            if rate.observation == distortion.observation:
                found += _rate_distortion(board, rate, distortion, marks)
    ranking = board.column(rank_by)
    floor = next(
        (board.cell(row, ranking).mean for row in board.references if row.name == FLOOR),
        None,
    )
    plots: list[str] = []
    named: dict[str, None] = {}
    for x in (column for column in board.columns if column.metric == "mse"):
        points = _pairs(board, x, ranking, marks)
        plots += _plane(points, f"{rank_by} and reconstruction", (x.key, rank_by), floor)
        named |= dict.fromkeys(point.name for point in points)
    for key, label in COSTS.items():
        points = _costs(board, key, ranking, marks)
        plots += _plane(points, f"{rank_by} and {key.replace('_', ' ')}", (label, rank_by), floor)
        named |= dict.fromkeys(point.name for point in points)
    if plots:
        wanted = "Higher" if ranking.higher_is_better else "Lower"
        caption = f"Large mark: mean of the seeds, small marks: the seeds. {wanted} is better."
        found.append(Plots("What quality costs", caption, list(named), plots))
    return found


def _rate_distortion(
    board: Leaderboard, rate: Column, distortion: Column, marks: Mapping[str, Look]
) -> list[Plots]:
    points = _pairs(board, rate, distortion, marks)
    if not points:
        return []
    told = f", {rate.observation}" if rate.observation else ""
    plot = figures.scatter_plot(
        points,
        f"Rate and distortion{told}",
        ("rate (nats/image)", "distortion (nats/image)"),
        equal_sums=True,
    )
    caption = (
        "Dotted lines join equal sums of rate and distortion, which is minus the ELBO: "
        "nearer the lower left corner is a tighter bound; along a line, nats move between the "
        "code and the decoder."
    )
    return [Plots("Rate-distortion plane", caption, [point.name for point in points], [plot])]


def _plane(
    points: list[figures.Points], title: str, labels: tuple[str, str], floor: float | None
) -> list[str]:
    return [figures.scatter_plot(points, title, labels, floor=floor)] if points else []


def _value(row: Row, seed: str, column: Column) -> float | None:
    found = [r["value"] for r in row.records[seed] if r["name"] == column.metric]
    return found[0] if found else None


def _pairs(
    board: Leaderboard, x: Column, y: Column, marks: Mapping[str, Look]
) -> list[figures.Points]:
    points = []
    for row in board.models:
        if board.cell(row, x).mean is None or board.cell(row, y).mean is None:
            continue
        pairs = [(_value(row, seed, x), _value(row, seed, y)) for seed in row.records]
        whole = [(a, b) for a, b in pairs if a is not None and b is not None]
        if whole:
            points.append(figures.Points(row.name, marks[row.name].style, whole))
    return points


def _costs(
    board: Leaderboard, key: str, y: Column, marks: Mapping[str, Look]
) -> list[figures.Points]:
    points = []
    for row in board.models:
        values = board.values(row, y)
        if values and key in row.cost:
            seeds = [(float(row.cost[key]), value) for value in values]
            points.append(figures.Points(row.name, marks[row.name].style, seeds))
    return points

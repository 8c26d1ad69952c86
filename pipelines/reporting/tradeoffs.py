"""The trade-offs of the report: rate against distortion, quality against cost."""

from collections.abc import Mapping, Sequence
from math import log, nan

from evaluation.comparing import value_text
from evaluation.comparing.leaderboard import Column, Leaderboard
from evaluation.comparing.reference_rows import FLOOR
from evaluation.figures import planes as plane_figures
from evaluation.figures.planes import Marks, Points
from pipelines.reporting.plots import Look, Plots

COSTS = {
    "multiply_adds_run": ("training", "multiply-adds spent in training"),
    "num_parameters": ("size", "parameters, discriminator included"),
}
SEEDS = "Large mark: mean of the seeds, small marks: the seeds."
FRONTIER = "no model beats those on the line in both"


def tradeoffs(board: Leaderboard, rank_by: str, marks: Mapping[str, Look]) -> list[Plots]:
    """Rate against distortion, and the ranking metric against reconstruction and against cost."""
    ranking = board.column(rank_by)
    planes = _rate_distortion(board, marks)
    drawn = [*_reconstruction(board, ranking, marks), *_costs(board, ranking, marks)]
    if not drawn:
        return planes
    costs = [row.cost["multiply_adds_run"] for row in board.models]
    least, most = (value_text.count(pick(costs)) for pick in (min, max))
    caption = (
        "Whether good reconstructions make good samples, and whether a costly training does. "
        f"{SEEDS} Beside the reconstructions the area of a mark grows with the logarithm of what "
        f"its training cost, from {least} to {most} multiply-adds, and models that do not "
        "reconstruct stand in the strip on the right. "
        f"Solid line: {FRONTIER}."
    )
    named = [row.name for row in board.models if board.values(row, ranking)]
    return [*planes, Plots("What quality costs", caption, named, drawn)]


def _rate_distortion(board: Leaderboard, marks: Mapping[str, Look]) -> list[Plots]:
    """A plane for each likelihood: nats of one are no nats of another."""
    plots: list[str] = []
    names: list[str] = []
    rates, distortions = (
        {column.observation: column for column in board.columns if column.metric == metric}
        for metric in ("rate", "distortion")
    )
    for observation in (seen for seen in rates if seen in distortions):
        points = [
            Points(row.name, marks[row.name].style, pairs)
            for row in board.models
            if (pairs := board.pairs_of_seeds(row, rates[observation], distortions[observation]))
        ]
        if not points:
            continue
        names += _names(points)
        plot = plane_figures.plane_plot(
            points,
            f"Rate and distortion{f', {observation}' if observation else ''}",
            ("rate (nats/image)", "distortion (nats/image)"),
            Marks(frontier="lower", equal_sums=True),
        )
        plots.append(plot)
    caption = (
        "What the code tells about an image, and what remains untold. Dotted lines join equal sums "
        "of the two, which is minus the ELBO: nearer the lower left corner is a tighter bound; "
        f"along a line, nats move between the code and the decoder. Solid line: {FRONTIER}. "
        f"{SEEDS} Only models of one likelihood share a plane: one observation model, and the "
        "class given to all of them or to none."
    )
    return [Plots("Rate-distortion plane", caption, names, plots)] if plots else []


def _reconstruction(board: Leaderboard, ranking: Column, marks: Mapping[str, Look]) -> list[str]:
    """Samples against reconstructions, with the cost as the area; GANs stand beside."""
    x = next((column for column in board.columns if column.metric == "mse"), None)
    if x is None or all(board.cell(row, x).mean is None for row in board.models):
        return []
    weights = _weights({row.name: row.cost["multiply_adds_run"] for row in board.models})
    points = []
    for row in board.models:
        pairs = board.pairs_of_seeds(row, x, ranking)
        if board.cell(row, x).mean is None:
            pairs = [(nan, value) for value in board.values(row, ranking)]
        if pairs:
            points.append(Points(row.name, marks[row.name].style, pairs, weights[row.name]))
    labels = (f"{x.key} {x.arrow}", f"{ranking.key} {ranking.arrow}")
    title = f"{ranking.key}, {x.key} and training"
    drawn = Marks(floor=_floor(board, ranking), strip="no\nreconstruction")
    return [plane_figures.plane_plot(points, title, labels, drawn)] if points else []


def _costs(board: Leaderboard, ranking: Column, marks: Mapping[str, Look]) -> list[str]:
    plots = []
    better = "higher" if ranking.higher_is_better else "lower"
    for key, (cost, label) in COSTS.items():
        points = [
            Points(row.name, marks[row.name].style, [(float(row.cost[key]), v) for v in values])
            for row in board.models
            if (values := board.values(row, ranking))
        ]
        if points:
            drawn = Marks(floor=_floor(board, ranking), frontier=better)
            labels = (label, f"{ranking.key} {ranking.arrow}")
            title = f"{ranking.key} and {cost}"
            plots.append(plane_figures.plane_plot(points, title, labels, drawn))
    return plots


def _weights(costs: Mapping[str, int]) -> dict[str, float]:
    """By model from 0 to 1, how far on the way from the least to the greatest cost, in logs."""
    low, high = log(min(costs.values())), log(max(costs.values()))
    return {name: (log(cost) - low) / (high - low or 1) for name, cost in costs.items()}


def _names(points: Sequence[Points]) -> list[str]:
    return [point.name for point in points]


def _floor(board: Leaderboard, column: Column) -> float | None:
    return next((board.cell(r, column).mean for r in board.references if r.name == FLOOR), None)

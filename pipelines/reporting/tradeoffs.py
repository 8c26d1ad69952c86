"""Trade-offs of the report: rate against distortion, quality against cost."""

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
SEEDS = "Large mark: mean over training seeds; small marks: the seeds."
FRONTIER = "no model has better means in both than the models on the line"


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
        "Shows whether good reconstructions or a costly training come with good samples. "
        f"{SEEDS} In the plot of reconstructions, the area of a mark grows with the logarithm of "
        f"the training cost, from {least} to {most} multiply-adds, and models that do not "
        "reconstruct are in the strip on the right. "
        f"Solid line: {FRONTIER}."
    )
    named = [row.name for row in board.models if board.values(row, ranking)]
    return [*planes, Plots("What quality costs", caption, named, drawn)]


def _rate_distortion(board: Leaderboard, marks: Mapping[str, Look]) -> list[Plots]:
    """One plane per likelihood: nats of different likelihoods are not comparable."""
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
        "Rate is the information of the code about an image, distortion the information that the "
        "decoder still needs. Dotted lines join equal sums of the two, which are minus the ELBO: "
        "closer to the lower left corner is a tighter bound; along a line, nats move between code "
        f"and decoder. Solid line: {FRONTIER}. {SEEDS} A plane shows models of one likelihood "
        "only: the same observation model, all conditional or none."
    )
    return [Plots("Rate-distortion plane", caption, names, plots)] if plots else []


def _reconstruction(board: Leaderboard, ranking: Column, marks: Mapping[str, Look]) -> list[str]:
    """Samples against reconstructions, with the cost as the area; GANs in a strip beside."""
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
    """For each model its position between the least cost (0) and the greatest (1), in logs."""
    low, high = log(min(costs.values())), log(max(costs.values()))
    return {name: (log(cost) - low) / (high - low or 1) for name, cost in costs.items()}


def _names(points: Sequence[Points]) -> list[str]:
    return [point.name for point in points]


def _floor(board: Leaderboard, column: Column) -> float | None:
    return next((board.cell(r, column).mean for r in board.references if r.name == FLOOR), None)

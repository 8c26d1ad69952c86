"""Plots of single models and of their training: curves, rates, latent planes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evaluation.comparing.leaderboard import Leaderboard
from evaluation.figures import latent, svg
from pipelines.reporting.differing import text_of
from pipelines.reporting.inputs import ModelResult

#: The markers of `figures.svg.MARKERS` as characters, for the names beside the plots.
GLYPHS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "◀", "▶", "⬟")


@dataclass(frozen=True)
class Look:
    """The mark of a model on the whole page; `style` is its number for `figures.svg`."""

    style: int
    colour: str
    glyph: str


@dataclass(frozen=True)
class Plots:
    """SVG elements with one heading, and the names of the models in their key."""

    title: str
    caption: str
    plots: Sequence[str]
    names: Sequence[str] = ()


def looks(board: Leaderboard) -> dict[str, Look]:
    """Each model's mark, by its position in params.yaml."""
    return {
        row.name: Look(i, svg.COLOURS[i % len(svg.COLOURS)], GLYPHS[i % len(svg.MARKERS)])
        for i, row in enumerate(board.models)
    }


def curves(models: Sequence[ModelResult], marks: Mapping[str, Look]) -> list[Plots]:
    """The validation curves, one plot per value and family.

    Models with different likelihoods (`likelihood`, `sigma`, `binarize`) have separate plots,
    because their nats are not comparable.
    """
    groups: dict[tuple[str, str], list[ModelResult]] = {}
    for model in models:
        keys = ("likelihood", "sigma", "binarize")
        settings = [
            f"{key} {text_of(model.settings[key])}"
            for key in keys
            if model.settings.get(key) is not None
        ]
        groups.setdefault((model.row.family, ", ".join(settings)), []).append(model)
    return [
        _curve_group(family, likelihood, members, marks)
        for (family, likelihood), members in groups.items()
    ]


def _curve_group(
    family: str, likelihood: str, models: Sequence[ModelResult], marks: Mapping[str, Look]
) -> Plots:
    names = dict.fromkeys(
        name
        for model in models
        for history in model.histories.values()
        for name in reversed(history.columns)  # the headline is the last column of the file
        if name.startswith("valid/")
    )
    plots = []
    for name in names:
        lines = [
            svg.Curves(
                model.row.name,
                marks[model.row.name].style,
                next(iter(model.histories.values()))["epoch"].tolist(),
                [history[name].tolist() for history in model.histories.values()],
            )
            for model in models
            if all(name in history for history in model.histories.values())
        ]
        plots.append(svg.curve_plot(lines, name, "epoch"))
    title = f"{family.upper()}s" + (f": {likelihood}" if likelihood else "")
    caption = "Validation split; line: mean of the seeds, band: their range."
    return Plots(title, caption, plots, [model.row.name for model in models])


def rates(models: Sequence[ModelResult], marks: Mapping[str, Look]) -> dict[str, str]:
    """For each model with rates, the rate of each latent dimension as an SVG element."""
    plots = {}
    for model in models:
        if model.latents and model.latents["rate"]:
            name, nats, active = model.row.name, model.latents["rate"], model.latents["active"]
            title = f"{name}: {sum(nats):.1f} nats, {sum(active)} of {len(active)} active"
            dimensions = model.latents["dimensions"]
            plots[name] = latent.rate_plot(nats, active, dimensions, title, marks[name].style)
    return plots


def planes(models: Sequence[ModelResult], class_names: Sequence[str]) -> dict[str, str]:
    """For each model with two latents, the codes of test images by class as an SVG element."""
    plots = {}
    for model in models:
        if model.latents and "plane" in model.latents:
            name, plane = model.row.name, model.latents["plane"]
            title = f"{name}: codes of {len(plane['codes'])} test images"
            plots[name] = latent.class_plot(plane["codes"], plane["labels"], class_names, title)
    return plots

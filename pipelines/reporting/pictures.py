"""Pictures and plots of single models: samples, latents, training curves; the mark of a model."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

from evaluation.comparing.leaderboard import Leaderboard
from evaluation.figures import grids, latent, svg
from pipelines.reporting.differing import text_of
from pipelines.reporting.inputs import ModelResult, Results

#: Galleries of the page by key: title and name of the pictures. `texts.j2` has their captions.
GALLERIES = {
    "samples": ("Samples", "samples"),
    "classes": ("Classes", "classes"),
    "reconstructions": ("Reconstructions", "reconstructions"),
    "nearest": ("Nearest training images", "nearest"),
    "interpolations": ("Interpolations", "interpolations"),
    "traversals": ("Traversals", "traversals"),
    "rates": ("Rate of each dimension", "rates"),
    "plane": ("Latent plane", "manifold"),
}
#: Grey levels of pictures on the page; more would be hardly visible and double its size.
LEVELS = 16
#: The markers of `figures.svg.MARKERS` as characters, for the names beside the plots.
GLYPHS = ("●", "■", "▲", "◆", "▼", "✚", "✖", "◀", "▶", "⬟")


@dataclass(frozen=True)
class Look:
    """The mark of a model on the whole page; `style` is its number for `figures.svg`."""

    style: int
    colour: str
    glyph: str


def looks(board: Leaderboard) -> dict[str, Look]:
    """Each model's mark, by its position in params.yaml."""
    return {
        row.name: Look(i, svg.COLOURS[i % len(svg.COLOURS)], GLYPHS[i % len(svg.MARKERS)])
        for i, row in enumerate(board.models)
    }


def data_uri(png: bytes) -> str:
    """A picture as part of the page, one pixel per image pixel; the page enlarges it.

    A grey picture gets 16 levels; colours are kept.
    """
    small = grids.undoubled(png)
    with Image.open(io.BytesIO(small)) as opened:
        if opened.mode == "L":
            small = _few_greys(opened)
    return f"data:image/png;base64,{base64.b64encode(small).decode()}"


def _few_greys(picture: Image.Image) -> bytes:
    step = 255 // (LEVELS - 1)
    indices = picture.point(lambda grey: (grey + step // 2) // step)
    palette = Image.frombytes("P", picture.size, indices.tobytes())
    palette.putpalette([grey for level in range(LEVELS) for grey in [level * step] * 3])
    buffer = io.BytesIO()
    palette.save(buffer, "PNG", optimize=True, bits=4)
    return buffer.getvalue()


def highlights(results: Results, board: Leaderboard, rank_by: str) -> list[dict[str, str]]:
    """The samples of the best model of each family, the best family first."""
    shown = {model.row.name: model.pictures for model in results.models}
    chosen: dict[str, dict[str, str]] = {}
    for row in board.ranked(rank_by):
        if row.family not in chosen and "samples" in shown[row.name]:
            uri = data_uri(shown[row.name]["samples"])
            chosen[row.family] = {"family": row.family, "name": row.name, "uri": uri}
    return list(chosen.values())


def galleries(
    results: Results, board: Leaderboard, rank_by: str, looks: Mapping[str, Look]
) -> list[dict[str, Any]]:
    """For each type of picture, those of all models that have it, by rank: `uri` or `plot`."""
    drawn = {
        "rates": _rates(results.models, looks),
        "plane": _planes(results.models, results.manifest["class_names"] or []),
    }
    stored = {model.row.name: model.pictures for model in results.models}
    ranked = [row.name for row in board.ranked(rank_by)]
    filled = []
    for key, (title, picture) in GALLERIES.items():
        shown = []
        for name in ranked:
            if picture in stored[name]:
                shown.append({"name": name, "uri": data_uri(stored[name][picture])})
            if name in drawn.get(key, {}):
                shown.append({"name": name, "plot": drawn[key][name]})
        if shown:
            filled.append({"key": key, "title": title, "pictures": shown})
    return filled


def curves(models: Sequence[ModelResult], marks: Mapping[str, Look]) -> list[dict[str, Any]]:
    """The validation curves by family and likelihood: title, names of the models, plots.

    Models with different likelihoods (`likelihood`, `sigma`, `binarize`) have separate plots,
    because their nats are not comparable.
    """
    groups: dict[str, list[ModelResult]] = {}
    for model in models:
        values = {key: model.settings.get(key) for key in ("likelihood", "sigma", "binarize")}
        settings = [f"{key} {text_of(value)}" for key, value in values.items() if value is not None]
        likelihood = f": {', '.join(settings)}" if settings else ""
        groups.setdefault(f"{model.row.family.upper()}s{likelihood}", []).append(model)
    return [
        {
            "title": title,
            "names": [model.row.name for model in members],
            "plots": _curve_plots(members, marks),
        }
        for title, members in groups.items()
    ]


def _curve_plots(models: Sequence[ModelResult], marks: Mapping[str, Look]) -> list[str]:
    """One plot per validation value."""
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
    return plots


def _rates(models: Sequence[ModelResult], marks: Mapping[str, Look]) -> dict[str, str]:
    """For each model with rates, the rate of each latent dimension as an SVG element."""
    plots = {}
    for model in models:
        if model.latents and model.latents["rate"]:
            name, nats, active = model.row.name, model.latents["rate"], model.latents["active"]
            title = f"{name}: {sum(nats):.1f} nats, {sum(active)} of {len(active)} active"
            dimensions = model.latents["dimensions"]
            plots[name] = latent.rate_plot(nats, active, dimensions, title, marks[name].style)
    return plots


def _planes(models: Sequence[ModelResult], class_names: Sequence[str]) -> dict[str, str]:
    """For each model with two latents, the codes of test images by class as an SVG element."""
    plots = {}
    for model in models:
        if model.latents and "plane" in model.latents:
            name, plane = model.row.name, model.latents["plane"]
            title = f"{name}: codes of {len(plane['codes'])} test images"
            plots[name] = latent.class_plot(plane["codes"], plane["labels"], class_names, title)
    return plots

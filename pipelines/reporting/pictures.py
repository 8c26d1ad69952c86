"""Pictures of the report: samples, reconstructions, neighbours, latents, model by model."""

import base64
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from evaluation.comparing.leaderboard import Leaderboard
from evaluation.figures import grids
from pipelines.reporting import plots
from pipelines.reporting.inputs import Results
from pipelines.reporting.plots import Look

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
        "rates": plots.rates(results.models, looks),
        "plane": plots.planes(results.models, results.manifest["class_names"] or []),
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

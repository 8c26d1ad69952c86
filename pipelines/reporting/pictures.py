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

CAPTIONS = {
    "samples": (
        "Samples",
        "Uncurated samples, drawn with the same seed for every model. Grey pictures have 16 levels "
        "on this page and 256 in outputs/evaluate/.",
    ),
    "classes": (
        "Classes",
        "Samples of the conditional models: one class per row, the same latent codes in all rows.",
    ),
    "reconstructions": (
        "Reconstructions",
        "The same test images for every model: each row of originals is above the row of their "
        "reconstructions. Models without an encoder have none.",
    ),
    "nearest": (
        "Nearest training images",
        "The samples closest to a training image, in pixels: each row of samples is above the row "
        "of their neighbours. A copy would equal its neighbour in every pixel.",
    ),
    "interpolations": (
        "Interpolations",
        "From one latent code to another in equal steps; with a conditional model, each row keeps "
        "its class.",
    ),
    "traversals": (
        "Traversals",
        "One latent dimension per row, the largest rate first, at most 16: from -2.5 to 2.5, with "
        "the other dimensions at 0. If nothing changes in a row, the model does not use this "
        "dimension. An autoencoder and a VampPrior have no rates: the largest variance of the code "
        "first, and 2.5 standard deviations to either side of its mean over the test images. A "
        "conditional model keeps the class of the first test image.",
    ),
    "rates": (
        "Rate of each dimension",
        "The average information of a latent dimension about an image, KL(q(z|x) || p(z)) on the "
        "test split; the sum is the rate of the table. A hollow, crossed bar is an inactive "
        "dimension: its mean varies by less than 0.01 over the images. Many inactive dimensions "
        "mean posterior collapse.",
    ),
    "plane": (
        "Latent plane",
        "Models with two latent dimensions: images at the quantiles of the prior, evenly spaced in "
        "probability, z_0 to the right and z_1 upwards, and the codes of test images. The images "
        "of a conditional model have the class of the first test image.",
    ),
}

#: The picture of a gallery if its name differs.
PICTURES = {"plane": "manifold"}

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
    for key, (title, caption) in CAPTIONS.items():
        picture = PICTURES.get(key, key)
        shown = []
        for name in ranked:
            if picture in stored[name]:
                shown.append({"name": name, "uri": data_uri(stored[name][picture])})
            if name in drawn.get(key, {}):
                shown.append({"name": name, "plot": drawn[key][name]})
        if shown:
            gallery = {"key": key, "title": title, "caption": caption, "pictures": shown}
            filled.append(gallery)
    return filled

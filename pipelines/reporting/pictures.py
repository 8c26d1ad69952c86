"""The pictures of the report: samples, reconstructions, neighbours, latents, model by model."""

import base64
import io
from collections.abc import Mapping
from typing import Any

from PIL import Image

from evaluation.comparing.leaderboard import Leaderboard
from evaluation.figures import grids
from pipelines.reporting import plots as report_plots
from pipelines.reporting.inputs import Results
from pipelines.reporting.plots import Look

CAPTIONS = {
    "samples": (
        "Samples",
        "Drawn from the same sampling seed for every model, not picked. Grey pictures have 16 "
        "levels on this page and 256 in outputs/evaluate/.",
    ),
    "classes": (
        "Classes",
        "Samples of the conditional models: a class a row, the same latent codes in every row.",
    ),
    "reconstructions": (
        "Reconstructions",
        "The same test images for every model: each row of originals stands above the row of "
        "their reconstructions. Models without an encoder have none.",
    ),
    "nearest": (
        "Nearest training images",
        "Of all samples those that lie nearest to a training image, in pixels: each row of samples "
        "stands above the row of their neighbours. Copies would be alike to the last pixel.",
    ),
    "interpolations": (
        "Interpolations",
        "From one latent code to another, in equal steps; a conditional model keeps the class of "
        "a row.",
    ),
    "traversals": (
        "Traversals",
        "A latent dimension a row, the largest rate first, at most 16: from -2.5 to 2.5, with the "
        "other dimensions at 0. A row in which nothing changes is a dimension that the model does "
        "not use. Of an autoencoder and a VampPrior, which have no such rates: the largest "
        "variance of the code first, and 2.5 standard deviations to either side of its mean, over "
        "the test images. A conditional model keeps the class of the first test image.",
    ),
    "rates": (
        "Rate of each dimension",
        "What a latent dimension tells about an image on average, KL(q(z|x) || p(z)) on the test "
        "split; together they are the rate of the table. A hollow, crossed bar is a dimension that "
        "is not active: its mean varies by less than 0.01 over the images. Many of them are "
        "posterior collapse.",
    ),
    "plane": (
        "Latent plane",
        "Models of two latent dimensions: images at the quantiles of the prior, evenly spaced in "
        "probability, z_0 to the right and z_1 upwards, and the codes of test images. The images "
        "of a conditional model have the class of the first test image.",
    ),
}

#: The picture of a gallery where it is called otherwise.
PICTURES = {"plane": "manifold"}

#: Of the greys on the page; more are hardly seen and double its size.
LEVELS = 16


def data_uri(png: bytes) -> str:
    """A picture as part of the page: one pixel a pixel, which the page enlarges itself; 16 greys.

    Colours are kept.
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


def highlights(found: Results, board: Leaderboard, rank_by: str) -> list[dict[str, str]]:
    """The samples of the best model of each family, the best family first."""
    shown = {model.row.name: model.pictures for model in found.models}
    chosen: dict[str, dict[str, str]] = {}
    for row in board.ranked(rank_by):
        if row.family not in chosen and "samples" in shown[row.name]:
            uri = data_uri(shown[row.name]["samples"])
            chosen[row.family] = {"family": row.family, "name": row.name, "uri": uri}
    return list(chosen.values())


def galleries(
    found: Results, board: Leaderboard, rank_by: str, looks: Mapping[str, Look]
) -> list[dict[str, Any]]:
    """For each sort of picture those of all models that have it, as `uri` or as `plot`, by rank."""
    plots = {
        "rates": report_plots.rates(found.models, looks),
        "plane": report_plots.planes(found.models, found.manifest["class_names"] or []),
    }
    drawn = {model.row.name: model.pictures for model in found.models}
    ranked = [row.name for row in board.ranked(rank_by)]
    found_galleries = []
    for key, (title, caption) in CAPTIONS.items():
        picture = PICTURES.get(key, key)
        shown = []
        for name in ranked:
            if picture in drawn[name]:
                shown.append({"name": name, "uri": data_uri(drawn[name][picture])})
            if name in plots.get(key, {}):
                shown.append({"name": name, "plot": plots[key][name]})
        if shown:
            gallery = {"key": key, "title": title, "caption": caption, "pictures": shown}
            found_galleries.append(gallery)
    return found_galleries

"""Pictures of the latent space of a model that encodes images as vectors.

`traversals.png` has one row per dimension: images along it. `latents.json` has the rate and the
variance of each dimension, and which are active. With two dimensions `manifold.png` shows the whole
plane. GANs (no encoder) and VQ-VAEs (discrete codes) have none of these files.
"""

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from evaluation.figures import grids
from genmodels.base.image_likelihood import LikelihoodModel
from genmodels.base.model import Images, scoring_batches
from genmodels.base.vae import ACTIVE_ABOVE, VAEBase
from genmodels.objectives.divergences import kl_to_standard_normal
from pipelines.settings import files

#: Rows of the traversals (the dimensions with the highest rate), and images per row.
TRAVERSED, TRAVERSAL_STEPS = 16, 11
#: End of a traversal on both sides, in standard deviations.
REACH = 2.5
MANIFOLD_SIDE = 20
#: Number of test images whose codes are written, for two dimensions.
PLANE_CODES = 500


class Latents(NamedTuple):
    """The codes of N images and their statistics.

    Attributes:
        mean: (N, d) means of the posterior, or the codes of a model without a posterior.
        centre: (d,) 0 with the prior N(0, I), else the mean of the codes.
        spread: (d,) standard deviation: 1 with the prior N(0, I), else that of the codes.
        rate: (d,) mean over the images of KL(q(z_d | x) || p(z_d)), nats; None without a posterior
            or if the dimensions of the prior are dependent.
        active: (d,) whether the variance of the mean over the images is above ACTIVE_ABOVE (Burda
            et al. 2016, section 5.2); None without a posterior.
    """

    mean: Tensor
    centre: Tensor
    spread: Tensor
    rate: Tensor | None
    active: Tensor | None

    @property
    def variance(self) -> Tensor:
        """(d,) variance of the means over the images."""
        return self.mean.var(0)

    @property
    def order(self) -> Tensor:
        """(d,) the dimensions by decreasing rate, or by variance where there is no rate."""
        carried = self.variance if self.rate is None else self.rate
        return carried.argsort(descending=True, stable=True)


def draw(model: object, test: Images, seed: int, folder: Path) -> None:
    """Writes the pictures and latents.json; nothing for one image or a model without vector codes.

    `seed` is that of the binarisation in the metric `rate`, so that the rates sum up to it.
    """
    if not isinstance(model, LikelihoodModel) or len(test.x) < 2:
        return
    latents = encode(model, test, seed)
    if latents is None:
        return
    label = test.y[:1] if test.y is not None else None
    along = traverse(model, latents, label)
    grids.save_png(grids.image_grid(along, TRAVERSAL_STEPS), folder / "traversals.png")
    files.write_json(folder / "latents.json", describe(latents, test.y))
    if latents.mean.shape[1] == 2 and latents.rate is not None:
        # One large image instead of a grid of small ones: the plane has no seams.
        plane = grids.image_grid(manifold(model, label), 1, scale=1)
        grids.save_png(plane, folder / "manifold.png")


def encode(model: LikelihoodModel, images: Images, seed: int) -> Latents | None:
    """Encodes two or more images in the form of the training, such as binarised with `seed`.

    None if the model has no encoder to vectors.
    """
    to_codes: Any = getattr(model, "encode", None)
    if to_codes is None:
        return None
    rng = torch.Generator().manual_seed(seed)
    x = images.x.to(model.device)
    y = None if images.y is None else images.y.to(model.device)
    seen = Images(model.observe(x, model.pixel_noise(x, rng)), y)
    batches = [to_codes(*seen.at(rows)) for rows in scoring_batches(len(x))]
    if not isinstance(model, VAEBase):
        codes = torch.cat(batches)
        is_vector = codes.dim() == 2 and codes.is_floating_point()
        return Latents(codes, codes.mean(0), codes.std(0), None, None) if is_vector else None
    mean, logvar = (torch.cat(part) for part in zip(*batches, strict=True))
    active = mean.var(0) > ACTIVE_ABOVE
    if model.config.prior == "normal":
        rate = kl_to_standard_normal(mean, logvar).mean(0)
        return Latents(mean, torch.zeros_like(rate), torch.ones_like(rate), rate, active)
    spread = (mean.var(0) + logvar.exp().mean(0)).sqrt()
    return Latents(mean, mean.mean(0), spread, None, active)


def traverse(model: LikelihoodModel, latents: Latents, label: Tensor | None) -> Tensor:
    """Images along each dimension while the others stay at the centre, one dimension per row.

    The centre depends on no single image, and a dimension changes more there than at the code of an
    image, whose other dimensions fix the content. `label` is (1,), for a conditional model.

    Returns:
        (rows * TRAVERSAL_STEPS, C, H, W) in [0, 1]: at most TRAVERSED rows, in the order of the
        dimensions, from -REACH to REACH standard deviations around the centre.
    """
    rows = latents.order[:TRAVERSED]
    steps = torch.linspace(-REACH, REACH, TRAVERSAL_STEPS, device=latents.mean.device)
    z = latents.centre.repeat(len(rows), TRAVERSAL_STEPS, 1)
    for row, dimension in enumerate(rows):
        z[row, :, dimension] += latents.spread[dimension] * steps
    return _decode(model, z.flatten(0, 1), label)


def manifold(model: LikelihoodModel, label: Tensor | None) -> Tensor:
    """The plane of a model with two latents and the prior N(0, I), as one image.

    Tiles at the quantiles of the prior, evenly spaced in probability, z_0 from left to right and
    z_1 upwards (Kingma & Welling 2014, figure 4): (1, C, MANIFOLD_SIDE * H, MANIFOLD_SIDE * W) in
    [0, 1]. `label` is (1,), for a conditional model.
    """
    side = MANIFOLD_SIDE
    quantiles = torch.special.ndtri((torch.arange(side, dtype=torch.float64) + 0.5) / side).float()
    z = torch.cartesian_prod(quantiles.flip(0), quantiles).flip(1).to(model.device)
    tiles = _decode(model, z, label).unflatten(0, (side, side))
    channels, height, width = model.shape
    return tiles.permute(2, 0, 3, 1, 4).reshape(1, channels, side * height, side * width)


def _decode(model: LikelihoodModel, z: Tensor, label: Tensor | None) -> Tensor:
    labels = None if label is None else label.repeat(len(z)).to(model.device)
    parts = [model.decode(*Images(z, labels).at(rows)).cpu() for rows in scoring_batches(len(z))]
    return torch.cat(parts)


def describe(latents: Latents, labels: Tensor | None) -> dict[str, Any]:
    """The content of latents.json: lists in the order of the dimensions; `labels` are (N,)."""
    order = latents.order
    card: dict[str, Any] = {
        "num_images": len(latents.mean),
        "dimensions": order.tolist(),
        "rate": None if latents.rate is None else _numbers(latents.rate[order]),
        "variance": _numbers(latents.variance[order]),
        "active": None if latents.active is None else latents.active[order].tolist(),
        "active_units": None if latents.active is None else int(latents.active.sum()),
    }
    if latents.mean.shape[1] == 2:
        kept = slice(PLANE_CODES)
        classes = None if labels is None else labels[kept].tolist()
        card["plane"] = {"codes": [_numbers(z) for z in latents.mean[kept]], "labels": classes}
    return card


def _numbers(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]

"""Pictures of a latent space, drawn by `evaluate` of every model that encodes images as vectors.

`traversals.png` has a row for each dimension: the images on the way along it. `latents.json` says
how much each dimension carries and which are idle. Of two dimensions `manifold.png` shows the whole
plane. The models without them: a GAN has no encoder, and the codes of a VQ-VAE are no vectors.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation.figures import grids
from genmodels.base.image_likelihood import LikelihoodModel
from genmodels.base.model import Images, scoring_batches
from genmodels.base.vae import ACTIVE_ABOVE, VAEBase
from genmodels.objectives.divergences import kl_to_standard_normal
from pipelines.settings import files

#: Rows of the traversals, the dimensions that carry most; and images along each.
TRAVERSED, TRAVERSAL_STEPS = 16, 11
#: How far a traversal goes to either side, in standard deviations.
REACH = 2.5
MANIFOLD_SIDE = 20
#: Of so many test images the codes are kept, where they lie in a plane.
PLANE_CODES = 500


@dataclass(frozen=True)
class Latents:
    """What a model makes of images.

    Attributes:
        mean: (N, d) of the posterior; of a model without one the codes.
        centre: (d,) of the prior N(0, I): 0; with any other or no prior the mean of the codes.
        spread: (d,) the standard deviation around it: 1, or that of the codes.
        rate: (d,) the mean over the images of KL(q(z_d | x) || p(z_d)), nats; None without a
            posterior, and of a prior whose dimensions depend on one another.
        active: (d,) whether the mean varies over the images, by ACTIVE_ABOVE (Burda et al. 2016,
            section 5.2); None without a posterior.
    """

    mean: Tensor
    centre: Tensor
    spread: Tensor
    rate: Tensor | None
    active: Tensor | None

    @property
    def variance(self) -> Tensor:
        """(d,) of the means over the images."""
        return self.mean.var(0)

    @property
    def order(self) -> Tensor:
        """(d,) the dimensions, those first that carry most: by rate, or else by variance."""
        carried = self.variance if self.rate is None else self.rate
        return carried.argsort(descending=True, stable=True)


def draw(model: object, test: Images, seed: int, folder: Path) -> None:
    """Writes the pictures and latents.json; of a model without such codes, nothing.

    Args:
        model: In evaluation mode.
        test: The test images; of a single one, which has no variance, nothing is written.
        seed: Of the binarisation: that of the metric `rate`, so that the rates sum up to it.
        folder: Where they go.
    """
    if not isinstance(model, LikelihoodModel) or len(test.x) < 2:
        return
    found = encode(model, test, seed)
    if found is None:
        return
    label = test.y[:1] if test.y is not None else None
    along = traverse(model, found, label)
    grids.save_png(grids.image_grid(along, TRAVERSAL_STEPS), folder / "traversals.png")
    files.write_json(folder / "latents.json", describe(found, test.y))
    if found.mean.shape[1] == 2 and found.rate is not None:
        # One large image instead of a grid of small ones: the plane has no seams.
        plane = grids.image_grid(manifold(model, label), 1, scale=1)
        grids.save_png(plane, folder / "manifold.png")


def encode(model: LikelihoodModel, images: Images, seed: int) -> Latents | None:
    """Encodes images as the model was trained to see them, binarised where that is asked for.

    Args:
        model: In evaluation mode.
        images: (N, C, H, W), N at least 2; with classes for a conditional model.
        seed: Of the binarisation.

    Returns:
        None if the model has no encoder to vectors.
    """
    to_codes: Any = getattr(model, "encode", None)
    if to_codes is None:
        return None
    rng = torch.Generator().manual_seed(seed)
    x = images.x.to(model.device)
    y = None if images.y is None else images.y.to(model.device)
    seen = Images(model.observe(x, model.pixel_noise(x, rng)), y)
    found = [to_codes(*seen.at(rows)) for rows in scoring_batches(len(x))]
    if isinstance(model, VAEBase):
        mean, logvar = (torch.cat(part) for part in zip(*found, strict=True))
        return _of_posterior(model, mean, logvar)
    codes = torch.cat(found)
    if codes.dim() != 2 or not codes.is_floating_point():
        return None
    return Latents(codes, codes.mean(0), codes.std(0), None, None)


def _of_posterior(model: VAEBase, mean: Tensor, logvar: Tensor) -> Latents:
    active = mean.var(0) > ACTIVE_ABOVE
    if model.config.prior == "normal":
        rate = kl_to_standard_normal(mean, logvar).mean(0)
        return Latents(mean, torch.zeros_like(rate), torch.ones_like(rate), rate, active)
    spread = (mean.var(0) + logvar.exp().mean(0)).sqrt()
    return Latents(mean, mean.mean(0), spread, None, active)


def traverse(model: LikelihoodModel, found: Latents, label: Tensor | None) -> Tensor:
    """Images along each dimension while the others stay at the centre, row by row.

    The centre shows more of a dimension than the code of an image does, which pins what the picture
    is of, and it favours no image.

    Args:
        model: In evaluation mode.
        found: Of `encode`.
        label: (1,) the class, for a conditional model.

    Returns:
        (rows * TRAVERSAL_STEPS, C, H, W) in [0, 1], a row for each dimension in their order, at
        most TRAVERSED; from REACH standard deviations below the centre to as many above.
    """
    rows = found.order[:TRAVERSED]
    steps = torch.linspace(-REACH, REACH, TRAVERSAL_STEPS, device=found.mean.device)
    z = found.centre.repeat(len(rows), TRAVERSAL_STEPS, 1)
    for row, dimension in enumerate(rows):
        z[row, :, dimension] += found.spread[dimension] * steps
    return _decode(model, z.flatten(0, 1), label)


def manifold(model: LikelihoodModel, label: Tensor | None) -> Tensor:
    """The plane of a model with two latents and the prior N(0, I), as one image.

    Tiles at the quantiles of the prior, evenly spaced in probability, z_0 from left to right and
    z_1 upwards (Kingma & Welling 2014, figure 4).

    Args:
        model: In evaluation mode.
        label: (1,) the class, for a conditional model.

    Returns:
        (1, C, MANIFOLD_SIDE * H, MANIFOLD_SIDE * W) in [0, 1].
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


def describe(found: Latents, labels: Tensor | None) -> dict[str, Any]:
    """What latents.json says, dimension by dimension in their order.

    Args:
        found: Of `encode`.
        labels: (N,) the classes of the images, or None.
    """
    order = found.order
    card: dict[str, Any] = {
        "num_images": len(found.mean),
        "dimensions": order.tolist(),
        "rate": None if found.rate is None else _numbers(found.rate[order]),
        "variance": _numbers(found.variance[order]),
        "active": None if found.active is None else found.active[order].tolist(),
        "active_units": None if found.active is None else int(found.active.sum()),
    }
    if found.mean.shape[1] == 2:
        kept = slice(PLANE_CODES)
        classes = None if labels is None else labels[kept].tolist()
        card["plane"] = {"codes": [_numbers(z) for z in found.mean[kept]], "labels": classes}
    return card


def _numbers(values: Tensor) -> list[float]:
    return [round(value, 5) for value in values.tolist()]

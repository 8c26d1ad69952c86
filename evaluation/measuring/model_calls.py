"""Calls of a model's methods: evaluation mode, device, batches, labels, range checks."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from evaluation.measuring.protocols import (
    Encoder,
    LikelihoodBound,
    Reconstructor,
    Sampler,
    is_conditional,
)
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError

#: Tolerated distance of a sample outside [0, 1]: half an 8-bit level, which rounding removes. It
#: allows for floating-point error, not for another range.
_SLACK = 0.5 / 255


@contextlib.contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """Evaluation mode without gradients; restores the mode of every submodule afterwards."""
    modules = list(model.modules()) if isinstance(model, nn.Module) else []
    modes = [module.training for module in modules]
    if isinstance(model, nn.Module):
        model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in zip(modules, modes, strict=True):
            module.training = training


def device_of(model: object) -> torch.device:
    """The device of the model's first parameter; the CPU for a model without parameters."""
    parameter = next(model.parameters(), None) if isinstance(model, nn.Module) else None
    return torch.device("cpu") if parameter is None else parameter.device


def label_arguments(
    model: object, labels: Tensor | None, part: slice = slice(None)
) -> dict[str, Any]:
    """Keyword arguments of a call: `labels` for a conditional model, none for any other.

    Args:
        model: The model to call.
        labels: (N,) classes of the images; None if they are unlabelled.
        part: The rows of this call (default: all).

    Raises:
        UnavailableError: The model is conditional and the images are unlabelled.
    """
    if not is_conditional(model):
        return {}
    if labels is None:
        raise UnavailableError("no_labels")
    return {"labels": labels[part].to(device_of(model))}


def batches(
    model: object, images: Tensor, labels: Tensor | None, batch_size: int
) -> Iterator[tuple[Tensor, dict[str, Any]]]:
    """Batches of images (N, C, H, W) on the model's device, with their `label_arguments`."""
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        yield images[part].to(device_of(model)), label_arguments(model, labels, part)


def draw_samples(model: object, reference: RealImages, seed: int, batch_size: int) -> Tensor:
    """Draws as many images as `reference` has; a conditional model gets the reference labels.

    Args:
        model: A `Sampler`.
        reference: Gives the number, shape and labels of the images.
        seed: Seed of the latents.
        batch_size: Images per call.

    Returns:
        (N, C, H, W) float32 on the CPU, as the model returns them.

    Raises:
        ValueError: The model returns images of another shape, type or range.
    """
    assert isinstance(model, Sampler)
    rng = torch.Generator().manual_seed(seed)
    num, shape = len(reference.images), reference.images.shape[1:]
    drawn: list[Tensor] = []
    with evaluation_mode(model):
        for start in range(0, num, batch_size):
            n = min(batch_size, num - start)
            arguments = label_arguments(model, reference.labels, slice(start, start + n))
            batch = model.sample(n, rng, **arguments)
            returned = f"{type(model).__name__}.sample({n}) returned"
            expected = (n, *shape)
            if batch.shape != expected:
                raise ValueError(
                    f"{returned} shape {tuple(batch.shape)}, expected {tuple(expected)}"
                )
            _check_range(batch, returned)
            drawn.append(batch.to("cpu", torch.float32))
    return torch.cat(drawn)


def reconstruct(model: object, real: RealImages, batch_size: int) -> Tensor:
    """(N, C, H, W) float32 reconstructions of real images by a `Reconstructor`."""
    assert isinstance(model, Reconstructor)
    with evaluation_mode(model):
        parts = [
            model.reconstruct(x, **arguments).to("cpu", torch.float32)
            for x, arguments in batches(model, real.images, real.labels, batch_size)
        ]
    return torch.cat(parts)


def rate_and_distortion(model: object, real: RealImages, seed: int) -> tuple[Tensor, Tensor]:
    """Rate and distortion of real images, each (N,) float64 nats per image.

    Args:
        model: A `LikelihoodBound`.
        real: The images.
        seed: Seed of the posterior draws.
    """
    assert isinstance(model, LikelihoodBound)
    rng = torch.Generator().manual_seed(seed)
    images, arguments = real.images, label_arguments(model, real.labels)
    with evaluation_mode(model):
        pair = model.rate_distortion(images.to(device_of(model)), rng, **arguments)
    rate, distortion = (part.to("cpu", torch.float64) for part in pair)
    return rate, distortion


def encode(
    model: object, real: RealImages, seed: int, batch_size: int
) -> tuple[Tensor, Tensor | None]:
    """Mean and standard deviation (N, d) float64 of q(z | x); None for a deterministic encoder.

    Args:
        model: An `Encoder`.
        real: The images.
        seed: Seed of the binarisation of pixels, if the model binarises them.
        batch_size: Images per call.
    """
    assert isinstance(model, Encoder)
    rng = torch.Generator().manual_seed(seed)
    with evaluation_mode(model):
        pairs = [
            model.latent_posterior(x, rng, **arguments)
            for x, arguments in batches(model, real.images, real.labels, batch_size)
        ]
    means, stds = zip(*pairs, strict=True)
    mean = torch.cat(means).to("cpu", torch.float64)
    deviations = [std for std in stds if std is not None]
    return mean, torch.cat(deviations).to("cpu", torch.float64) if deviations else None


def _check_range(images: Tensor, returned: str) -> None:
    """Raises ValueError for bytes or [-1, 1], which clamping would turn into a bad score."""
    finite = images[images.isfinite()]  # a metric reports the other pixels with its own reason
    if not images.is_floating_point() or ((finite < -_SLACK) | (finite > 1 + _SLACK)).any():
        raise ValueError(
            f"{returned} {images.dtype} in [{finite.min():.4g}, {finite.max():.4g}], "
            "expected floats in [0, 1]"
        )

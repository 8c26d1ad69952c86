"""Pictures of images, byte for byte the same from equal data."""

import io
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

GAP = 96  # grey level between the tiles of a grid


def image_grid(images: Tensor, columns: int, scale: int = 2) -> Image.Image:
    """Tiles images, row by row.

    Args:
        images: (N, C, H, W) in [0, 1] (values outside are clamped), C = 1 or 3, N at least 1.
        columns: Tiles in a row; the last row may be shorter.
        scale: Each pixel becomes scale x scale pixels; so wide are the gaps, too.

    Returns:
        A picture of mode `L` or `RGB`.

    Raises:
        ValueError: The shape is not (N, 1 or 3, H, W), or a number is below 1.
    """
    if images.ndim != 4 or images.shape[1] not in {1, 3} or len(images) < 1:
        raise ValueError(f"images: expected (N, 1 or 3, H, W), got {tuple(images.shape)}")
    if columns < 1 or scale < 1:
        raise ValueError(f"columns ({columns}) and scale ({scale}) start at 1")
    pixels = (images.detach().cpu().clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    num, channels, height, width = pixels.shape
    columns = min(columns, num)
    rows = -(-num // columns)
    # Tiles are laid out at their own size, with a gap of one pixel, and then enlarged together.
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), GAP, np.uint8)
    for index, tile in enumerate(pixels.transpose(0, 2, 3, 1)):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        sheet[top : top + height, left : left + width] = tile
    large = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(large[..., 0] if channels == 1 else large)


def reconstruction_grid(
    images: Tensor, reconstructions: Tensor, columns: int, scale: int = 2
) -> Image.Image:
    """Tiles pairs: a row of originals, below it the row of their reconstructions, and so on.

    Args:
        images: (N, C, H, W) in [0, 1].
        reconstructions: (N, C, H, W) in [0, 1].
        columns: Pairs side by side; images beyond the last full row are left out.
        scale: See `image_grid`.

    Raises:
        ValueError: The shapes differ.
    """
    if images.shape != reconstructions.shape:
        shapes = f"{tuple(images.shape)} and {tuple(reconstructions.shape)}"
        raise ValueError(f"images and reconstructions differ in shape: {shapes}")
    columns = min(columns, len(images))
    full = len(images) // columns * columns
    above, below = (
        part[:full].cpu().unflatten(0, (-1, columns)) for part in (images, reconstructions)
    )
    return image_grid(torch.stack([above, below], dim=1).flatten(0, 2), columns, scale)


def png(image: Image.Image) -> bytes:
    """A picture as PNG, without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def undoubled(content: bytes) -> bytes:
    """A PNG with one pixel for each 2 x 2 of equal ones; as it came where there are others."""
    with Image.open(io.BytesIO(content)) as opened:
        pixels = np.asarray(opened)
    small = pixels[::2, ::2]
    doubled = small.repeat(2, axis=0).repeat(2, axis=1)
    return png(Image.fromarray(small)) if np.array_equal(doubled, pixels) else content


def save_png(image: Image.Image, path: Path) -> None:
    """Writes a PNG: to a temporary file beside it, then renamed, so that no half file is seen."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(png(image))
    temporary.replace(path)

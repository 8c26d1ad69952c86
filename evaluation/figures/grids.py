"""Grids of images as PNG, with equal bytes from equal data."""

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
        columns: Tiles per row; the last row may be shorter.
        scale: Side in pixels of an enlarged pixel and width of the gaps (default 2).

    Returns:
        A picture of mode `L` or `RGB`.

    Raises:
        ValueError: The shape is not (N, 1 or 3, H, W), or a number is below 1.
    """
    if images.ndim != 4 or images.shape[1] not in {1, 3} or len(images) < 1:
        raise ValueError(f"images: expected (N, 1 or 3, H, W), got {tuple(images.shape)}")
    if columns < 1 or scale < 1:
        raise ValueError(f"columns ({columns}) and scale ({scale}) must be at least 1")
    pixels = (images.detach().cpu().clamp(0, 1) * 255).round().numpy().astype(np.uint8)
    num, channels, height, width = pixels.shape
    columns = min(columns, num)
    rows = -(-num // columns)
    # The tiles are placed at their own size with gaps of one pixel; then the sheet is enlarged.
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), GAP, np.uint8)
    for index, tile in enumerate(pixels.transpose(0, 2, 3, 1)):
        top, left = index // columns * (height + 1), index % columns * (width + 1)
        sheet[top : top + height, left : left + width] = tile
    large = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(large[..., 0] if channels == 1 else large)


def reconstruction_grid(
    images: Tensor, reconstructions: Tensor, columns: int, scale: int = 2
) -> Image.Image:
    """Tiles pairs: rows of originals alternate with rows of their reconstructions.

    Args:
        images: (N, C, H, W) in [0, 1].
        reconstructions: (N, C, H, W) in [0, 1].
        columns: Pairs per row; images beyond the last full row are omitted.
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
    """A PNG with one pixel per 2 x 2 equal pixels; unchanged if not all blocks are equal."""
    with Image.open(io.BytesIO(content)) as opened:
        pixels = np.asarray(opened)
    small = pixels[::2, ::2]
    doubled = small.repeat(2, axis=0).repeat(2, axis=1)
    return png(Image.fromarray(small)) if np.array_equal(doubled, pixels) else content


def save_png(image: Image.Image, path: Path) -> None:
    """Writes a PNG atomically: to a temporary file in the same folder, which is then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(png(image))
    temporary.replace(path)

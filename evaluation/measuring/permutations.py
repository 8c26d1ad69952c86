"""Random permutations for tests of the hypothesis that real and generated images are alike."""

import torch
from torch import Tensor


def random_order(num: int, rng: torch.Generator, classes: Tensor | None = None) -> Tensor:
    """A random order of 0 ... num - 1.

    A conditional model draws its images for the classes of the reference, so the two sets are
    exchangeable only within a class. Orders across classes would count the equal class counts as
    agreement of the images and give p-values that are too high.

    Args:
        num: Number of elements.
        rng: Source of the randomness.
        classes: (num,) integers; each element then stays at a position of its own class.
    """
    order = torch.randperm(num, generator=rng)
    if classes is None:
        return order
    places = classes.argsort(stable=True)
    within = order[classes[order].argsort(stable=True)]
    return torch.empty_like(order).index_copy_(0, places, within)

"""Random labels under the hypothesis that real and generated images are the same."""

import torch
from torch import Tensor


def shuffled(num: int, rng: torch.Generator, classes: Tensor | None = None) -> Tensor:
    """A random order of 0 ... num - 1.

    The images of a conditional model are drawn for the classes of the reference: only within a
    class are they exchangeable with it. Orders across classes would take a model that is no better
    than another one for closer to the reference than chance allows.

    Args:
        num: How many.
        rng: Where the order comes from.
        classes: (num,) integers; with them each element stays at a place of its own class.
    """
    order = torch.randperm(num, generator=rng)
    if classes is None:
        return order
    places = classes.argsort(stable=True)
    within = order[classes[order].argsort(stable=True)]
    return torch.empty_like(order).index_copy_(0, places, within)

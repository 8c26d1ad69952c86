"""Exponential moving average of weights with a half-life in images (Karras et al. 2018, 2020)."""

import contextlib
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn


class EMA:
    """The averaged copy of a module's state.

    Parameters are averaged and buffers are copied. The average of batch norm counters, or of the
    unit vectors of spectral norm, is not a valid state: the mean of ten random unit vectors of 64
    dimensions has norm 0.33, and the outputs of the network diverge.
    """

    def __init__(self, module: nn.Module, half_life: int) -> None:
        """Starts at the module's current weights.

        Args:
            module: Module whose state is averaged.
            half_life: Number of images in which the influence of a value halves.
        """
        self.module = module
        self.half_life = half_life
        self.state: dict[str, Tensor] = {k: v.clone() for k, v in module.state_dict().items()}
        # Looked up once, because `update` runs in every step.
        self._trained = [parameter.detach() for parameter in module.parameters()]
        self._averages = [self.state[name] for name, _ in module.named_parameters()]
        self._buffers = [(self.state[name], buffer) for name, buffer in module.named_buffers()]

    @torch.no_grad()
    def update(self, batch_size: int, images_seen: int) -> None:
        """Updates the average with the current weights.

        Args:
            batch_size: Images since the last call.
            images_seen: Images since the start of the training. The half-life is at most 5 % of
                this number, so that the influence of the initial weights decays early.
        """
        half_life = min(self.half_life, 0.05 * images_seen)
        weight = 0.5 ** (batch_size / half_life)
        torch._foreach_lerp_(self._averages, self._trained, 1 - weight)
        for copy, buffer in self._buffers:
            copy.copy_(buffer)

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Restores an averaged state."""
        for name, value in state.items():
            self.state[name].copy_(value)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The module holds the averaged state inside the block and its own state again on exit."""
        own = {k: v.clone() for k, v in self.module.state_dict().items()}
        self.module.load_state_dict(self.state)
        try:
            yield
        finally:
            self.module.load_state_dict(own)

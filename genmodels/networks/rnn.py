"""Recurrent networks (GRU, Cho et al. 2014, arXiv 1406.1078) over the rows of an image.

The writer is not autoregressive: its input at every row is z, not the previous row, so that the
decoder cannot ignore z.
"""

import contextlib

import torch
from torch import Tensor, nn

from genmodels.networks.blocks import Dropout, NetworkOptions
from genmodels.networks.shape import ImageShape


class _Layer(nn.Module):
    """A recurrent layer; its dropout mask is the same for all rows of an image."""

    def __init__(self, num_inputs: int, units: int, dropout: float) -> None:
        super().__init__()
        self.gru = nn.GRU(num_inputs, units, batch_first=True)
        self.dropout = Dropout(dropout)

    def forward(self, rows: Tensor, state: Tensor | None = None) -> Tensor:
        """(N, H, num_inputs) to (N, H, units); `state` is (N, units), None = zeros."""
        out, _ = self.gru(rows, None if state is None else state[None].contiguous())
        return self.dropout(out.transpose(1, 2)).transpose(1, 2)


class _Reader(nn.Module):
    def __init__(self, shape: ImageShape, num_outputs: int, options: NetworkOptions) -> None:
        super().__init__()
        self.layers = _layers(shape.channels * shape.width, options)
        self.last = nn.Linear(options.width, num_outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, num_outputs)."""
        rows = x.transpose(1, 2).flatten(2)
        with _second_derivatives(x):
            for layer in self.layers:
                rows = layer(rows)
        return self.last(rows[:, -1])


class _Writer(nn.Module):
    def __init__(self, num_inputs: int, shape: ImageShape, options: NetworkOptions) -> None:
        super().__init__()
        self.shape = shape
        self.start = nn.Linear(num_inputs, options.depth * options.width)
        self.layers = _layers(num_inputs, options)
        self.last = nn.Linear(options.width, shape.channels * shape.width)

    def forward(self, z: Tensor) -> Tensor:
        """(N, num_inputs) to raw images (N, C, H, W)."""
        states = torch.tanh(self.start(z)).chunk(len(self.layers), dim=1)
        rows = z[:, None].expand(-1, self.shape.height, -1)
        for layer, state in zip(self.layers, states, strict=True):
            rows = layer(rows, state)
        rows = self.last(rows).unflatten(2, (self.shape.channels, self.shape.width))
        return rows.transpose(1, 2)


def downward(shape: ImageShape, num_outputs: int, options: NetworkOptions) -> nn.Module:
    """Images (N, C, H, W) to (N, num_outputs): a linear map of the state after the last row.

    Raises:
        ValueError: The options have a norm.
    """
    _check(options)
    return _Reader(shape, num_outputs, options)


def upward(num_inputs: int, shape: ImageShape, options: NetworkOptions) -> nn.Module:
    """(N, num_inputs) to raw images (N, C, H, W); the initial state of each layer is tanh(W z).

    Raises:
        ValueError: The options have a norm.
    """
    _check(options)
    return _Writer(num_inputs, shape, options)


def _layers(num_inputs: int, options: NetworkOptions) -> nn.ModuleList:
    inputs = [num_inputs] + [options.width] * (options.depth - 1)
    return nn.ModuleList(_Layer(num, options.width, options.dropout) for num in inputs)


def _check(options: NetworkOptions) -> None:
    if options.norm != "none":
        raise ValueError(f"norm {options.norm!r} is not available for architecture 'rnn'")


def _second_derivatives(x: Tensor) -> contextlib.AbstractContextManager[None]:
    """Disables cuDNN for a gradient penalty: its recurrent layers have no second derivatives."""
    if x.is_cuda and x.requires_grad:
        return torch.backends.cudnn.flags(enabled=False)
    return contextlib.nullcontext()

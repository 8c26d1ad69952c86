"""The cost of a model in parameters and multiply-adds, independent of the machine."""

import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from genmodels.base.model import GenerativeModel
from genmodels.networks.blocks import bind_dropout


class _FlopCounter(TorchDispatchMode):
    """Counts operations with torch's formulas.

    Torch's `FlopCounterMode` does not support a gradient penalty.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    def __torch_dispatch__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        formula: Callable[..., int] | None = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += formula(*args, **(kwargs or {}), out_val=out)
        return out


@contextlib.contextmanager
def _counting() -> Iterator[_FlopCounter]:
    # The counter does not see the matrix products inside cuDNN's fused recurrent layers.
    with torch.backends.cudnn.flags(enabled=False), _FlopCounter() as counter:
        yield counter


def num_parameters(model: GenerativeModel) -> int:
    """Number of trained values, with those of discriminators and critics."""
    return sum(parameter.numel() for parameter in model.parameters())


def multiply_adds_sample(model: GenerativeModel) -> int:
    """Multiply-adds of matrix products and convolutions per generated image."""
    with _counting() as counter:
        model.sample(1, torch.Generator().manual_seed(0))
    return counter.flops // 2


def multiply_adds_train(model: GenerativeModel) -> int:
    """Multiply-adds per training image and step, over all phases, forward and backward."""
    model = copy.deepcopy(model)  # a step changes running statistics
    rng = torch.Generator(model.device).manual_seed(0)
    bind_dropout(model, rng)
    x = torch.zeros(2, *model.shape, device=model.device)  # batch norm needs at least two images
    y = torch.zeros(2, dtype=torch.int64, device=model.device) if model.conditional else None
    model.train()
    with _counting() as counter:
        for phase in model.phases():
            model.requires_grad_(False)
            for parameter in phase.parameters:
                parameter.requires_grad_(True)
            for _ in range(phase.repeats):
                loss = model.training_step(x.clone(), y, phase.name, 0, rng)["loss"]
                loss.backward(inputs=list(phase.parameters))
    return counter.flops // 2 // len(x)

"""Optimisers of the phases: AdamW with the learning rate, betas and weight decay of each step."""

import torch
from torch import nn

from genmodels.base.config import ModelConfig
from genmodels.base.model import GenerativeModel, Phase


def build_optimizer(phase: Phase, config: ModelConfig) -> torch.optim.AdamW:
    """The optimiser of a phase at step 0.

    Each combination of weight decay and pace is a parameter group, in the order of the parameters.
    """
    decayed = [p for p in phase.parameters if p.dim() > 1]
    if phase.decayed is not None:
        decayed = list(phase.decayed)
    decayed_ids = {id(parameter) for parameter in decayed}
    paces = {id(parameter): pace for parameter, pace in phase.paces}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for parameter in phase.parameters:
        key = (id(parameter) in decayed_ids, paces.get(id(parameter), 1.0))
        groups.setdefault(key, []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": config.weight_decay * decays, "pace": pace}
            for (decays, pace), parameters in groups.items()
        ],
        lr=_initial_learning_rate(phase, config),
        betas=phase.betas or config.betas_at(0),
        fused=True,
    )


def apply_schedules(
    optimizer: torch.optim.Optimizer, phase: Phase, config: ModelConfig, step: int
) -> float:
    """Sets the learning rates and betas of a step.

    Returns:
        The learning rate of the phase at the step.
    """
    learning_rate = _initial_learning_rate(phase, config) * config.learning_rate_factor(step)
    betas = phase.betas or config.betas_at(step)
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["pace"]
        group["betas"] = betas
    return learning_rate


def check_phases(model: GenerativeModel, phases: tuple[Phase, ...]) -> None:
    """Checks that every parameter is in exactly one phase.

    Raises:
        ValueError: A parameter is in no phase or in several.
    """
    listed = [id(parameter) for phase in phases for parameter in phase.parameters]
    if sorted(listed) != sorted(id(parameter) for parameter in model.parameters()):
        raise ValueError(f"{type(model).__module__}: every parameter belongs in exactly one phase")


def _initial_learning_rate(phase: Phase, config: ModelConfig) -> float:
    return config.learning_rate if phase.learning_rate is None else phase.learning_rate

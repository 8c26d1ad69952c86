"""Scheduled values as pure functions of the step, so that a resumed run needs no state for them."""

import math
from typing import Literal

Form = Literal["constant", "linear", "cosine"]


def scheduled(form: Form, step: int, num_steps: float, start: float, end: float) -> float:
    """The value of a schedule at a step.

    Args:
        form: `constant` stays at `start`; `linear` and `cosine` go from `start` to `end`.
        step: From 0.
        num_steps: Step at which the schedule reaches `end`.
        start: Value at step 0.
        end: Value from `num_steps` on.
    """
    progress = min(1.0, step / num_steps) if num_steps else 1.0
    if form == "constant":
        return float(start)
    if form == "linear":
        return start + (end - start) * progress
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * progress))


def cyclical(step: int, num_steps: int, share: float, cycles: int) -> float:
    """A weight that rises linearly from 0 to 1 at the start of each cycle and then stays at 1.

    One cycle is a warm-up; several cycles are Fu et al. 2019 (arXiv 1903.10145). After the last
    cycle the weight stays at 1.

    Args:
        step: From 0.
        num_steps: Length of all cycles together.
        share: Fraction of a cycle in which the weight rises; 0 = the weight is always 1.
        cycles: Number of cycles.
    """
    if step >= num_steps:
        return 1.0
    length = num_steps / cycles
    position = step - int(step / length) * length
    return min(1.0, position / (share * length)) if share else 1.0

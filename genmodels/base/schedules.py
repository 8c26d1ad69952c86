"""Values that change over a run: pure functions of the step, so that resuming is trivial."""

import math
from typing import Literal

Form = Literal["constant", "linear", "cosine"]


def scheduled(form: Form, step: int, num_steps: float, start: float, end: float) -> float:
    """The value of a schedule.

    Args:
        form: `constant` stays at `start`; `linear` and `cosine` go from `start` to `end`.
        step: From 0.
        num_steps: The step at which `end` is reached; it stays there.
        start: The value at step 0.
        end: The value from `num_steps` on.
    """
    progress = min(1.0, step / num_steps) if num_steps else 1.0
    if form == "constant":
        return float(start)
    if form == "linear":
        return start + (end - start) * progress
    return end + 0.5 * (start - end) * (1 + math.cos(math.pi * progress))


def cyclical(step: int, num_steps: int, share: float, cycles: int) -> float:
    """A weight that rises from 0 to 1 in the first part of each cycle and stays there in the rest.

    One cycle is a warm-up; several are Fu et al. 2019 (arXiv 1903.10145). After the last cycle the
    weight stays at 1.

    Args:
        step: From 0.
        num_steps: Length of all cycles together.
        share: The part of a cycle in which the weight rises; 0 for none.
        cycles: How many.
    """
    if step >= num_steps:
        return 1.0
    length = num_steps / cycles
    position = step - int(step / length) * length
    return min(1.0, position / (share * length)) if share else 1.0

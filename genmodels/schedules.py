"""Values that change over a run: pure functions of the step, so that resuming is trivial."""

import math
from typing import Literal

Form = Literal["constant", "linear", "cosine"]


def scheduled(form: Form, step: int, num_steps: int, start: float, end: float) -> float:
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

"""Measures alternatives in alternation in one process, because a shared machine's speed drifts.

There are two times: wall time, which includes waiting for other processes, and processor time of
this process. On an idle machine with one thread they are equal.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from genmodels.training.loop import Callbacks, Trainer

Turn = Callable[[], object]


@dataclass
class Spent:
    """Time of each turn, in seconds."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Ratio:
    """The ratios of the times of two alternatives, pair by pair."""

    wall: list[float]
    cpu: list[float]

    def __str__(self) -> str:
        wall, cpu = statistics.median(self.wall), statistics.median(self.cpu)
        return f"{wall:.2f} ({min(self.wall):.2f} to {max(self.wall):.2f}; CPU time {cpu:.2f})"


def take(contenders: Mapping[str, Turn], rounds: int) -> dict[str, Spent]:
    """Runs each alternative once per round, in reverse order in every second round.

    The first round is a warm-up (allocation of memory, selection of kernels) and is not counted.
    """
    spent = {name: Spent() for name in contenders}
    for number in range(rounds + 1):
        for name in list(contenders)[:: -1 if number % 2 else 1]:
            wall, cpu = time.perf_counter(), time.process_time()
            contenders[name]()
            if number:
                spent[name].wall.append(time.perf_counter() - wall)
                spent[name].cpu.append(time.process_time() - cpu)
    return spent


def steps_of(trainer: Trainer, steps: int) -> Turn:
    """The next `steps` steps of `Trainer.run`, with validation and checks."""

    class Stop(Exception):  # noqa: N818 - not an error
        pass

    def stop(step: int, _: Tensor) -> None:
        if step % steps == 0:
            raise Stop

    def turn() -> None:
        with contextlib.suppress(Stop):
            trainer.run(Callbacks(progress=stop))

    return turn


def ratio(spent: Spent, beside: Spent) -> Ratio:
    """The time of `spent` / the time of `beside`."""
    return Ratio(
        [a / b for a, b in zip(spent.wall, beside.wall, strict=True)],
        [a / b for a, b in zip(spent.cpu, beside.cpu, strict=True)],
    )


def milliseconds(spent: Spent, steps: int) -> str:
    """Wall time and processor time per step; a turn has `steps` steps."""
    wall, cpu = (1e3 * statistics.median(times) / steps for times in (spent.wall, spent.cpu))
    return f"{wall:.1f} ms (CPU time {cpu:.1f} ms)"

"""Contenders take turns in one process, because a shared machine's speed drifts.

Two clocks: the wall's, which counts what other processes take away, and the processor time of this
process, which does not. On an idle machine and with one thread they agree.
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
    """Seconds of each turn."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Ratio:
    """How the turns of two contenders compare, pair by pair."""

    wall: list[float]
    cpu: list[float]

    def __str__(self) -> str:
        wall, cpu = statistics.median(self.wall), statistics.median(self.cpu)
        return f"{wall:.2f} ({min(self.wall):.2f} to {max(self.wall):.2f}; CPU time {cpu:.2f})"


def take(contenders: Mapping[str, Turn], rounds: int) -> dict[str, Spent]:
    """Each contender's turn in each round; every second round goes through them backwards.

    The first round, in which memory is allocated and kernels are chosen, is not counted.
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
    """The next so many steps of `Trainer.run`, with all that belongs to it."""

    class Enough(Exception):  # noqa: N818 - it is no error
        pass

    def stop(step: int, _: Tensor) -> None:
        if step % steps == 0:
            raise Enough

    def turn() -> None:
        with contextlib.suppress(Enough):
            trainer.run(Callbacks(progress=stop))

    return turn


def ratio(spent: Spent, beside: Spent) -> Ratio:
    """The time of `spent` over that of `beside`."""
    return Ratio(
        [a / b for a, b in zip(spent.wall, beside.wall, strict=True)],
        [a / b for a, b in zip(spent.cpu, beside.cpu, strict=True)],
    )


def milliseconds(spent: Spent, steps: int) -> str:
    """Of a step, by both clocks, where a turn is so many steps."""
    wall, cpu = (1e3 * statistics.median(times) / steps for times in (spent.wall, spent.cpu))
    return f"{wall:.1f} ms (CPU time {cpu:.1f} ms)"

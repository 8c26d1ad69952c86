"""The progress display: one bar in a terminal, a plain line now and then elsewhere."""

import heapq
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Self, TypeVar

from tqdm import tqdm

from evaluation.comparing.value_text import rounded

SECONDS_BETWEEN_LINES = 15.0
BAR = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit} [{elapsed}{postfix}]"

K = TypeVar("K")


@dataclass
class _Share:
    """One part of the work."""

    amount: int  # units of work in all
    first: int = 0  # units that were done before this process, such as those of a checkpoint
    done: int = 0
    began: float | None = None  # the clock at the first update
    ended: float | None = None
    state: dict[str, str] = field(default_factory=dict)  # such as `loss 101.2`

    @property
    def is_running(self) -> bool:
        return self.began is not None and self.ended is None


class Progress(Generic[K]):
    """The progress of one piece of work, such as all seeds of a training, on stderr.

    In a terminal it is one bar over the work of all parts, with the time left until the last part
    is done; elsewhere it is a line every 15 seconds and a line for each finished part. The first
    `update` of a part states the work that a checkpoint had already.

    `amounts` are the units of work of each part, in the order in which the parts are begun. The
    attribute `label` gives the name of a part in the display (default: its key).
    """

    def __init__(
        self,
        title: str,
        amounts: Mapping[K, int],
        unit: str = "step",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.title, self.clock = title, clock
        self.label: Callable[[K], str] = str
        self.parts = {key: _Share(amount) for key, amount in amounts.items()}
        self.total = sum(amounts.values())
        self.most_at_once = 1
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(
            desc=title,
            total=self.total,
            unit=f" {unit}s",
            bar_format=BAR,
            disable=not self.terminal,
            dynamic_ncols=True,
        )
        self.last_line = clock()

    def update(self, key: K, done: int, **state: float | str) -> None:
        """Shows how many units of a part are done, with its state, such as `loss=101.2`.

        In the part's first call the units were done before now, and do not count for the speed.
        """
        part = self.parts[key]
        if part.began is None:
            part.began, part.first = self.clock(), done
        part.done = done
        part.state = {k: v if isinstance(v, str) else rounded(v) for k, v in state.items()}
        running = sum(part.is_running for part in self.parts.values())
        self.most_at_once = max(self.most_at_once, running)
        self._show()

    def finish(self, key: K, result: str = "") -> None:
        """Shows a part as done; its result, if any, is a line in a terminal, too."""
        part = self.parts[key]
        if part.began is None:  # it was done before now
            part.began, part.first = self.clock(), part.amount
        part.done, part.ended = part.amount, self.clock()
        if result or not self.terminal:
            finished = sum(part.ended is not None for part in self.parts.values())
            count = f"{finished} of {len(self.parts)}"
            self.say(f"{self.title}: {self.label(key)} done ({count}){result and f': {result}'}")
        self._show()

    def say(self, line: str) -> None:
        """Prints a line above the bar."""
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()
        self.last_line = self.clock()

    def seconds_left(self) -> float | None:
        """The time until all parts are done; None before any speed was measured.

        The speed is that of one part, measured over all parts so far. The parts that wait take the
        places of those that end, as many at once as there were so far.
        """
        now, parts = self.clock(), self.parts.values()
        began = [(part, part.began) for part in parts if part.began is not None]
        busy = sum((now if part.ended is None else part.ended) - start for part, start in began)
        worked = sum(part.done - part.first for part, _ in began)
        if worked <= 0 or busy <= 0:
            return None
        places = [part.amount - part.done for part in parts if part.is_running]
        places += [0] * (self.most_at_once - len(places))
        heapq.heapify(places)
        for part in parts:
            if part.began is None:
                heapq.heapreplace(places, places[0] + part.amount)
        return max(places) * busy / worked

    def _show(self) -> None:
        states = [
            " ".join([self.label(key), *(f"{name} {text}" for name, text in part.state.items())])
            for key, part in self.parts.items()
            if part.is_running
        ]
        seconds = self.seconds_left()
        left = [] if seconds is None else [f"{tqdm.format_interval(seconds)} left"]
        text = "; ".join([*left, *states])
        done = sum(part.done for part in self.parts.values())
        if self.terminal:
            self.bar.set_postfix_str(text, refresh=False)
            self.bar.update(done - self.bar.n)
        elif self.clock() - self.last_line >= SECONDS_BETWEEN_LINES:
            self.say(f"{self.title}: {100 * done / self.total:.0f} %, {text}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

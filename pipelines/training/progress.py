"""How long work shows itself: a bar per seed in a terminal, a plain line now and then elsewhere."""

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from tqdm import tqdm

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """The progress of several runs side by side, on stderr."""

    def __init__(self, title: str, seeds: Sequence[object], total: int, unit: str = "step") -> None:
        self.title, self.total, self.unit = title, total, unit
        self.terminal = sys.stderr.isatty()
        self.bars = {
            seed: tqdm(
                desc=f"{title} seed {seed}",
                total=total,
                unit=unit,
                position=position,
                disable=not self.terminal,
                dynamic_ncols=True,
            )
            for position, seed in enumerate(seeds)
        }
        self.last_line = dict.fromkeys(seeds, time.monotonic())

    def update(self, seed: object, done: int, **shown: str) -> None:
        """Shows how far a run is.

        Args:
            seed: The run.
            done: Steps done.
            shown: What stands beside it, such as `loss="101.2"`.
        """
        if self.terminal:
            bar = self.bars[seed]
            bar.set_postfix(shown, refresh=False)
            bar.update(done - bar.n)
            return
        now = time.monotonic()
        if now - self.last_line[seed] < SECONDS_BETWEEN_LINES:
            return
        self.last_line[seed] = now
        details = ", ".join(f"{key} {value}" for key, value in shown.items())
        self.say(f"{self.title} seed {seed}: {self.unit} {done:,} of {self.total:,}, {details}")

    def finish(self, seed: object) -> None:
        """Shows a run as done."""
        if self.terminal:
            self.bars[seed].update(self.total - self.bars[seed].n)
        else:
            self.say(
                f"{self.title} seed {seed}: {self.unit} {self.total:,} of {self.total:,}, done"
            )

    def say(self, line: str) -> None:
        """A line that the bars do not paint over."""
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for bar in self.bars.values():
            bar.close()

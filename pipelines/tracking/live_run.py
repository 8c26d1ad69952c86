"""Runs in training: a thread writes them, so that no training waits for the store.

What a training logs waits in memory until the thread has sent it. Rows go at most every
`SECONDS_BETWEEN_WRITES`, all that have gathered in one call, because what a call costs hardly
depends on how many it takes, and a server of four seconds a call costs a training nothing until its
end.
There it waits for the thread, all its waits together at most `MAX_WAIT_S` and a hundredth of the
time it trained; then tracking goes off, and `publish` completes the run from the files.
"""

import math
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipelines.tracking import origin
from pipelines.tracking.run import Connection, Run

MAX_WAIT_S = 10.0
SECONDS_BETWEEN_WRITES = 2.0


class Writer:
    """A thread that does what it is given, in order.

    Attributes:
        when_idle: What it does when it was given nothing for a minute; for its own tasks to change.
    """

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        """Takes what is to be called with an error of a task."""
        self._failed = failed
        self.when_idle: list[Callable[[], object]] = []
        self._tasks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._left_s, self._waited_at = MAX_WAIT_S, time.monotonic()

    def put(self, task: Callable[[], object]) -> None:
        """Has a task done later; returns at once."""
        self._tasks.put(task)
        if self._thread is None:
            # A daemon: a server that answers nothing must not keep the process alive.
            self._thread = threading.Thread(target=self._work, name="tracking", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while True:
            try:
                tasks = [self._tasks.get(timeout=origin.SECONDS_BETWEEN_SIGNS)]
            except queue.Empty:
                tasks = list(self.when_idle)
            for task in tasks:
                try:
                    task()
                except Exception as error:  # no training ends by its tracking
                    self._failed(error)

    def drain(self) -> bool:
        """Waits until everything is done; False if that would have taken too long."""
        if self._thread is None:
            return True
        done = threading.Event()
        self._tasks.put(done.set)
        begin = time.monotonic()
        self._left_s += 0.01 * (begin - self._waited_at)
        while not (finished := done.wait(0.1)) and self._thread.is_alive():
            if time.monotonic() - begin > self._left_s:
                break
        self._waited_at = time.monotonic()
        self._left_s -= self._waited_at - begin
        return finished


class LiveRun(Run):
    """A run whose `log_rows` returns at once and whose `finish` waits a limited time."""

    def __init__(self, store: Connection, writer: Writer, drain: Callable[[], None]) -> None:
        super().__init__(store, None)
        self._writer, self._drain = writer, drain
        self._waiting: deque[Mapping[str, float | None]] = deque()
        self._is_started = False
        self._written_at = self._signed_at = -math.inf

    def start(
        self, find: Callable[[], Any], params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Finds or makes the run, marks it as running here, and adds the missing params.

        A run that another process trains, in another checkout, say, is left to it: both would write
        the same points.
        """

        def begin() -> None:
            self.take(find())
            if self.is_training:
                print(
                    f"warning: {self.name} is being trained on {self.tags['host']}, too, whose run "
                    "this is; `make publish` completes it if that does not",
                    file=sys.stderr,
                )
                self.take(None)
                return
            self.resume(tags)
            self.add_params(params)
            self._signed_at = time.monotonic()
            self._writer.when_idle.append(self._write_rows)

        self._is_started = True
        self._writer.put(begin)

    def log_rows(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """As of `Run`, later; of a run that was not started, nothing."""
        if self._is_started:
            self._waiting.extend(rows)
            if time.monotonic() - self._written_at >= SECONDS_BETWEEN_WRITES:
                self._written_at = time.monotonic()
                self._writer.put(self._write_rows)

    def _write_rows(self) -> None:
        rows = []
        while self._waiting:
            rows.append(self._waiting.popleft())
        if rows:
            super().log_rows(rows)
        if time.monotonic() - self._signed_at >= origin.SECONDS_BETWEEN_SIGNS:
            self._signed_at = time.monotonic()
            self.set_tags(origin.sign_of_life())

    def finish(self, status: str) -> None:
        """As of `Run`, when everything before it is written."""
        if self._is_started:
            self._writer.put(self._write_rows)
            self._writer.put(lambda: self._end(status))
            self._drain()

    def _end(self, status: str) -> None:
        super().finish(status)
        if self._write_rows in self._writer.when_idle:
            self._writer.when_idle.remove(self._write_rows)

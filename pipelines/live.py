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
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipelines.runs import Connection, Run

MAX_WAIT_S = 10.0
SECONDS_BETWEEN_WRITES = 2.0


class Writer:
    """A thread that does what it is given, in order."""

    def __init__(self) -> None:
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
            self._tasks.get()()

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
        self._written_at = -math.inf

    def start(
        self, find: Callable[[], Any], params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Finds or makes the run, marks it as running here, and adds the missing params."""

        def begin() -> None:
            self.take(find())
            self.resume(tags)
            self.add_params(params)

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

    def finish(self, status: str) -> None:
        """As of `Run`, when everything before it is written."""
        if self._is_started:
            self._writer.put(self._write_rows)
            self._writer.put(lambda: Run.finish(self, status))
            self._drain()

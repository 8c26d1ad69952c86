"""Runs in training: a thread writes them, so that a training does not wait for the store.

Rows wait in memory until the thread sends them: all waiting rows in one call, at most one call
every `SECONDS_BETWEEN_WRITES`, because the cost of a call hardly depends on the number of rows. A
server that takes four seconds per call therefore does not slow a training before its end.
At its end a training waits for the thread: `MAX_WAIT_S` and 1 % of its duration, over all waits.
After that tracking is switched off, and `publish` completes the run from the files.
"""

import math
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from pipelines.tracking import origin
from pipelines.tracking.run import Run

if TYPE_CHECKING:
    from pipelines.tracking.store import Store

MAX_WAIT_S = 10.0
SECONDS_BETWEEN_WRITES = 2.0


class Writer:
    """A thread that runs tasks in their order and passes each exception to `failed`."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        #: Tasks for a minute without a new task; only tasks may change the list.
        self.when_idle: list[Callable[[], object]] = []
        self._tasks: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._left_s, self._waited_at = MAX_WAIT_S, time.monotonic()

    def put(self, task: Callable[[], object]) -> None:
        """Adds a task and returns at once."""
        self._tasks.put(task)
        if self._thread is None:
            # A daemon: a server that does not answer must not keep the process alive.
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
                except Exception as error:  # tracking must not end a training
                    self._failed(error)

    def drain(self) -> bool:
        """Waits until all tasks have run; False if that exceeds the time limit."""
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
    """A run whose `log_rows` returns at once and whose `finish` waits for a limited time."""

    def __init__(self, store: "Store") -> None:
        super().__init__(store, None)
        self._writer = store.writer
        self._waiting: deque[Mapping[str, float | None]] = deque()
        self._is_started = False
        self._written_at = self._signed_at = -math.inf

    def start(
        self, find: Callable[[], Any], params: Mapping[str, Any], tags: Mapping[str, str]
    ) -> None:
        """Finds or creates the run, marks it as running here, and adds the missing params."""

        def begin() -> None:
            self.take(find())
            if self.is_training:  # in another checkout: both would write the same points
                print(
                    f"warning: another process on {self.tags['host']} is already writing the run "
                    f"{self.name}; `make publish` completes it if that process does not",
                    file=sys.stderr,
                )
                self.take(None)
                return
            if self._status != "RUNNING":
                self._attempt(lambda client: client.update_run(self.id, status="RUNNING"))
                self._status = "RUNNING"
            self.set_tags(tags)
            self.add_params(params)
            self._signed_at = time.monotonic()
            self._writer.when_idle.append(self._write_rows)

        self._is_started = True
        self._writer.put(begin)

    def log_rows(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Like `Run.log_rows`, but later; nothing for a run that was not started."""
        if self._is_started:
            self._waiting.extend(rows)
            if time.monotonic() - self._written_at >= SECONDS_BETWEEN_WRITES:
                self._written_at = time.monotonic()
                self._writer.put(self._write_rows)

    def _write_rows(self) -> None:
        rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if rows:
            super().log_rows(rows)
        if time.monotonic() - self._signed_at >= origin.SECONDS_BETWEEN_SIGNS:
            self._signed_at = time.monotonic()
            self.set_tags(origin.sign_of_life())

    def finish(self, status: str) -> None:
        """Like `Run.finish`, after all waiting rows."""

        def end() -> None:
            self._write_rows()
            Run.finish(self, status)
            if self._write_rows in self._writer.when_idle:
                self._writer.when_idle.remove(self._write_rows)

        if self._is_started:
            self._writer.put(end)
            self._store.drain()

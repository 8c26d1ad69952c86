"""The pool of worker processes: one process per key, such as a seed, its messages and its result.

On a CPU the seeds of a model run side by side: two processes of one thread have 1.1 to 1.2 times
the throughput of one process of two threads, do not collapse on a busy machine, and compute bits
that do not depend on the number of cores. A worker dies with its parent.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple, TypeVar

import torch

from pipelines.settings.errors import UserError

Send = Callable[[Any], None]
K = TypeVar("K")
R = TypeVar("R")
#: A module-level function (or a partial of one) of a key and a function that sends messages.
Job = Callable[[K, Send], R]

_PR_SET_PDEATHSIG = 1


class _FailedError(UserError):
    """The error that stopped a worker, in one line."""


class _Result(NamedTuple):
    value: Any


def num_cores() -> int:
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_out_of_memory(error: Exception) -> bool:
    """Whether there is not enough memory, of the CPU or of a GPU."""
    # Torch has an exception of its own for the GPU's memory and none for the CPU's.
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(part in str(error) for part in ("allocate memory", "Storage size calculation"))


def choose_device(wanted: str) -> str:
    """The device for `auto`, `cpu` or `cuda`.

    Raises:
        UserError: `cuda` without a GPU.
    """
    # `cuda.is_available` starts CUDA's runtime, and autograd fails in a fork of such a process.
    if wanted == "cpu":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UserError("params.yaml: train.device: 'cuda', but torch sees no GPU; use auto or cpu")
    return "cpu"


def die_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Makes Linux send this process the signal when its parent ends, even by SIGKILL."""
    parent = os.getppid()
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal_number)


def run(
    job: Job[K, R],
    keys: Sequence[K],
    *,
    device: str,
    threads: int,
    handle: Callable[[K, Any], None],
    at_once: int | None = None,
    label: Callable[[K], str] = "seed {}".format,
    replacements: int = 0,
) -> list[R]:
    """Runs `job(key, send)` once per key, each in a process of its own; the results in order.

    Args:
        job: Its messages, and at last its result if it is not None, go to `handle`.
        keys: The keys, such as the seeds.
        device: `cpu` or `cuda`.
        threads: Torch's threads in each process.
        handle: Receives (key, message), in this process.
        label: The name of a key in an error.
        at_once: Number of processes at once; None = cores / threads on a CPU, 1 on a GPU.
        replacements: Number of killed workers that are replaced by a new one with the same key.
            Such workers import everything again: this process may have threads and connections by
            then, which a fork does not carry over.

    Raises:
        UserError: A worker failed, or more workers were killed than are replaced; the others are
            stopped.
    """
    # A fork has torch imported already. CUDA does not survive one.
    method = "fork" if device == "cpu" and not replacements else "spawn"
    if method == "spawn":  # else it starts with the first worker, and lets SIGINT through then
        resource_tracker.ensure_running()
    at_once = at_once or (max(1, num_cores() // threads) if device == "cpu" else 1)
    waiting, results = list(keys), dict[K, R]()
    running: dict[Connection, tuple[K, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < at_once:
                key = waiting.pop(0)
                _start(method, (job, key, label(key), threads), running)
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                key, process = running[ready]
                try:
                    message = _receive(ready)
                except (EOFError, OSError):
                    del running[ready]
                    process.join()
                    if process.exitcode:
                        replacements -= 1
                        _check_ending(label(key), process.exitcode, replacements)
                        waiting.insert(0, key)
                    continue
                if isinstance(message, _Result):
                    results[key] = message = message.value
                if message is not None:
                    handle(key, message)
    finally:
        for _, process in running.values():
            process.kill()
            process.join()
    return [results[key] for key in keys]


def _start(
    method: str,
    work: tuple[Job[K, R], K, str, int],
    running: dict[Connection, tuple[K, BaseProcess]],
) -> None:
    """Starts and registers a worker. Ctrl-C waits until then, and the worker never receives it.

    Otherwise a worker that is still importing would end with a traceback, and one that is not yet
    registered would outlive the command.
    """
    context: Any = multiprocessing.get_context(method)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(*work, theirs))
        process.start()
        theirs.close()
        running[ours] = (work[1], process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _receive(connection: Connection) -> Any:
    message = connection.recv()
    if isinstance(message, _FailedError):
        raise message
    return message


def _work(job: Job[K, R], key: K, name: str, threads: int, connection: Connection) -> None:
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at Ctrl-C the parent ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(threads)
    try:
        connection.send(_Result(job(key, connection.send)))
    except (UserError, FloatingPointError) as error:
        with suppress(BrokenPipeError):
            connection.send(_FailedError(f"{name}: {error}"))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        connection.send(_FailedError(f"{name}: out of memory; use a smaller width or batch"))


def _check_ending(name: str, exitcode: int, replacements: int) -> None:
    if exitcode > 0:
        raise _FailedError(
            f"{name}: the worker ended with exit code {exitcode}; its traceback stands above"
        )
    if replacements < 0:
        signal_name = signal.Signals(-exitcode).name
        raise _FailedError(
            f"{name}: the worker was ended by signal {-exitcode} ({signal_name})"
            f"{'; is there enough memory?' if exitcode == -signal.SIGKILL else ''}"
        )

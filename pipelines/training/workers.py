"""One process per seed, with a given number of threads each, and their messages.

On a CPU the seeds of a model run side by side: two processes of one thread have 1.1 to 1.2 times
the throughput of one process of two threads, do not collapse on a busy machine, and compute bits
that do not depend on the number of cores. A worker dies with its parent.
"""

import ctypes
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

from pipelines.settings.errors import UserError

Send = Callable[[Any], None]
K = TypeVar("K")
#: A module-level function (or a partial of one) of a key and a function that sends messages.
Job = Callable[[K, Send], None]

_PR_SET_PDEATHSIG = 1


class _FailedError(UserError):
    """What stopped a worker, in one line."""


def num_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_out_of_memory(error: Exception) -> bool:
    """Whether there is not enough memory, of the CPU or of a GPU."""
    # Torch has an exception of its own for the GPU's memory and none for the CPU's.
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(told in str(error) for told in ("allocate memory", "Storage size calculation"))


def choose_device(wanted: str) -> str:
    """Turns `auto`, `cpu` or `cuda` into a device that is there.

    Raises:
        UserError: CUDA is asked for and absent.
    """
    # Without a question: the answer starts CUDA's runtime, and in a fork of that process autograd
    # ends in an initialization error.
    if wanted == "cpu":
        return wanted
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise UserError("params.yaml: train.device: 'cuda', but torch sees no GPU; use auto or cpu")
    return "cpu"


def die_with_parent(signal_number: int = signal.SIGTERM) -> None:
    """Linux sends this process the signal when its parent ends, also when it is killed with -9."""
    parent = os.getppid()
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent:  # it ended before the call
        os.kill(os.getpid(), signal_number)


def run(
    job: Job[K],
    keys: Sequence[K],
    *,
    device: str,
    threads: int,
    handle: Callable[[K, Any], None],
    at_once: int | None = None,
    label: Callable[[K], str] = "seed {}".format,
) -> None:
    """Runs `job` once per key.

    Args:
        job: Called as `job(key, send)` in a process of its own.
        keys: What the jobs are told, such as the seeds.
        device: `cpu`: as many at once as cores / threads. `cuda`: one after another.
        threads: Torch's threads in each process.
        handle: Receives (key, message) of every message, in this process.
        at_once: On a CPU, how many processes at most; None for as many as there are cores.
        label: What a key is called in an error.

    Raises:
        UserError: A worker failed or was killed; the others are stopped.
    """
    # A fork has torch imported already. CUDA does not survive one.
    context: Any = multiprocessing.get_context("fork" if device == "cpu" else "spawn")
    room = max(1, num_cores() // threads) if device == "cpu" else 1
    room = min(room, at_once or room)
    waiting = list(keys)
    running: dict[Connection, tuple[K, BaseProcess]] = {}
    try:
        while waiting or running:
            while waiting and len(running) < room:
                key = waiting.pop(0)
                ours, theirs = context.Pipe(duplex=False)
                process = context.Process(
                    target=_work, args=(job, key, label(key), threads, theirs)
                )
                process.start()
                theirs.close()
                running[ours] = (key, process)
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                key, process = running[connection]
                try:
                    message = connection.recv()
                except EOFError:
                    del running[connection]
                    process.join()
                    if process.exitcode:
                        raise _FailedError(f"{label(key)}: {_ending(process.exitcode)}") from None
                    continue
                if isinstance(message, _FailedError):
                    raise message
                handle(key, message)
    finally:
        for _, process in running.values():
            process.kill()
            process.join()


def _work(job: Job[K], key: K, name: str, threads: int, connection: Connection) -> None:
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which then ends this one
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    torch.set_num_threads(threads)
    try:
        job(key, connection.send)
    except (UserError, FloatingPointError) as error:
        with suppress(BrokenPipeError):
            connection.send(_FailedError(f"{name}: {error}"))
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            traceback.print_exc()
            sys.exit(1)
        connection.send(_FailedError(f"{name}: out of memory; use a smaller width or batch"))
    except Exception:
        # A bug of ours: the traceback is worth more here than in the parent.
        traceback.print_exc()
        sys.exit(1)


def _ending(exitcode: int) -> str:
    if exitcode < 0:
        return f"the worker was ended by signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"the worker ended with exit code {exitcode}; its traceback stands above"

import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from pipelines.settings.errors import UserError
from pipelines.training import workers


def report(key, send):
    send({"pid": os.getpid(), "threads": torch.get_num_threads(), "key": key})


def fail(key, send):
    if key == 1:
        raise FloatingPointError("phase vae, step 3: rate = nan is not finite")
    time.sleep(60)


def end_by_signal(key, send):
    os.kill(os.getpid(), signal.SIGKILL)


def work(job, keys, **changes):
    got = []
    options = {"device": "cpu", "threads": 1, "handle": lambda k, m: got.append((k, m))} | changes
    workers.run(job, keys, **options)
    return got


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # fork and spawn; neither needs a GPU here
def test_each_seed_is_a_process_with_its_threads(device):
    got = work(report, [3, 5, 8], device=device)
    assert sorted(key for key, _ in got) == [3, 5, 8]
    assert all(message["key"] == key and message["threads"] == 1 for key, message in got)
    assert len({message["pid"] for _, message in got} | {os.getpid()}) == 4


def test_processes_times_threads_never_exceeds_the_cores(monkeypatch):
    monkeypatch.setattr(workers, "num_cores", lambda: 4)
    for threads, at_once in ((1, 4), (2, 2), (3, 1), (8, 1)):
        running = set()
        most = 0

        def handle(key, message, running=running):
            nonlocal most
            running.add(key) if message == "begin" else running.discard(key)
            most = max(most, len(running))

        workers.run(begin_end, list(range(6)), device="cpu", threads=threads, handle=handle)
        assert most <= at_once


def begin_end(key, send):
    send("begin")
    time.sleep(0.05)
    send("end")


def exhaust(key, send):
    torch.empty(10**15)


def test_memory_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match="seed 0: out of memory"):
        work(exhaust, [0])


def test_a_failing_seed_stops_the_others_with_one_line():
    start = time.monotonic()
    with pytest.raises(UserError, match=r"^seed 1: phase vae, step 3: rate = nan is not finite$"):
        work(fail, [0, 1])
    assert time.monotonic() - start < 30


def test_a_killed_seed_is_named_with_the_signal():
    with pytest.raises(UserError, match=r"seed 0: .* ended by signal 9 \(SIGKILL\)"):
        work(end_by_signal, [0])


def test_cuda_without_a_gpu_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert workers.choose_device("auto") == "cpu"
    with pytest.raises(UserError, match=r"train.device: 'cuda', but torch sees no GPU"):
        workers.choose_device("cuda")


def test_a_cpu_that_is_asked_for_does_not_start_cuda_before_the_fork(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
    assert workers.choose_device("cpu") == "cpu"


def sleep_and_tell(key, send):
    send(os.getpid())
    time.sleep(60)


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_workers_die_with_a_parent_that_is_killed():
    program = (
        "from pipelines.training import workers; "
        "from tests.pipelines.training.test_workers import sleep_and_tell; "
        "workers.run(sleep_and_tell, [0], device='cpu', threads=1, "
        "handle=lambda key, pid: print(pid, flush=True))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    for _ in range(100):
        if not _alive(worker):
            return
        time.sleep(0.1)
    pytest.fail(f"worker {worker} outlived its parent")


def _alive(pid):
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

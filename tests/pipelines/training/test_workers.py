import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from pipelines.settings.errors import UserError
from pipelines.training import workers
from tests.clone import HANGING_S, wait_for


def report(key, send):
    send({"pid": os.getpid(), "threads": torch.get_num_threads(), "key": key})


def fail(key, send):
    if key == 1:
        raise FloatingPointError("phase vae, step 3: rate = nan is not finite")
    send(os.getpid())
    time.sleep(HANGING_S)
    send("finished")


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


@pytest.mark.parametrize(("threads", "at_once"), [(1, 4), (2, 2), (3, 1), (8, 1)])
def test_processes_times_threads_are_the_cores_and_no_more(tmp_path, monkeypatch, threads, at_once):
    monkeypatch.setattr(workers, "num_cores", lambda: 4)
    running, most = set(), 0

    def handle(key, message):
        nonlocal most
        running.add(key) if message == "begin" else running.discard(key)
        most = max(most, len(running))

    job = functools.partial(wait_for_the_others, tmp_path, at_once)
    workers.run(job, list(range(2 * at_once)), device="cpu", threads=threads, handle=handle)
    assert most <= at_once


def wait_for_the_others(folder, at_once, key, send):
    """Ends when as many jobs as run at once have begun; fails if fewer do."""
    send("begin")
    (folder / str(key)).touch()
    end = time.monotonic() + HANGING_S
    while len(list(folder.iterdir())) < at_once * (key // at_once + 1):
        assert time.monotonic() < end, "fewer jobs run at once"
        time.sleep(0.01)
    send("end")


def exhaust(key, send):
    torch.empty(10**15)


def test_memory_that_is_not_there_is_one_line():
    with pytest.raises(UserError, match="seed 0: out of memory"):
        work(exhaust, [0])


def test_a_failing_seed_stops_the_others_with_one_line():
    messages = []
    with pytest.raises(UserError, match=r"^seed 1: phase vae, step 3: rate = nan is not finite$"):
        work(fail, [0, 1], handle=lambda _, message: messages.append(message))
    assert "finished" not in messages
    assert not any(map(_alive, messages))


def test_a_killed_seed_is_named_with_the_signal():
    with pytest.raises(UserError, match=r"seed 0: .* ended by signal 9 \(SIGKILL\)"):
        work(end_by_signal, [0])


def end_by_signal_once(key, send):
    marker = Path(key)
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    send("whole")


def test_a_killed_worker_is_replaced_as_often_as_the_caller_allows(tmp_path):
    keys = [str(tmp_path / name) for name in ("a", "b")]
    assert sorted(work(end_by_signal_once, keys, replacements=2)) == [
        (key, "whole") for key in keys
    ]
    with pytest.raises(UserError, match=r"seed 0: .* ended by signal 9 \(SIGKILL\)"):
        work(end_by_signal, [0], replacements=2)


def fail_by_a_bug(key, send):
    sys.exit(3)


def test_a_worker_that_fails_by_itself_is_not_replaced():
    with pytest.raises(UserError, match=r"seed 0: the worker ended with exit code 3"):
        work(fail_by_a_bug, [0], replacements=2)


def test_cuda_without_a_gpu_is_refused_in_one_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert workers.choose_device("auto") == "cpu"
    with pytest.raises(UserError, match=r"train.device: 'cuda', but torch sees no GPU"):
        workers.choose_device("cuda")


def test_a_cpu_that_is_asked_for_does_not_start_cuda_before_the_fork(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("asked"))
    assert workers.choose_device("cpu") == "cpu"


def tell_and_wait(key, send):
    send(os.getpid())
    signal.pause()


@pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")
def test_workers_die_with_a_parent_that_is_killed():
    program = (
        "from pipelines.training import workers; "
        "from tests.pipelines.training.test_workers import tell_and_wait; "
        "workers.run(tell_and_wait, [0], device='cpu', threads=1, "
        "handle=lambda key, pid: print(pid, flush=True))"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    worker = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    wait_for(lambda: not _alive(worker))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
@pytest.mark.parametrize("device", ["cpu", "cuda"])  # fork and spawn; neither needs a GPU here
def test_ctrl_c_while_workers_import_leaves_none_and_prints_no_traceback(tmp_path, device):
    program = (
        "from pipelines.settings.errors import exit_on_user_error; "
        "from pipelines.training import workers; "
        "from tests.pipelines.training.test_workers import tell_and_wait; "
        "print('ready', flush=True); "
        "exit_on_user_error(workers.run)(tell_and_wait, [0, 1], threads=1, at_once=2, "
        f"handle=lambda key, pid: None, device={device!r})"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert parent.stdout.readline() == "ready\n"
    wait_for(lambda: len(_members(parent.pid)) >= 3)  # the parent and its workers, or the tracker
    os.killpg(parent.pid, signal.SIGINT)
    _, printed = parent.communicate(timeout=HANGING_S)
    assert (parent.returncode, printed) == (130, "")
    wait_for(lambda: not _members(parent.pid))


def _members(group):
    """The processes of a process group that have not ended."""
    import psutil

    found = []
    for process in psutil.process_iter(["status"]):
        try:
            is_member = os.getpgid(process.pid) == group
        except ProcessLookupError:
            continue
        if is_member and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def _alive(pid):
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

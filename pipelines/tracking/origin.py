"""Where a run comes from: its commit, its host and its process, and whether that process lives."""

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from pipelines.settings import files, paths

#: A process says so often that it lives, where nobody can look for it.
SECONDS_BETWEEN_SIGNS = 60.0
#: What has been silent for so long is gone. Five signs: a server may be slow, clocks may differ.
SILENT_S = 300.0


def origin() -> dict[str, str]:
    """Where a training runs: the host and process that `reap` looks at, and the commit."""
    tags = {
        **process(),
        **sign_of_life(),
        "mlflow.source.name": "pipelines.train",
        "mlflow.source.type": "LOCAL",
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME", ""),
    }
    commit = _git("rev-parse", "HEAD")
    if commit:
        tags["mlflow.source.git.commit"] = commit
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
        tags["git.dirty"] = str(dirty).lower()
    return {key: value for key, value in tags.items() if value}


def keep(fingerprint: str, tags: Mapping[str, str]) -> None:
    """Writes down from which commit a training was begun, for a store that is made anew."""
    of_the_process = {*process(), *sign_of_life()}
    lasting = {key: value for key, value in tags.items() if key not in of_the_process}
    files.write_json(_place(fingerprint), lasting)


def recall(fingerprint: str) -> dict[str, str]:
    """From which commit a training was begun here; empty of one that came from a cache."""
    path = _place(fingerprint)
    found: dict[str, str] = files.read_json(path, "dvc repro") if path.is_file() else {}
    return found


def _place(fingerprint: str) -> Path:
    # No out and no dep: a training that is resumed must not make `publish` look changed.
    return paths.OUTPUTS / ".origin" / f"{fingerprint}.json"


def process() -> dict[str, str]:
    """This process, as `is_alive` looks for it."""
    return {
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "process_start": f"{psutil.Process().create_time():.2f}",
    }


def sign_of_life() -> dict[str, str]:
    """When this process lived, as `may_live` reads it on another host: seconds since 1970."""
    return {"seen": f"{time.time():.0f}"}


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(paths.ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def pid_namespace() -> str:
    """Within what this process has its number: a container's, where the host has one name for all.

    Empty where there are none. For what has a heartbeat besides: a container that was started anew
    cannot tell, and `is_alive` says for ever that what it left may live.
    """
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def is_here(tags: Mapping[str, str]) -> bool:
    """Whether a run's process is one of this host, with a number that counts in this process."""
    mine = pid_namespace()
    return tags.get("host") == socket.gethostname() and tags.get("pid_namespace", mine) == mine


def is_mine(tags: Mapping[str, str]) -> bool:
    """Whether a run's process is this one."""
    return process().items() <= tags.items()


def may_live(tags: Mapping[str, str]) -> bool:
    """Whether the process of a run writes it still: one of another host gives signs of life."""
    if is_here(tags):
        return is_alive(tags)
    return time.time() - float(tags.get("seen", "-inf")) < SILENT_S


def is_alive(tags: Mapping[str, str]) -> bool:
    """Whether a process may live, as far as this host can tell: of another one it cannot."""
    if not is_here(tags):
        return True
    try:
        started = psutil.Process(int(tags["pid"])).create_time()
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False
    return abs(started - float(tags["process_start"])) < 1

"""The origin of a run: commit, host and process, and whether that process is alive."""

import os
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from pipelines.settings import files, paths

#: Interval of the signs of life that a process writes for other hosts.
SECONDS_BETWEEN_SIGNS = 60.0
#: A process without a sign of life for this time has ended. Five intervals: a server may be slow,
#: clocks may differ.
SILENT_S = 300.0
#: A tag that only a training sets.
TRAINED = "mlflow.source.name"


def keep(fingerprint: str) -> dict[str, str]:
    """Tags about the commit of a training, also kept in a file for a store that is rebuilt."""
    tags = {
        TRAINED: "pipelines.train",
        "mlflow.source.type": "LOCAL",
        "dvc.exp_name": os.environ.get("DVC_EXP_NAME", ""),
        "mlflow.source.git.commit": (commit := _git("rev-parse", "HEAD")),
    }
    if commit:
        dirty = bool(_git("status", "--porcelain", "--untracked-files=no"))
        tags["git.dirty"] = str(dirty).lower()
    tags = {key: value for key, value in tags.items() if value}
    files.write_json(_place(fingerprint), tags)
    return tags


def recall(fingerprint: str) -> dict[str, str]:
    """The commit of a training; empty if it came from a cache."""
    path = _place(fingerprint)
    tags: dict[str, str] = files.read_json(path, "dvc repro") if path.is_file() else {}
    return tags


def _place(fingerprint: str) -> Path:
    # Neither an out nor a dep of DVC: a resumed training must not make `publish` run again.
    return paths.OUTPUTS / ".origin" / f"{fingerprint}.json"


def process() -> dict[str, str]:
    """Tags of this process, which `may_live` reads."""
    return {
        "host": socket.gethostname(),
        "pid": str(os.getpid()),
        "process_start": f"{psutil.Process().create_time():.2f}",
        **sign_of_life(),
    }


def sign_of_life() -> dict[str, str]:
    """A tag with the time, in seconds since 1970, which `may_live` reads on another host."""
    return {"seen": f"{time.time():.0f}"}


def _git(*arguments: str) -> str:
    try:
        command = ["git", "-C", str(paths.ROOT), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def is_mine(tags: Mapping[str, str]) -> bool:
    """Whether the process is this one."""
    mine = process()
    return mine.items() <= {**tags, "seen": mine["seen"]}.items()


def may_live(tags: Mapping[str, str]) -> bool:
    """Whether a process may be alive; on another host, by its signs of life."""
    if tags.get("host") != socket.gethostname():
        return time.time() - float(tags.get("seen", "-inf")) < SILENT_S
    try:
        started = psutil.Process(int(tags["pid"])).create_time()
    except (psutil.NoSuchProcess, KeyError, ValueError):
        return False
    return abs(started - float(tags["process_start"])) < 1

"""A clone of this checkout, as it is in the working tree, for tests that run the real pipeline."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.settings import yaml_files
from pipelines.settings.paths import ROOT

#: Seconds after which a command counts as hanging: on two cores the longest one takes a minute.
HANGING_S = 900

#: Small enough for a test on a busy machine; the rest is the shipped params.yaml.
PRESETS = ("vae", "gan_r1", "conditional_vae")
SMALL_MODEL = {"num_steps": 12, "batch_size": 16, "width": 4, "latent_dim": 4}
#: Some of each kind. Those that train a network of their own take as long as all the rest.
FEW_METRICS = ["fid", "kid", "mse", "elbo", "rate", "distortion", "discriminator"]


class Clone:
    """A git repository with the pipeline on tiny data, and commands in it.

    Args:
        folder: An empty one.
        selected: Of `PRESETS`.
        whole: With every metric, all sets of samples and all trainings of the extractor.
    """

    def __init__(
        self, folder: Path, selected: Sequence[str] = PRESETS[:2], *, whole: bool = False
    ) -> None:
        self.folder = folder
        listed = self._git("ls-files", "-co", "--exclude-standard", cwd=ROOT).stdout.split("\n")
        for name in filter(None, listed):
            if (ROOT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, folder / name)
        self._git("init", "-q")
        self.settings: dict[str, Any] = yaml_files.read_yaml(ROOT / "params.yaml")
        #: Section `tune` of tune.yaml.
        self.studies: dict[str, Any] = yaml_files.read_yaml(ROOT / "tune.yaml")["tune"]
        self.settings["prepare"]["max_images"] = 300
        self.settings["features"] |= {"epochs": 1, "width": 4, "num_features": 8}
        self.settings["evaluate"]["grid_images"] = 16
        self.settings["train"] |= {"num_snapshots": 2, "snapshot_images": 8}
        if not whole:
            self.settings["features"]["replicas"] = 0
            self.settings["evaluate"] |= {"metrics": FEW_METRICS, "sample_sets": 1}
            self.settings["report"]["gates"] = []  # which judge the others
        models, kinds = self.settings["models"], self.settings["selected"]
        self.settings["models"] = {name: models[name] | SMALL_MODEL for name in PRESETS}
        self.settings["selected"] = {name: kinds[name] for name in selected}
        self.write_params()
        # `dvc exp run` commits, too, and the machine's own settings may name nobody.
        self._git("config", "user.name", "t")
        self._git("config", "user.email", "t@t")
        self._git("add", "-A")
        self._git("commit", "-qm", "clone")

    def write_params(self) -> None:
        """Writes `self.settings` and `self.studies`: JSON is YAML, too."""
        (self.folder / "params.yaml").write_text(json.dumps(self.settings, indent=1))
        (self.folder / "tune.yaml").write_text(json.dumps({"tune": self.studies}, indent=1))

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs a command in the clone with this interpreter first in PATH."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment() | environment,
            capture_output=True,
            text=True,
            timeout=HANGING_S,
        )

    def environment(self) -> dict[str, str]:
        """The environment of a shell in which the virtual environment is active."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
        folder = str(Path(sys.executable).parent)
        return kept | {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}

    def dvc(self, *arguments: str) -> str:
        """Runs DVC; returns what it printed.

        Raises:
            AssertionError: It failed.
        """
        done = self.run(sys.executable, "-m", "dvc", *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def repro(self, *arguments: str) -> list[str]:
        """Runs `dvc repro`; returns the names of the stages that were run."""
        printed = self.dvc("repro", *arguments).split("\n")
        return [line.split("'")[1] for line in printed if line.startswith("Running stage")]

    def outs(self) -> dict[str, str]:
        """The hashes of all reproducible outs, by path."""
        clock = {"timing", ".locks", ".origin"}
        paths = [p for top in ("outputs", "reports") for p in (self.folder / top).rglob("*")]
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(paths)
            if path.is_file() and not clock & set(path.parts)
        }

    def would_run(self) -> set[str]:
        """The stages that `dvc repro` would run, told by `dvc repro --dry`."""
        return set(self.repro("--dry"))

    def _git(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.folder,
            check=True,
            capture_output=True,
            text=True,
        )


#: Trains the model of its argument for one step, saves the checkpoint, and waits for a signal.
TRAIN_ONE_STEP = """
import signal
from pipelines import train
from pipelines.training import one_run
one_run.SECONDS_BETWEEN_CHECKPOINTS = 0
one_run.SECONDS_BETWEEN_MESSAGES = 0
save = one_run.checkpoint.save
def save_and_wait(path, state):
    save(path, state)
    signal.pause()
one_run.checkpoint.save = save_and_wait
train.main()
"""


def wait_for(condition: Callable[[], object], *processes: subprocess.Popen[Any]) -> None:
    """Waits until a condition holds; fails at once if one of the processes ends before."""
    end = time.monotonic() + HANGING_S
    while not condition():
        ended = [process.args for process in processes if process.poll() is not None]
        if ended and not condition():
            pytest.fail(f"ended before the condition held: {ended}")
        assert time.monotonic() < end, "the condition never held"
        time.sleep(0.1)

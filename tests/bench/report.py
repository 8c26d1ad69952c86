"""Time and size of the report for 20 models with 5 seeds each, derived from real results.

`python -m tests.bench.report` copies the results of this checkout to a temporary folder under new
names, with a random change of a few percent in every value, until there are 20 models with five
seeds each. Then it runs the stage there in a new process and prints seconds and megabytes. It needs
the outs of all stages (`make repro`).
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pipelines.settings import params, paths
from tests.bench.limits import verdict

MODELS, SEEDS = 20, 5
SECONDS, BYTES = 20.0, 3_000_000

#: Runs the stage on the root folder in the last argument.
STAGE = """
import pathlib, sys
from pipelines import report
from pipelines.settings import paths
root, other = paths.ROOT, pathlib.Path(sys.argv.pop())
for name, value in list(vars(paths).items()):
    if isinstance(value, pathlib.Path) and value.is_relative_to(root):
        setattr(paths, name, other / value.relative_to(root))
report.main()
"""


def blow_up(root: Path) -> None:
    """Writes the inputs of the report for 20 models of 5 seeds."""
    settings = params.load().model_dump()
    known = list(settings["selected"])
    rng = random.Random(0)
    names: dict[str, str] = {}
    for position in range(MODELS):
        source = known[position % len(known)]
        name = source if position < len(known) else f"{source}_again"
        settings["models"][name] = settings["models"][source]
        names[name] = settings["selected"][source]
        _copy_model(root, source, name, rng)
    settings |= {"selected": names, "seeds": list(range(SEEDS))}
    _write(root / "params.yaml", settings)
    for place in (paths.FEATURES / "card.json", paths.PREPARE / "manifest.json"):
        _copy(place, root)
    for place in paths.REFERENCES.iterdir():
        _copy(place, root)


def _copy_model(root: Path, source: str, name: str, rng: random.Random) -> None:
    records = json.loads((paths.EVALUATE / source / "records.json").read_text())
    first = next(iter(records["seeds"]))
    seeds = {
        str(seed): [_jittered(record, seed, rng) for record in records["seeds"][first]]
        for seed in range(SEEDS)
    }
    _write(root / "outputs/evaluate" / name / "records.json", {**records, "seeds": seeds})
    shutil.copytree(paths.EVALUATE / source / first, root / "outputs/evaluate" / name / "0")
    summary = json.loads((paths.METRICS / f"{source}.json").read_text())
    for metric in summary["metrics"]:
        all_values = [r["value"] for own in seeds.values() for r in own if r["name"] == metric]
        values = [value for value in all_values if value is not None]
        if values:
            statistics = {"mean": fmean(values), "std": stdev(values), "n": len(values)}
            summary["metrics"][metric] = statistics
    _write(root / "reports/metrics" / f"{name}.json", summary)
    for seed in range(SEEDS):
        for file in ("config.json", "history.csv"):
            target = root / "outputs/train" / name / str(seed) / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(paths.TRAIN / source / first / file, target)


def _jittered(record: dict[str, Any], seed: int, rng: random.Random) -> dict[str, Any]:
    value = record["value"]
    moved = None if value is None else value * (1 + rng.uniform(-0.05, 0.05))
    return {**record, "value": moved, "seed": {**record["seed"], "train": seed}}


def _write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _copy(place: Path, root: Path) -> None:
    target = root / place.relative_to(paths.ROOT)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(place, target)


def measure(root: Path) -> tuple[float, float, int]:
    """Wall time and processor time in seconds, and size of the page in bytes.

    Args:
        root: An empty folder, where the page is reports/index.html afterwards.
    """
    blow_up(root)
    start = time.monotonic()
    subprocess.run([sys.executable, "-c", STAGE, str(root)], cwd=paths.ROOT, check=True)
    seconds = time.monotonic() - start
    # On a busy machine the wall time also measures other processes.
    worked = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    return seconds, worked, (root / "reports/index.html").stat().st_size


def main() -> None:
    """Prints times and size."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--out", type=Path, help="a new folder that keeps the page")
    chosen = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        seconds, worked, size = measure(chosen or Path(folder))
    print(
        f"{MODELS} models of {SEEDS} seeds: {seconds:.1f} s ({worked:.1f} s of a processor), "
        f"{size / 1e6:.2f} MB"
    )
    print(f"{SECONDS:g} s: {verdict(seconds, SECONDS)}; {BYTES / 1e6:g} MB: {verdict(size, BYTES)}")


if __name__ == "__main__":
    main()

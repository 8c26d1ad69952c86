"""A large store: `mlflow server` on PostgreSQL, written by four processes at once, then read.

`python -m tests.bench.store` writes 1,000 runs of 50 metrics and 100 steps through the project's
tracking code, counts the stored points, and prints the time of `publish` (outputs of this checkout)
and of `compare --store` on this store. The first `publish` writes all runs of this checkout with
their artifacts, the others have nothing to write. Five million points: ten minutes on two idle
cores. It needs the outs of `dvc repro`.
"""

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import sqlalchemy

from pipelines.settings import paths
from pipelines.tracking.run import Identity
from pipelines.tracking.store import PIPELINE, open_store
from tests.bench.limits import verdict
from tests.postgres import cluster
from tests.servers import mlflow_server

#: Limits in seconds for the processes of `publish` and `compare`.
LIMIT_S = 5.0
SEEDS = 10
#: Models of the pipeline that `compare` compares.
MODELS = ("vae", "gan_r1")


def identity(number: int) -> Identity:
    """The identity of run `number`; a model has ten seeds."""
    model, seed = divmod(number, SEEDS)
    return Identity(f"model_{model}", "vae", "vae", seed, f"{number:064x}")


def write(uri: str, numbers: range, metrics: int, steps: int) -> None:
    """Writes runs like `publish`: params, rows, final values."""
    os.environ["MLFLOW_TRACKING_URI"] = uri
    open_store.cache_clear()
    store = open_store()
    names = [f"m{i:02}" for i in range(metrics - 1)]  # and the step
    for number in numbers:
        who = identity(number)
        run = store.run(PIPELINE, who.name, who.fingerprint, who.tags())
        run.add_params({f"p{i}": i for i in range(20)} | {"seed": who.seed})
        run.log_rows(
            {"epoch": step, "step": 10 * step}
            | {f"valid/{name}": number + i / step for i, name in enumerate(names)}
            for step in range(1, steps + 1)
        )
        run.log_metrics({f"evaluate/{name}": float(number) for name in names})
        run.finish("FINISHED")
    if not store.is_on:
        raise SystemExit(1)


def write_at_once(uri: str, runs: int, metrics: int, steps: int, processes: int = 4) -> float:
    """Writes with several processes at once; returns the time in seconds."""
    context = multiprocessing.get_context("spawn")
    begin = time.perf_counter()
    writers = [
        context.Process(target=write, args=(uri, range(part, runs, processes), metrics, steps))
        for part in range(processes)
    ]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    return time.perf_counter() - begin


def arrived(database: str) -> dict[str, Any]:
    """Counts in the database: runs, fingerprints, points of curves, duplicate points."""
    curves = "from metrics where key like 'valid/%%' or key = 'train/step'"
    doubled = f"select 1 {curves} group by run_uuid, key, step having count(*) > 1"
    questions = {
        "runs": "select count(*) from runs where status = 'FINISHED'",
        "fingerprints": "select count(distinct value) from tags where key = 'fingerprint'",
        "points": f"select count(*) {curves}",
        "doubled": f"select count(*) from ({doubled}) as counts",
    }
    engine = sqlalchemy.create_engine(database)
    with engine.connect() as connection:
        counts = {
            name: connection.execute(sqlalchemy.text(question.replace("%%", "%"))).scalar()
            for name, question in questions.items()
        }
    engine.dispose()
    return counts


def timed(uri: str, *command: str) -> tuple[float, str]:
    """Runs a command of the project; returns its time in seconds and its output."""
    begin = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", *command],
        env=os.environ | {"MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - begin, (done.stdout + done.stderr).strip()


def main() -> None:
    """Writes a store and measures commands on it."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.store", description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--metrics", type=int, default=50)
    parser.add_argument("--steps", type=int, default=100)
    arguments = parser.parse_args()
    if not paths.REPORT.is_file():
        parser.error(f"{paths.REPORT} is missing; `dvc repro` makes it")
    with (
        tempfile.TemporaryDirectory() as folder,
        cluster() as database,
        mlflow_server(database, Path(folder), os.environ, workers=2) as uri,
    ):
        seconds = write_at_once(uri, arguments.runs, arguments.metrics, arguments.steps)
        points = arguments.runs * arguments.metrics * arguments.steps
        counts = arrived(database)
        print(f"written by 4 processes in {seconds:.0f} s: {points / seconds:,.0f} points/s")
        print(
            f"in the database: {counts}; wanted {arguments.runs} runs, {points:,} points",
            flush=True,
        )
        assert counts["runs"] == counts["fingerprints"] == arguments.runs
        assert (counts["points"], counts["doubled"]) == (points, 0)
        compare = ("pipelines.compare", *MODELS, "--store")
        for command in [*[("pipelines.publish",)] * 3, compare, compare]:
            seconds, printed = timed(uri, *command)
            said = printed.splitlines()[0]  # the written runs, or the note that tracking is off
            print(
                f"{command[0]}: {seconds:.1f} s, {verdict(seconds, LIMIT_S)} ({said})", flush=True
            )


if __name__ == "__main__":
    main()

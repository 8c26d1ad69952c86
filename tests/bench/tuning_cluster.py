"""A study on several hosts: processes with different host names, one PostgreSQL, kill -9.

`python -m tests.bench.tuning_cluster` runs 60 trials with four workers on two hosts, each with a
checkout each, which start at the same time on an empty database. It kills four random workers and
then a whole host permanently; every point must end exactly once. Then four commands start at the
same time on a new SQLite file, ten times. Last, it compares the time of two workers with that of
one.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy

from tests.clone import Clone
from tests.postgres import cluster, why_not

STUDY = "s"
#: Seconds without a heartbeat until a trial is lost; the shipped value is 90.
GRACE = 6
ENDED = ("COMPLETE", "PRUNED", "FAIL")


def _on_host(name: str) -> list[str]:
    root = [] if os.getuid() == 0 else ["--user", "--map-root-user"]
    return ["unshare", *root, "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', name]


def why_no_hosts() -> str:
    """Why processes cannot have another host name here; empty if they can."""
    if shutil.which("unshare") is None:
        return "no other host names: there is no unshare (util-linux)"
    done = subprocess.run([*_on_host("other"), "hostname"], capture_output=True, text=True)
    return "" if done.stdout.strip() == "other" else f"no other host names: {done.stderr.strip()}"


def project(folder: Path, num_steps: int, num_trials: int) -> Clone:
    """A clone with data, features and a study."""
    clone = Clone(folder)
    study = clone.studies["vae_beta"]
    study |= {"trials": num_trials, "num_steps": num_steps, "watch": []}
    study["sampler"] = {"name": "tpe", "startup_trials": 5}
    study["pruner"] = {"name": "median", "startup_trials": 4, "checks": 2}
    study["retrain"] = {"top": 1, "seeds": [7, 8]}
    clone.studies = {STUDY: study}
    clone.write_params()
    clone.repro("features")
    return clone


@dataclass
class Host:
    """A machine: a name, a checkout, cores, and the command that runs on it."""

    name: str
    checkout: Path
    cores: set[int] = field(default_factory=lambda: os.sched_getaffinity(0))
    process: subprocess.Popen[str] | None = None

    def start(self, url: str, *options: str) -> None:
        """Starts or continues the study."""
        run = [sys.executable, "-m", "pipelines.tune", "run", STUDY, "--storage", url]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("DVC_", "MLFLOW_"))}
        cores = ["taskset", "--cpu-list", ",".join(map(str, sorted(self.cores)))]
        with (self.checkout / "log").open("a") as log:
            self.process = subprocess.Popen(
                [*_on_host(self.name), *cores, *run, "--grace", str(GRACE), *options],
                cwd=self.checkout,
                env=kept | {"PYTHONPATH": str(self.checkout), "MLFLOW_TRACKING_URI": "off"},
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )

    def is_running(self) -> bool:
        """Whether the command is running."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """Kills all processes of the host, like a power failure."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> str:
        """Waits for the command, which must succeed; returns its output."""
        assert self.process is not None
        code = self.process.wait(timeout=600)
        said = (self.checkout / "log").read_text()
        assert code == 0, said
        return said


def hosts_of(clone: Clone, folder: Path, *names: str) -> list[Host]:
    """Hosts that share no file with one another."""
    return [Host(name, Path(shutil.copytree(clone.folder, folder / name))) for name in names]


def trials(url: str) -> list[dict[str, Any]]:
    """The rows of all trials in the database by number, read without Optuna."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    # Trials last, so that a trial that starts in between has no values yet.
    queries = (
        "select trial_id, key, value_json from trial_user_attributes",
        "select trial_id, key, value_json from trial_system_attributes",
        "select trial_id, param_value from trial_params",
        "select trial_id, number, state, datetime_start, datetime_complete from trials",
    )
    with engine.connect() as connection:
        user, system, betas, rows = (connection.execute(sqlalchemy.text(q)).all() for q in queries)
    rows_by_trial = {row[0]: {**row._mapping, "attributes": {}} for row in rows}
    for trial, key, value in [*user, *system]:
        rows_by_trial[trial]["attributes"][key] = json.loads(value)
    for trial, value in betas:
        rows_by_trial[trial]["beta"] = value
    return sorted(rows_by_trial.values(), key=lambda trial: trial["number"])


def num_ended(url: str) -> int:
    """Number of finished points; 0 before the tables exist."""
    try:
        return sum(trial["state"] in ENDED[:2] for trial in trials(url))
    except sqlalchemy.exc.SQLAlchemyError:
        return 0


def _at_work(url: str, names: set[str]) -> list[int]:
    """The processes on these hosts that run a trial; one that was killed is no longer there."""
    running = [
        t["attributes"]["owner"]
        for t in trials(url)
        if t["state"] == "RUNNING" and "owner" in t["attributes"]
    ]
    return [
        owner["pid"]
        for owner in running
        if owner["host"] in names and psutil.pid_exists(owner["pid"])
    ]


def check(rows: Sequence[dict[str, Any]], budget: int, workers: int) -> dict[str, int]:
    """Checks that every point ended exactly once; returns the number of trials per state.

    Args:
        rows: All trials.
        budget: Number of trials that were requested.
        workers: Number of workers; as many trials more may have been started.

    Raises:
        AssertionError: A point is open, missing, done twice, or lost without a retry.
    """
    assert [trial["number"] for trial in rows] == list(range(len(rows)))
    assert {trial["state"] for trial in rows} <= set(ENDED), "a trial is open"
    points: dict[int, list[dict[str, Any]]] = {}
    for trial in rows:
        points.setdefault(trial["attributes"].get("failed_trial", trial["number"]), []).append(
            trial
        )
    assert budget <= len(points) <= budget + workers, (budget, len(points))
    for attempts in points.values():
        *lost, last = sorted(
            attempts, key=lambda trial: len(trial["attributes"].get("retry_history", []))
        )
        assert last["state"] in ("COMPLETE", "PRUNED"), attempts
        assert {trial["state"] for trial in lost} <= {"FAIL"}, attempts
    betas = {attempts[-1]["beta"] for attempts in points.values()}
    assert len(betas) == len(points), "a point was drawn twice"
    states = [trial["state"] for trial in rows]
    return {state: states.count(state) for state in ENDED}


def under_fire(hosts: Sequence[Host], url: str, budget: int, kills: int, rng: random.Random) -> str:
    """Starts all hosts at the same time and kills random workers, then the first host.

    Args:
        hosts: The machines; the first one does not survive, the last one ends the study.
        url: Address of an empty database.
        budget: Number of trials of the study.
        kills: Number of kills, spread over the first three quarters of the budget.
        rng: Selects the workers.

    Returns:
        The output of the last host.
    """
    for host in hosts:
        host.start(url, "--search-only")
    for kill in range(1, kills + 1):
        while num_ended(url) < kill * budget * 3 // 4 // kills:
            assert all(host.is_running() for host in hosts), [host.end() for host in hosts]
            time.sleep(0.1)
        time.sleep(rng.random() / 5)
        victims = hosts if kill < kills else hosts[:1]
        while not (owners := _at_work(url, {host.name for host in victims})):
            assert all(host.is_running() for host in victims), [host.end() for host in victims]
        if kill < kills:
            os.kill(rng.choice(owners), signal.SIGKILL)
        else:
            hosts[0].kill()
    for host in hosts[1:]:
        host.end()
    hosts[-1].start(url)
    return hosts[-1].end()


def on_a_new_file(clone: Clone, url: str, num_commands: int) -> None:
    """Starts commands of one checkout at the same time on a new SQLite file."""
    cores = sorted(os.sched_getaffinity(0)) * num_commands
    hosts = [Host(f"command{i}", clone.folder, {cores[i]}) for i in range(num_commands)]
    for host in hosts:
        host.start(url, "--search-only")
    for host in hosts:
        host.end()


def seconds(host: Host, url: str, num_workers: int) -> float:
    """Seconds from the start of the first trial to the end of the last one."""
    host.start(url, "--search-only", "--workers", str(num_workers))
    host.end()
    rows = trials(url)
    times = [(trial["datetime_start"], trial["datetime_complete"]) for trial in rows]
    spent = max(end for _, end in times) - min(start for start, _ in times)
    return float(spent.total_seconds())


def _database(url: str, name: str) -> str:
    """Creates another database on the same server; returns its address."""
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"create database {name}"))
    engine.dispose()
    return url.replace("/mlflow?", f"/{name}?")


def main() -> None:
    """Runs the study with kills, the starts on a new file, and the timing."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tuning_cluster")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--tries", type=int, default=10, help="to begin on no SQLite file")
    parser.add_argument("--timed", type=int, default=24, help="trials that are timed")
    parser.add_argument("--steps", type=int, default=400, help="of a trial")
    parser.add_argument("--seed", type=int, default=0, help="chooses whom to kill")
    arguments = parser.parse_args()
    if reason := why_not() or why_no_hosts():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as temporary, cluster() as url:
        folder = Path(temporary)
        clone = project(folder / "clone", arguments.steps, max(1, arguments.trials))
        if arguments.trials:
            hosts = hosts_of(clone, folder, "anna", "berta")
            under_fire(hosts, url, arguments.trials, arguments.kills, random.Random(arguments.seed))
            states = check(trials(url), arguments.trials, 4)
            print(f"2 hosts of 2 workers, {arguments.kills} kills: {states}", flush=True)
        clone.studies[STUDY] |= {"trials": 4, "num_steps": 12}
        clone.write_params()
        for number in range(arguments.tries):
            file = f"sqlite:///{folder / f'{number}.db'}"
            on_a_new_file(clone, file, 4)
            check(trials(file), 4, 4)
            print(f"4 commands at once on a new file: attempt {number + 1} passed", flush=True)
        clone.studies[STUDY] |= {"trials": arguments.timed, "num_steps": arguments.steps}
        clone.write_params()
        cores = sorted(os.sched_getaffinity(0))
        spent = {}
        for num_workers, used in ((1, cores[:1]), (2, cores[:2])) if arguments.timed else ():
            host = Host("clara", clone.folder, set(used))
            address = _database(url, f"workers{num_workers}")
            spent[num_workers] = seconds(host, address, num_workers)
            print(f"{num_workers} worker(s), a thread each: {spent[num_workers]:.1f} s", flush=True)
        if spent:
            print(f"speed-up: {spent[1] / spent[2]:.2f}")


if __name__ == "__main__":
    main()

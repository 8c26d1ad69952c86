"""A study on several machines: processes under other host names, one PostgreSQL, kills with -9.

`python -m tests.bench.tuning_cluster` runs 60 trials with four workers on two hosts, each with a
checkout of its own, that begin at once on an empty database. It kills four workers at random and
then a whole host, which never comes back: every point has to end once. Then four commands begin at
once on an SQLite file that is not there, ten times, and two workers are timed against one.
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
    """Why no process can be given another host name here; empty if it can."""
    if shutil.which("unshare") is None:
        return "no other host names: there is no unshare (util-linux)"
    done = subprocess.run([*_on_host("other"), "hostname"], capture_output=True, text=True)
    return "" if done.stdout.strip() == "other" else f"no other host names: {done.stderr.strip()}"


def project(folder: Path, num_steps: int, num_trials: int) -> Clone:
    """A clone with data, features and a study of them."""
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
        """Begins or goes on with the study."""
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
        """Whether its command has not ended."""
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """The power goes: none of its processes says anything any more."""
        assert self.process is not None
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def end(self) -> str:
        """Waits for its command, which has to succeed; returns what it has said."""
        assert self.process is not None
        code = self.process.wait(timeout=600)
        said = (self.checkout / "log").read_text()
        assert code == 0, said
        return said


def hosts_of(clone: Clone, folder: Path, *names: str) -> list[Host]:
    """Hosts that share no file with one another."""
    return [Host(name, Path(shutil.copytree(clone.folder, folder / name))) for name in names]


def trials(url: str) -> list[dict[str, Any]]:
    """What is in the database of every trial, in the order of numbers; read without Optuna."""
    engine = sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
    # The trials last: one that begins meanwhile is then one of which nothing is told yet.
    questions = (
        "select trial_id, key, value_json from trial_user_attributes",
        "select trial_id, param_value from trial_params",
        "select trial_id, number, state, datetime_start, datetime_complete from trials",
    )
    with engine.connect() as connection:
        told, betas, rows = (connection.execute(sqlalchemy.text(q)).all() for q in questions)
    found = {row[0]: {**row._mapping, "told": {}} for row in rows}
    for trial, key, value in told:
        found[trial]["told"][key] = json.loads(value)
    for trial, value in betas:
        found[trial]["beta"] = value
    return sorted(found.values(), key=lambda trial: trial["number"])


def num_ended(url: str) -> int:
    """How many points have ended so far; 0 while there are no tables yet."""
    try:
        return sum(trial["state"] in ENDED[:2] for trial in trials(url))
    except sqlalchemy.exc.SQLAlchemyError:
        return 0


def _at_work(url: str, names: set[str]) -> list[int]:
    """The processes on these hosts that are running a trial."""
    running = [
        t["told"]["owner"] for t in trials(url) if t["state"] == "RUNNING" and "owner" in t["told"]
    ]
    return [int(owner["pid"]) for owner in running if owner["host"] in names]


def check(found: Sequence[dict[str, Any]], budget: int) -> dict[str, int]:
    """Holds that every point of the budget has ended once; returns how many trials ended how.

    Raises:
        AssertionError: One is open, missing, done twice, or was lost without a retry.
    """
    assert [trial["number"] for trial in found] == list(range(len(found)))
    assert {trial["state"] for trial in found} <= set(ENDED), "a trial is open"
    points: dict[int, list[dict[str, Any]]] = {}
    for trial in found:
        points.setdefault(trial["told"].get("first", trial["number"]), []).append(trial)
    assert len(points) == budget
    for attempts in points.values():
        *lost, last = sorted(attempts, key=lambda trial: trial["told"].get("attempt", 1))
        assert last["state"] in ("COMPLETE", "PRUNED"), attempts
        assert {trial["state"] for trial in lost} <= {"FAIL"}, attempts
    betas = {attempts[-1]["beta"] for attempts in points.values()}
    assert len(betas) == budget, "a point was drawn twice"
    states = [trial["state"] for trial in found]
    return {state: states.count(state) for state in ENDED}


def under_fire(hosts: Sequence[Host], url: str, budget: int, kills: int, rng: random.Random) -> str:
    """Begins on all hosts at once and kills: workers at random, and at last the first host.

    Args:
        hosts: The machines; the first one does not survive, the last one ends the study.
        url: An empty database.
        budget: Of the study.
        kills: In all, spread over the first three quarters of the budget.
        rng: Chooses whom.

    Returns:
        What the last host has said.
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
    """Begins commands at once, of one checkout, on an SQLite file that is not there."""
    cores = sorted(os.sched_getaffinity(0)) * num_commands
    hosts = [Host(f"command{i}", clone.folder, {cores[i]}) for i in range(num_commands)]
    for host in hosts:
        host.start(url, "--search-only")
    for host in hosts:
        host.end()


def seconds(host: Host, url: str, num_workers: int) -> float:
    """From the begin of the first trial to the end of the last: without the processes' start."""
    host.start(url, "--search-only", "--workers", str(num_workers))
    host.end()
    found = trials(url)
    times = [(trial["datetime_start"], trial["datetime_complete"]) for trial in found]
    spent = max(end for _, end in times) - min(start for start, _ in times)
    return float(spent.total_seconds())


def _database(url: str, name: str) -> str:
    """Makes another database beside the one of this address; returns its address."""
    engine = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(f"create database {name}"))
    engine.dispose()
    return url.replace("/mlflow?", f"/{name}?")


def main() -> None:
    """Runs a study under fire, begins others on no file, and times one."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tuning_cluster")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--tries", type=int, default=10, help="to begin on no SQLite file")
    parser.add_argument("--timed", type=int, default=24, help="trials that are timed")
    parser.add_argument("--steps", type=int, default=400, help="of a trial")
    parser.add_argument("--seed", type=int, default=0, help="chooses whom to kill")
    given = parser.parse_args()
    if reason := why_not() or why_no_hosts():
        raise SystemExit(reason)
    with tempfile.TemporaryDirectory() as temporary, cluster() as url:
        folder = Path(temporary)
        clone = project(folder / "clone", given.steps, max(1, given.trials))
        if given.trials:
            hosts = hosts_of(clone, folder, "anna", "berta")
            under_fire(hosts, url, given.trials, given.kills, random.Random(given.seed))
            states = check(trials(url), given.trials)
            print(f"2 hosts of 2 workers, {given.kills} kills: {states}", flush=True)
        clone.studies[STUDY] |= {"trials": 4, "num_steps": 12}
        clone.write_params()
        for number in range(given.tries):
            file = f"sqlite:///{folder / f'{number}.db'}"
            on_a_new_file(clone, file, 4)
            check(trials(file), 4)
            print(f"4 commands at once on no file: try {number + 1} well", flush=True)
        clone.studies[STUDY] |= {"trials": given.timed, "num_steps": given.steps}
        clone.write_params()
        cores = sorted(os.sched_getaffinity(0))
        spent = {}
        for num_workers, used in ((1, cores[:1]), (2, cores[:2])) if given.timed else ():
            host = Host("clara", clone.folder, set(used))
            address = _database(url, f"workers{num_workers}")
            spent[num_workers] = seconds(host, address, num_workers)
            print(f"{num_workers} worker(s), a thread each: {spent[num_workers]:.1f} s", flush=True)
        if spent:
            print(f"speed-up: {spent[1] / spent[2]:.2f}")


if __name__ == "__main__":
    main()

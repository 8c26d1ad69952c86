"""Comparison of TPE with random search, and of pruners, by repetitions of a shipped study.

`python -m tests.bench.tuning results.jsonl` runs the study as shipped, in one process of one
thread, with the seeds 0 to 4 of the sampler, by random search and by TPE without a pruner, and with
the first three seeds by TPE under each pruner (about an hour of a core; `--trials 16 --steps 100`
takes five minutes). Every arm has the same number of trials and of steps per trial. The
file holds one line per finished study; a finished study is not repeated.

Equal settings give equal values, so without a pruner a trial with the settings of an earlier trial
is not trained: it gets the values and the cost of that trial. The cost of a training is its steps
and its CPU seconds, with the pruner's checks. It needs the outs of `prepare` and `features`.
"""

import argparse
import dataclasses
import json
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

import torch

from pipelines.comparing import text_table
from pipelines.settings import params
from pipelines.settings.command_line import whole_number
from pipelines.settings.errors import exit_on_user_error
from pipelines.training import workers
from pipelines.tuning import results as tune_results
from pipelines.tuning import storage as tune_storage
from pipelines.tuning import study as tune_study
from pipelines.tuning import worker
from pipelines.tuning.study import Study
from pipelines.tuning.trial import Outcome, Run

#: Sampler and pruner by the name of the arm.
ARMS = {
    "random": ("random", "none"),
    "tpe": ("tpe", "none"),
    "gp": ("gp", "none"),
    "tpe+median": ("tpe", "median"),
    "tpe+halving": ("tpe", "halving"),
}
#: The arms with a pruner, and their sampler's arm without one.
PRUNED = {arm: arm.split("+")[0] for arm in ARMS if "+" in arm}
#: The keys of a result that identify its study.
IDENTITY = ("study", "arm", "seed", "trials", "steps")


def study(name: str, arm: str, seed: int, trials: int, steps: int) -> Study:
    """The shipped study with another sampler, pruner, seed and budget."""
    shipped = tune_study.load(name, params.load(), trials=trials, seed=seed)
    settings = shipped.settings
    sampler, pruner = ARMS[arm]
    changes = {
        "num_steps": steps,
        "sampler": settings.sampler.model_copy(update={"name": sampler}),
        "pruner": settings.pruner.model_copy(update={"name": pruner}),
    }
    return dataclasses.replace(shipped, settings=settings.model_copy(update=changes))


class _Remembering(Run):
    """A trial that reuses the result of an equal trial if there is no pruner."""

    known: dict[str, Outcome]

    def __call__(self, send: workers.Send) -> Outcome:
        key = json.dumps(self.entry, sort_keys=True)
        if self.bench.study.is_pruned:
            return super().__call__(send)
        if key not in self.known:
            self.known[key] = super().__call__(send)
        vars(self.outcome).update(vars(self.known[key]))
        return self.outcome


def run(one: Study) -> dict[str, Any]:
    """Runs a study in its own storage.

    Returns:
        `best`, the `total_steps` and `cpu_seconds` of all trainings, how many trials are in which
        state, and the trials themselves.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/optuna.db"
        storage = tune_storage.open_study(one, url)
        worker.work(one, url, "cpu", tune_storage.GRACE, math.inf, "bench", 0, lambda message: None)
        ended = tune_results.ended(storage)
        spent = [t.user_attrs.get("outcome", {}).get("cpu_seconds", 0.0) for t in storage.trials]
        storage.close()
    states = [trial.state for trial in ended]
    return {
        "best": min(t.objectives[0] for t in ended if t.is_complete),
        "total_steps": sum(t.steps for t in ended),
        "cpu_seconds": sum(s for s, t in zip(spent, ended, strict=True) if t.same_as is None),
        "states": {state: states.count(state) for state in dict.fromkeys(states)},
        "settings": [t.settings for t in ended],
        "values": [t.objectives for t in ended],
    }


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """One row per study, and the median of each arm."""
    header, rows = ["arm", "seed", "best FID", "steps", "CPU seconds", "trials"], []
    for arm in ARMS:
        of_arm = [r for r in results if r["arm"] == arm]
        for r in of_arm:
            states = ", ".join(f"{count} {state}" for state, count in r["states"].items())
            rows.append([arm, str(r["seed"]), *_numbers(r), states])
        if of_arm:
            keys = ("best", "total_steps", "cpu_seconds")
            middle = {key: median(r[key] for r in of_arm) for key in keys}
            rows.append([arm, "median", *_numbers(middle), ""])
    return "\n".join(text_table.text_table(header, rows, right=(1, 2, 3, 4)))


def _numbers(r: Mapping[str, Any]) -> list[str]:
    return [f"{r['best']:.2f}", f"{r['total_steps']:.0f}", f"{r['cpu_seconds']:.0f}"]


def verdicts(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The conclusions about sampler and pruners, one sentence each."""
    by = {(r["arm"], r["seed"]): r for r in results}
    sentences = []
    for arm in ("tpe", "gp"):
        pairs = [(by[a, s]["best"], r["best"]) for (a, s), r in _pairs(by, arm, "random")]
        if pairs:
            ours, theirs = (median(side) for side in zip(*pairs, strict=True))
            wins = sum(a < b for a, b in pairs)
            sentences.append(
                f"{arm}: median best {ours:.2f}, random {theirs:.2f}; better in {wins} of "
                f"{len(pairs)} repetitions"
            )
    for arm, plain in PRUNED.items():
        pairs = [(by[a, s], r) for (a, s), r in _pairs(by, arm, plain)]
        if not pairs:
            continue
        saved = {
            key: 1 - sum(a[key] for a, _ in pairs) / sum(b[key] for _, b in pairs)
            for key in ("total_steps", "cpu_seconds")
        }
        bests = "; ".join(f"{a['best']:.2f} and {b['best']:.2f}" for a, b in pairs)
        sentences.append(
            f"{arm}: saves {saved['total_steps']:.0%} of the steps and {saved['cpu_seconds']:.0%} "
            f"of the CPU seconds; best with and without, by seed: {bests}"
        )
    return sentences


def _pairs(by: Mapping[tuple[str, int], Any], arm: str, other: str) -> list[Any]:
    seeds = [seed for name, seed in by if name == arm and (other, seed) in by]
    return [((arm, seed), by[other, seed]) for seed in seeds]


@exit_on_user_error
def main() -> None:
    """Runs the missing studies and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tuning", description=__doc__)
    parser.add_argument(
        "results", type=Path, help="JSON lines file of the results; created or continued"
    )
    parser.add_argument("--study", default="vae_architecture", help="(default: %(default)s)")
    parser.add_argument("--trials", type=whole_number(1), help="of a study (default: as shipped)")
    parser.add_argument("--steps", type=whole_number(1), help="of a trial (default: as shipped)")
    parser.add_argument("--seeds", type=whole_number(1), default=5, help="repetitions (default: 5)")
    parser.add_argument(
        "--pruned", type=whole_number(1), default=3, help="with pruner (default: 3)"
    )
    usual = [arm for arm in ARMS if arm != "gp"]
    parser.add_argument(
        "--arms", nargs="+", choices=ARMS, default=usual, help=f"default: {' '.join(usual)}"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = arguments.results.read_text().splitlines() if arguments.results.is_file() else []
    done = {tuple(r[key] for key in IDENTITY): r for r in map(json.loads, lines)}
    shipped = tune_study.load(arguments.study, params.load()).settings
    trials, steps = arguments.trials or shipped.trials, arguments.steps or shipped.num_steps
    wanted = [
        (arguments.study, arm, seed, trials, steps)
        for seed in range(arguments.seeds)
        for arm in arguments.arms
        if arm not in PRUNED or seed < arguments.pruned
    ]
    _Remembering.known = {}
    with mock.patch.object(worker, "Run", _Remembering):
        for one in wanted:
            if one not in done:
                done[one] = dict(zip(IDENTITY, one, strict=True)) | run(study(*one))
                with arguments.results.open("a") as file:
                    file.write(json.dumps(done[one]) + "\n")
                print(*(f"{k} {v}" for k, v in list(done[one].items())[:8]), flush=True)
    results = [done[one] for one in wanted]
    print(f"{arguments.study}, {trials} trials of {steps} steps")
    print(table(results))
    print(*verdicts(results), sep="\n")


if __name__ == "__main__":
    main()

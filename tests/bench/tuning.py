"""Is TPE better than random search, and does pruning pay? A shipped study, repeated.

`python -m tests.bench.tuning results.jsonl` runs the study as shipped, in one process of one
thread, with the seeds 0 to 4 of the sampler, by random search and by TPE without a pruner, and with
the first three seeds by TPE under each pruner (about an hour of a core; `--trials 16 --steps 100`
takes five minutes). Every arm has the same number of trials and of steps a trial. What is finished
lies in the file, a line a study, and is not run again.

A trial without a pruner whose settings an earlier one had is not trained again, since equal
settings give equal values: it has that one's values and that one's cost. The cost of a training is
its steps and its CPU seconds, the pruner's looks at it included. It needs the outs of `prepare` and
`features`.
"""

import argparse
import dataclasses
import json
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
from pipelines.tuning import files, worker
from pipelines.tuning import storage as tune_storage
from pipelines.tuning import study as tune_study
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
#: Those of a pruner, beside the one of their sampler without.
PRUNED = {arm: arm.split("+")[0] for arm in ARMS if "+" in arm}
#: Of a study's results what identifies it.
IDENTITY = ("study", "arm", "seed", "trials", "steps")


def study(name: str, arm: str, seed: int, trials: int, steps: int) -> Study:
    """The shipped study with another sampler, pruner, seed and budget."""
    shipped = tune_study.load(name, params.load(), trials, seed)
    settings = shipped.settings
    sampler, pruner = ARMS[arm]
    changes = {
        "num_steps": steps,
        "sampler": settings.sampler.model_copy(update={"name": sampler}),
        "pruner": settings.pruner.model_copy(update={"name": pruner}),
    }
    return dataclasses.replace(shipped, settings=settings.model_copy(update=changes))


class _Remembering(Run):
    """A trial that takes the outcome of an equal one where no pruner may end it."""

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
    """Runs a study in a storage of its own.

    Returns:
        `best`, the `total_steps` and `cpu_seconds` of all trainings, how many trials are in which
        state, and the trials themselves.
    """
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/optuna.db"
        storage = tune_storage.create(one, url)
        worker.work(one, url, "cpu", None, lambda message: None)
        ended = files.ended(storage)
        spent = [t.user_attrs.get("cpu_seconds", 0.0) for t in storage.trials]
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
    """A row a study and the median of each arm."""
    header, rows = ["arm", "seed", "best FID", "steps", "CPU seconds", "trials"], []
    for arm in ARMS:
        found = [r for r in results if r["arm"] == arm]
        for r in found:
            states = ", ".join(f"{count} {state}" for state, count in r["states"].items())
            rows.append([arm, str(r["seed"]), *_numbers(r), states])
        if found:
            keys = ("best", "total_steps", "cpu_seconds")
            middle = {key: median(r[key] for r in found) for key in keys}
            rows.append([arm, "median", *_numbers(middle), ""])
    return "\n".join(text_table.text_table(header, rows, right=(1, 2, 3, 4)))


def _numbers(r: Mapping[str, Any]) -> list[str]:
    return [f"{r['best']:.2f}", f"{r['total_steps']:.0f}", f"{r['cpu_seconds']:.0f}"]


def verdicts(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the numbers say of both questions, in a sentence each."""
    by = {(r["arm"], r["seed"]): r for r in results}
    told = []
    for arm in ("tpe", "gp"):
        pairs = [(by[a, s]["best"], r["best"]) for (a, s), r in _pairs(by, arm, "random")]
        if pairs:
            ours, theirs = (median(side) for side in zip(*pairs, strict=True))
            wins = sum(a < b for a, b in pairs)
            told.append(
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
        told.append(
            f"{arm}: saves {saved['total_steps']:.0%} of the steps and {saved['cpu_seconds']:.0%} "
            f"of the CPU seconds; best with and without, by seed: {bests}"
        )
    return told


def _pairs(by: Mapping[tuple[str, int], Any], arm: str, other: str) -> list[Any]:
    seeds = [seed for name, seed in by if name == arm and (other, seed) in by]
    return [((arm, seed), by[other, seed]) for seed in seeds]


@exit_on_user_error
def main() -> None:
    """Runs what is missing and prints the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.tuning", description=__doc__)
    parser.add_argument("results", type=Path, help="a file of JSON lines, made or gone on with")
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
    asked = parser.parse_args()
    torch.set_num_threads(1)
    lines = asked.results.read_text().splitlines() if asked.results.is_file() else []
    done = {tuple(r[key] for key in IDENTITY): r for r in map(json.loads, lines)}
    shipped = tune_study.load(asked.study, params.load()).settings
    trials, steps = asked.trials or shipped.trials, asked.steps or shipped.num_steps
    wanted = [
        (asked.study, arm, seed, trials, steps)
        for seed in range(asked.seeds)
        for arm in asked.arms
        if arm not in PRUNED or seed < asked.pruned
    ]
    _Remembering.known = {}
    with mock.patch.object(worker, "Run", _Remembering):
        for one in wanted:
            if one not in done:
                done[one] = dict(zip(IDENTITY, one, strict=True)) | run(study(*one))
                with asked.results.open("a") as file:
                    file.write(json.dumps(done[one]) + "\n")
                print(*(f"{k} {v}" for k, v in list(done[one].items())[:8]), flush=True)
    results = [done[one] for one in wanted]
    print(f"{asked.study}, {trials} trials of {steps} steps")
    print(table(results))
    print(*verdicts(results), sep="\n")


if __name__ == "__main__":
    main()

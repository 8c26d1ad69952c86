"""A study in MLflow: experiment `tuning/<study>`, a parent run, and a child for each trial.

As in `publish`, every run is looked up by its fingerprint first, so that a second call writes
nothing. A study does not need the store.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.tracking.run import Run
from pipelines.tracking.saved_views import columns_of, table_tags
from pipelines.tracking.store import TUNING, open_store
from pipelines.training import fingerprint
from pipelines.tuning.results import EndedTrial, Results, verdict
from pipelines.tuning.storage import Storage

DONE = "published"
#: MLflow has no state for a pruned trial: its run is finished and has the tag `state`.
STATUS = {"failed": "FAILED", "lost": "KILLED"}


def log(storage: Storage, results: Results) -> int:
    """Writes what the store lacks; returns the number of runs that were written."""
    store, study, name = open_store(), storage.study, TUNING + storage.study.name
    store.add_experiment(name, f"Study {study.name}: a parent run and one run per trial.")
    if not store.is_on:
        return 0
    parent = store.run(name, study.full_name, study.digest, {"study": study.full_name})
    outcomes = {trial.number: trial.user_attrs.get("outcome", {}) for trial in storage.trials}
    written = 0
    for trial in results.trials:
        tags = {"mlflow.parentRunId": parent.id, "state": trial.state, "trial": str(trial.number)}
        # With its point: in a new storage, or with another seed, this number is another trial.
        own = fingerprint.digest([study.digest, trial.number, trial.point])
        run = store.run(name, f"trial {trial.number}", own, tags)
        written += _log_trial(run, tags, trial, outcomes[trial.number])
    # The table of the trials, best first: objectives, searched settings, cost and state.
    objectives = columns_of("metrics", [f"valid/{value}" for value in study.values])
    searched = columns_of("params", study.settings.space)
    cost = columns_of("metrics", ["num_parameters", "steps"])
    columns = [*objectives, *searched, *cost, *columns_of("tags", ["state"])]
    ascending = study.directions[0] == "minimize"
    store.tag_experiment(name, table_tags(columns, objectives[0], ascending=ascending))
    return written + _log_parent(parent, results)


def _log_parent(parent: Run, results: Results) -> bool:
    content = fingerprint.digest(
        [dict(results.study), dict(results.best), list(map(asdict, results.trials))]
    )
    if parent.tags.get(DONE) == content:
        return False
    parent.add_params({"study": results.study["space"], "model": results.study["model"]})
    winner = (results.best.get("winner") or {}).get("trial")
    for one in results.best["retrained"].values():
        if one["trial"] in (None, winner):
            place = "start" if one["trial"] is None else "winner"
            parent.log_metrics({f"{place}/{k}": v["mean"] for k, v in one["values"].items()})
    for name in ("index.html", "trials.csv", "trials.json", "best.json"):
        parent.add_file(name, results.folder / name)
    parent.finish("FINISHED")
    parent.set_tags({"mlflow.note.content": verdict(results), DONE: content})
    return True


def _log_trial(
    run: Run, tags: Mapping[str, str], trial: EndedTrial, outcome: Mapping[str, Any]
) -> bool:
    content = fingerprint.digest(asdict(trial))
    if run.tags.get(DONE) == content:
        return False
    run.add_params(trial.settings)
    run.log_rows(outcome.get("rows", []))
    values = {f"valid/{name}": v for name, v in trial.values.items() if v is not None}
    if outcome.get("cpu_seconds"):
        values |= {"cpu_seconds": outcome["cpu_seconds"], "seconds": outcome["seconds"]["all"]}
    run.log_metrics({**values, "num_parameters": trial.num_parameters, "steps": trial.steps})
    run.finish(STATUS.get(trial.state, "FINISHED"))
    run.set_tags({**tags, "reason": trial.reason or "", DONE: content})
    return True

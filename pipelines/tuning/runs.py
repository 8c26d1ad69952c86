"""A study in MLflow: experiment `tuning/<study>`, a parent run, and a child for each trial.

As in `publish`, every run is looked up by its fingerprint first, so that a second call writes
nothing. A study does not need the store.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.tracking import saved_views
from pipelines.tracking.run import Run
from pipelines.tracking.store import TUNING, Store, open_store
from pipelines.training import fingerprint
from pipelines.tuning.results import EndedTrial, Results
from pipelines.tuning.storage import Storage
from pipelines.tuning.verdict import verdict

DONE = "published"
#: MLflow has no state for a pruned trial: its run is finished and has the tag `state`.
STATUS = {"failed": "FAILED", "lost": "KILLED"}


def log(storage: Storage, results: Results) -> int:
    """Writes what the store lacks; returns the number of runs that were written.

    Args:
        storage: The study, with the histories of the trials.
        results: Its files.
    """
    store = open_store()
    name = TUNING + storage.study.name
    store.add_experiment(name, f"Study {storage.study.name}: a parent run and one run per trial.")
    if not store.is_on:
        return 0
    digest = storage.study.digest
    parent = store.run(name, storage.study.full_name, digest, {"study": storage.study.full_name})
    outcomes = {trial.number: trial.user_attrs.get("outcome", {}) for trial in storage.trials}
    written = sum(
        _log_trial(store, name, parent, digest, trial, outcomes[trial.number])
        for trial in results.trials
    )
    store.tag_experiment(name, _view(results.study))
    return written + _log_parent(parent, results)


def _view(study: Mapping[str, Any]) -> dict[str, str]:
    """The table of the trials, best first: objectives, searched settings, cost and state."""
    columns_of = saved_views.columns_of
    objectives = columns_of("metrics", [f"valid/{name}" for name in study["objectives"]])
    searched = columns_of("params", study["space"])
    cost = columns_of("metrics", ["num_parameters", "steps"])
    return saved_views.table_tags(
        [*objectives, *searched, *cost, *columns_of("tags", ["state"])],
        objectives[0],
        ascending=study["directions"][0] == "minimize",
    )


def _log_parent(parent: Run, results: Results) -> bool:
    content = fingerprint.digest(
        [dict(results.study), dict(results.best), list(map(asdict, results.trials))]
    )
    if parent.tags.get(DONE) == content:
        return False
    parent.add_params({"study": dict(results.study)["space"], "model": results.study["model"]})
    for one in results.best["retrained"].values():
        if one["trial"] is None or one["trial"] == (results.best.get("winner") or {}).get("trial"):
            place = "start" if one["trial"] is None else "winner"
            parent.log_metrics({f"{place}/{k}": v["mean"] for k, v in one["values"].items()})
    for name in ("index.html", "trials.csv", "trials.json", "best.json"):
        parent.add_file(name, results.folder / name)
    parent.finish("FINISHED")
    parent.set_tags({"mlflow.note.content": verdict(results), DONE: content})
    return True


def _log_trial(
    store: Store,
    experiment: str,
    parent: Run,
    digest: str,
    trial: EndedTrial,
    outcome: Mapping[str, Any],
) -> bool:
    tags = {"mlflow.parentRunId": parent.id, "state": trial.state, "trial": str(trial.number)}
    # With its point: in a new storage, or with another seed, this number is another trial.
    own = fingerprint.digest([digest, trial.number, trial.point])
    run = store.run(experiment, f"trial {trial.number}", own, tags)
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

"""A study in MLflow: experiment `tuning/<study>`, a parent run, and a child for each trial.

As in `publish`: everything is looked up by a fingerprint before it is made, and a second call
writes nothing. The store may be away; the study is none the worse for it.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pipelines.tracking import saved_views
from pipelines.tracking.run import Run
from pipelines.tracking.store import TUNING, Store, open_store
from pipelines.training import fingerprint
from pipelines.tuning import best as tune_best
from pipelines.tuning.files import Ended
from pipelines.tuning.page import Found
from pipelines.tuning.storage import Storage

DONE = "published"
#: MLflow knows of no trial that was given up: such a run has finished, and its tag says how.
STATUS = {"failed": "FAILED", "lost": "KILLED"}


def log(storage: Storage, found: Found) -> int:
    """Completes the store; returns how many runs were written.

    Args:
        storage: The study, where the histories of the trials are.
        found: Its files, in the folder where they stay.
    """
    store = open_store()
    name = TUNING + storage.study.name
    store.add_experiment(name, f"Study {storage.study.name}: a parent run, and a run a trial.")
    if not store.is_on:
        return 0
    digest = storage.study.digest
    parent = store.run(name, storage.study.full_name, digest, {"study": storage.study.full_name})
    told = {trial.number: trial.user_attrs for trial in storage.trials}
    written = sum(
        _log_trial(store, name, parent, digest, trial, told[trial.number]) for trial in found.trials
    )
    store.tag_experiment(name, _view(found.study))
    return written + _log_parent(parent, found)


def _view(study: Mapping[str, Any]) -> dict[str, str]:
    """The trials, the best first: objectives, what was searched, cost and state."""
    objectives = [saved_views.metric(f"valid/{name}") for name in study["objectives"]]
    searched = map(saved_views.param, study["space"])
    rest = [
        saved_views.metric("num_parameters"),
        saved_views.metric("steps"),
        saved_views.tag("state"),
    ]
    ascending = study["directions"][0] == "minimize"
    return saved_views.table_tags(
        [*objectives, *searched, *rest], objectives[0], ascending=ascending
    )


def _log_parent(parent: Run, found: Found) -> bool:
    content = fingerprint.digest(
        [dict(found.study), dict(found.best), list(map(asdict, found.trials))]
    )
    if parent.tags.get(DONE) == content:
        return False
    parent.add_params({"study": dict(found.study)["space"], "model": found.study["model"]})
    for one in found.best["retrained"].values():
        if one["trial"] is None or one["trial"] == (found.best.get("winner") or {}).get("trial"):
            place = "start" if one["trial"] is None else "winner"
            parent.log_metrics({f"{place}/{k}": v["mean"] for k, v in one["values"].items()})
    for name in ("index.html", "trials.csv", "trials.json", "best.json"):
        parent.add_file(found.folder / name)
    parent.finish("FINISHED")
    parent.set_tags({"mlflow.note.content": tune_best.told(found.study, found.best), DONE: content})
    return True


def _log_trial(
    store: Store,
    experiment: str,
    parent: Run,
    digest: str,
    trial: Ended,
    told: Mapping[str, Any],
) -> bool:
    tags = {"mlflow.parentRunId": parent.id, "state": trial.state, "trial": str(trial.number)}
    # By its point, too: in a new storage, or with another seed, this number is another trial.
    own = fingerprint.digest([digest, trial.number, trial.point])
    run = store.run(experiment, f"trial {trial.number}", own, tags)
    content = fingerprint.digest(asdict(trial))
    if run.tags.get(DONE) == content:
        return False
    run.add_params(trial.settings)
    run.log_rows(told.get("rows", []))
    values = {f"valid/{name}": v for name, v in trial.values.items() if v is not None}
    if "cpu_seconds" in told:
        values |= {"cpu_seconds": told["cpu_seconds"], "seconds": told["seconds"]["all"]}
    run.log_metrics({**values, "num_parameters": trial.num_parameters, "steps": trial.steps})
    run.finish(STATUS.get(trial.state, "FINISHED"))
    run.set_tags({**tags, "reason": trial.reason or "", DONE: content})
    return True

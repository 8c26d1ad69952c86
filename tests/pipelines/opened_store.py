"""The store as MLflow's own client sees it, and what the tests write to it."""

from typing import Any

from pipelines.tracking.address import store_uri
from pipelines.tracking.run import Identity, Run
from pipelines.tracking.store import open_store

IDENTITY = Identity("vae", "vae", "vae", 0, "0123456789abcdef" * 4)


def client() -> Any:
    """Of the store that this process tracks in."""
    from mlflow import MlflowClient  # noqa: TID251

    return MlflowClient(store_uri())


def runs(experiment: str = "pipeline") -> list[Any]:
    """Of an experiment, by name, with all that this process has logged."""
    open_store().drain()
    found = client().get_experiment_by_name(experiment)
    return list(client().search_runs([found.experiment_id], order_by=["attributes.run_name ASC"]))


def steps(key: str) -> list[int]:
    """Of the points of a metric of the first run."""
    return [point.step for point in client().get_metric_history(runs()[0].info.run_id, key)]


def start(identity: Identity = IDENTITY) -> Run:
    """A run, as a training starts it."""
    run = open_store().start_run(identity, {"beta": 1.0}, {"version.torch": "2.13"})
    open_store().drain()
    return run


def row(epoch: int, **columns: float | None) -> dict[str, float | None]:
    """Of a history, with ten steps an epoch."""
    return {"epoch": float(epoch), "step": epoch * 10.0} | columns


def run_of(model: str, seed: int) -> Any:
    """The run of a model and a seed."""
    wanted = (model, str(seed))
    return next(r for r in runs() if (r.data.tags["model"], r.data.tags["seed"]) == wanted)


def artifacts(run: Any, folder: str | None = None) -> list[str]:
    """The names of the files of a run."""
    names: list[str] = []
    for item in client().list_artifacts(run.info.run_id, folder):
        names += artifacts(run, item.path) if item.is_dir else [item.path]
    return sorted(names)

"""A study `s` of a tiny network on 200 digits; fixture `project` has the data."""

import json
import math
from typing import Any

from pipelines.settings import paths, yaml_files
from pipelines.training import workers
from pipelines.tuning import storage as tune_storage
from pipelines.tuning import worker
from pipelines.tuning.storage import Storage
from pipelines.tuning.study import Study

RAW = yaml_files.read_yaml(paths.PARAMS)
STUDIES = yaml_files.read_yaml(paths.TUNE_YAML)["tune"]
TINY = {"architecture": "mlp", "width": 8, "head_depth": 0, "latent_dim": 2, "num_steps": 24}
TINY |= {"batch_size": 16, "kl_warmup": 0.0}
BETA = {"beta": {"type": "float", "low": 0.1, "high": 10.0, "log": True}}
URL = tune_storage.default_url


def raw_params() -> dict[str, Any]:
    """The shipped settings with the tiny model alone."""
    settings: dict[str, Any] = json.loads(json.dumps(RAW))
    settings["prepare"] |= {"split_design": "stratified"}
    settings["features"] |= {"replicas": 0, "width": 2, "num_features": 4, "epochs": 1}
    settings["train"] |= {"num_snapshots": 1, "snapshot_images": 32, "device": "cpu"}
    models = settings["models"]
    settings["models"] = {"vae": models["vae"] | TINY}
    settings["selected"] = {"vae": "vae"}
    return settings


def study(**changes: Any) -> dict[str, Any]:
    """The shipped study of beta, of four short trials."""
    wanted: dict[str, Any] = json.loads(json.dumps(STUDIES["vae_beta"]))
    wanted |= {"trials": 4, "num_steps": 6, "watch": ["rate"], "space": BETA}
    wanted["sampler"] = {"name": "tpe", "startup_trials": 2}
    wanted["retrain"] = {"top": 1, "seeds": [7, 8]}
    return wanted | changes


def search(one: Study) -> Storage:
    """Runs a study in this process."""
    storage = tune_storage.open_study(one, URL())
    work(one)
    return storage


def work(one: Study, send: workers.Send = lambda message: None) -> None:
    """A worker of the study, in this process."""
    worker.work(one, URL(), "cpu", tune_storage.GRACE, math.inf, "test", 0, send)


def points(storage: Storage) -> list[dict[str, Any]]:
    """What each trial has tried."""
    return [trial.params for trial in storage.trials]


def ignore(value: float, step: int) -> bool:
    """Never prunes."""
    return False

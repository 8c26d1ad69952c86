"""A project in a folder of its own: outputs as the stages leave them, and an MLflow store."""

import csv
import functools
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from evaluation.measuring.records import Record, summarise
from genmodels.base.model import GenerativeModel
from genmodels.networks.blocks import draw_weights
from pipelines import features, prepare
from pipelines.data import datasets
from pipelines.data.prepared import Prepared
from pipelines.settings import params, paths, sections
from pipelines.tracking import live_run, store
from pipelines.training import fingerprint
from pipelines.training.weights import write_model
from pipelines.tuning import study as tune_study
from pipelines.tuning.study import Study
from tests.conftest import presets, small_model
from tests.pipelines.report_project import run_stage, write_project
from tests.pipelines.tiny_rows import PREPARE
from tests.pipelines.tiny_study import raw_params, study

MODELS = {"vae": "vae", "gan": "gan"}
SEEDS = (0, 1)
EPOCHS = 4


@pytest.fixture(autouse=True)
def no_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A `main` that a test calls parses an empty command line, not that of pytest."""
    monkeypatch.setattr(sys, "argv", ["command"])


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout: every path of the project lies in it, and no store is open."""
    root, home = paths.ROOT, paths.HOME
    for name, value in list(vars(paths).items()):
        if isinstance(value, Path):
            base = home if value.is_relative_to(home) else root
            monkeypatch.setattr(paths, name, tmp_path / value.relative_to(base))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    store.open_store.cache_clear()
    return tmp_path


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite file with MLflow's tables and nothing in them: making one takes seconds."""
    from mlflow import MlflowClient  # noqa: TID251

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def store_home(checkout: Path, database: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A checkout with an empty store, for which a training waits on a busy machine, too."""
    monkeypatch.setattr(live_run, "MAX_WAIT_S", 600.0)
    shutil.copy(database, checkout / "mlflow.db")
    yield checkout
    store.open_store.cache_clear()


@pytest.fixture(scope="session")
def report_inputs_made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the stages before `report` leave, made once."""
    root = tmp_path_factory.mktemp("built")
    write_project(root)
    return root


@pytest.fixture(scope="session")
def report_made(report_inputs_made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with the report, made once."""
    root = tmp_path_factory.mktemp("rendered")
    shutil.copytree(report_inputs_made, root, dirs_exist_ok=True)
    run_stage(root)
    return root


@pytest.fixture
def before_report(checkout: Path, report_inputs_made: Path) -> Path:
    """A checkout in which every stage but `report` has run."""
    shutil.copytree(report_inputs_made, checkout, dirs_exist_ok=True)
    return checkout


@pytest.fixture
def page(checkout: Path, report_made: Path) -> str:
    """The page of a checkout in which every stage has run."""
    shutil.copytree(report_made, checkout, dirs_exist_ok=True)
    return paths.REPORT.read_text("utf-8")


@pytest.fixture(scope="session")
def few_digits() -> datasets.Source:
    """Read once: parsing them takes seconds."""
    source = datasets.mnist5k(None)
    return datasets.Source(
        source.images[::25], source.labels[::25], source.class_names, len(source.images[::25])
    )


@pytest.fixture
def quick_source(few_digits: datasets.Source, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default data set is these digits."""
    monkeypatch.setitem(datasets.LOADERS, "mnist5k", lambda _: few_digits)


@pytest.fixture
def prepared(quick_source: None, checkout: Path) -> Prepared:
    """A checkout with 200 digits, prepared."""
    prepare.make(sections.Prepare(**PREPARE), paths.PREPARE)
    return Prepared(paths.PREPARE, None, None)


@pytest.fixture(scope="session")
def few_digits_made(few_digits: datasets.Source, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `prepare` and `features` make of them."""
    folder = tmp_path_factory.mktemp("made")
    settings = raw_params()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(datasets.LOADERS, "mnist5k", lambda _: few_digits)
        prepare.make(sections.Prepare(**settings["prepare"]), folder / "prepare")
    extractor = sections.Features(**settings["features"])
    features.make(extractor, folder / "prepare", folder / "features")
    return folder


@pytest.fixture
def project(checkout: Path, few_digits_made: Path) -> Callable[..., Study]:
    """A checkout with data, and a function that gives it a study `s`."""
    paths.PREPARE.parent.mkdir(parents=True)
    paths.PREPARE.symlink_to(few_digits_made / "prepare")
    paths.FEATURES.symlink_to(few_digits_made / "features")

    def write(**changes: Any) -> Study:
        paths.PARAMS.write_text(json.dumps(raw_params()))
        paths.TUNE_YAML.write_text(json.dumps({"tune": {"s": study(**changes)}}))
        return tune_study.load("s", params.load())

    return write


@pytest.fixture
def reproduced(store_home: Path) -> Path:
    """A checkout as `dvc repro` leaves it, with an empty store."""
    write_outputs(store_home)
    return store_home


def write_outputs(root: Path) -> None:
    write_settings_and_lock(root)
    write_json(root / "outputs/prepare/manifest.json", {"dataset": "mnist5k"})
    for position, model in enumerate(MODELS):
        for seed in SEEDS:
            write_run(root, model, seed, position)
        write_evaluation(root, model, position)
    (root / "reports/index.html").write_text("<h1>Which model is better</h1>")
    (root / "reports/comparison.md").write_text("| model | fid |\n| --- | --- |\n| vae | 3 |\n")
    (root / "reports/leaderboard.csv").write_text("model,fid\nvae,3\n")


def write_settings_and_lock(root: Path) -> None:
    stages = {"prepare": {"outs": [{"path": "outputs/prepare", "md5": f"{7:032}.dir"}]}}
    for model in MODELS:
        deps = [f"outputs/resolve/train/{model}.json", "outputs/resolve/seeds.json"]
        deps += [f"outputs/prepare/{name}" for name in fingerprint.DATA]
        stages[f"train@{model}"] = {
            "deps": [
                {"path": path, "md5": hashlib.md5(path.encode()).hexdigest()} for path in deps
            ],
            "outs": [{"path": f"outputs/train/{model}", "md5": f"{8:032}.dir"}],
        }
    # JSON is YAML.
    write_json(root / "dvc.lock", {"schema": "2.0", "stages": stages})
    settings = {
        "code": "1",
        "selected": list(MODELS),
        "report": {"rank_by": "fid_classifier", "gates": []},
    }
    write_json(root / "outputs/resolve/publish.json", settings)


@functools.cache
def trained(model: str, seed: int) -> GenerativeModel:
    """A small model with weights of its own."""
    drawn = small_model(presets()[{"vae": "vae", "gan": "gan_r1"}[model]])
    draw_weights(drawn, torch.Generator().manual_seed(seed))
    return drawn


def write_run(root: Path, model: str, seed: int, position: int) -> None:
    folder = root / f"outputs/train/{model}/{seed}"
    card = {"model": model, "family": model, "seed": seed, "train": {"threads": 1}}
    drawn = trained(model, seed)
    write_model(folder, drawn, drawn.config.model_dump(), card)
    phase = "vae" if model == "vae" else "generator"
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["epoch", "step", f"{phase}/loss", "valid/elbo"])
        for epoch in range(1, EPOCHS + 1):
            loss = "nan" if (model, epoch) == ("gan", 2) else 100 / epoch + seed
            elbo = -100 / epoch - position - seed if model == "vae" else ""
            writer.writerow([epoch, epoch * 10, loss, elbo])


def write_evaluation(root: Path, model: str, position: int) -> None:
    names = {"fid_classifier": False, "elbo": True, "kid_classifier": False, "rate": None}
    seeds = {}
    for seed in SEEDS:
        values = {"fid_classifier": 3.0 + position + seed, "elbo": -90.0 - seed, "rate": 20.0}
        values |= {"kid_classifier": 0.5 + position}
        if model == "gan":
            values["elbo"] = values["rate"] = None
        seeds[str(seed)] = [record(name, values[name], names[name]) for name in names]
        for picture in ("samples", "interpolations"):
            write_picture(root / f"outputs/evaluate/{model}/{seed}/{picture}.png", 90)
        for step in (20, 40):
            path = f"outputs/evaluate/{model}/{seed}/training/step_{step:06}.png"
            write_picture(root / path, step * 5)
    write_values(root, model, seeds)
    clock = {"seconds": 12.5, "images_per_second": 900.0, "cpu_seconds": 12.0}
    clock |= {"versions": {"torch": "2.13.0"}, "device": "cpu"}
    timing = {str(seed): clock for seed in SEEDS}
    write_json(root / f"outputs/timing/train/{model}.json", timing)
    write_json(root / f"outputs/timing/evaluate/{model}.json", {"0": {"seconds": 3.0}})


def write_values(root: Path, model: str, seeds: dict[str, list[dict[str, Any]]]) -> None:
    """The records of a model and their means, as `evaluate` writes them."""
    document = {"model": model, "kind": MODELS[model], "family": model, "seeds": seeds}
    write_json(root / f"outputs/evaluate/{model}/records.json", document)
    cost = {"num_parameters": 1000, "multiply_adds_sample": 5, "multiply_adds_train": 9}
    summary = {"cost": cost, "metrics": summarise(seeds)}
    write_json(root / f"reports/metrics/{model}.json", summary)


def record(name: str, value: float | None, higher_is_better: bool | None) -> dict[str, Any]:
    return Record(
        name=name,
        value=value,
        unit="",
        n_real=100,
        n_fake=100,
        reference={"dataset": "mnist5k", "split": "test", "sha256": "0" * 64},
        extractor=None,
        seed={"train": 0, "sample": 0, "metric": 0},
        higher_is_better=higher_is_better,
        ideal=None,
        order="quality",
        reason="not_supported" if value is None else None,
    ).to_dict()


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_picture(path: Path, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (56, 56), level).save(path)


@pytest.fixture
def fingerprints(reproduced: Path) -> dict[tuple[str, int], str]:
    """The fingerprint of each run of `reproduced`."""
    keys = [(model, seed) for model in MODELS for seed in SEEDS]
    return {key: fingerprint.from_lock(*key, fingerprint.read_lock()) for key in keys}

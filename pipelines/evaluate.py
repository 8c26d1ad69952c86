"""Stage `evaluate`: one model, all its seeds, measured on the test split, with pictures.

`python -m pipelines.evaluate vae` judges what `outputs/train/vae/` holds. Writes
`outputs/evaluate/<model>/` (records.json and per seed samples.png, interpolations.png,
training/step_*.png and, of a model that is capable of it, classes.png, reconstructions.png and what
`pipelines.latents` draws), the summary over seeds `reports/metrics/<model>.json` and
`outputs/timing/evaluate/<model>.json`.
"""

import argparse
import functools
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evaluation import pictures
from evaluation.context import Seeds
from evaluation.protocols import Reconstructor
from evaluation.runner import Settings, evaluate
from genmodels import checkpoint, cost
from genmodels.base import GenerativeModel, Images
from genmodels.build import build
from genmodels.seeding import generator
from genmodels.shape import ImageShape
from pipelines import files, latents, params, paths, splits, workers
from pipelines.errors import UserError, exit_on_user_error
from pipelines.extracted import load_extracted, real_images
from pipelines.params import Params
from pipelines.progress import Progress
from pipelines.splits import Split

MADE_BY = "dvc repro"
GRID_COLUMNS = 8
#: Pairs of latents in the interpolation picture, and images from one to the other.
INTERPOLATIONS, INTERPOLATION_STEPS = 8, 8
RECONSTRUCTIONS = 16
#: Rows of the picture of classes; of more classes the first ones.
MAX_CLASSES = 20


def load_model(name: str, seed: int, device: str = "cpu") -> GenerativeModel:
    """A trained model, in evaluation mode, from `outputs/train/`.

    Raises:
        UserError: It was not trained, or the file is damaged.
    """
    return read_model(paths.TRAIN / name / str(seed), f"{MADE_BY} train@{name}", device)


def read_model(folder: Path, made_by: str, device: str = "cpu") -> GenerativeModel:
    """A trained model, in evaluation mode, from the folder of its training.

    Args:
        folder: Holds weights.pt.
        made_by: The command that makes it, for an error.
        device: `cpu` or `cuda`.

    Raises:
        UserError: The file is missing or damaged, or of another version of the code.
    """
    path = folder / "weights.pt"
    if not path.is_file():
        raise UserError(f"{path}: no such file; `{made_by}` makes it")
    try:
        state = checkpoint.load(path)
    except ValueError as error:
        raise UserError(f"{error}; `{made_by}` makes it anew") from None
    try:
        model = build(state["settings"], ImageShape(*state["image_shape"]), state["num_classes"])
        model.load_state_dict(state["model"])
    except (ValueError, RuntimeError):  # what torch says of it is a line for each weight
        raise UserError(
            f"{path}: a model of another version of the code; `{made_by}` makes it anew"
        ) from None
    return model.to(device).eval()


def evaluate_seed(
    name: str, settings: Params, device: str, folder: Path, seed: int, send: workers.Send
) -> None:
    """Measures one seed in a process of its own and draws its pictures.

    Args:
        name: A key of `models:`.
        settings: All of params.yaml.
        device: `cpu` or `cuda`.
        folder: The model's new output folder; `<seed>/` is made below it.
        seed: The training seed.
        send: Receives the name of each metric as it starts, at last the results.
    """
    start = time.monotonic()
    model = load_model(name, seed, device)
    extracted = load_extracted()
    data = {split: splits.load_split(split) for split in ("train", "test")}
    real = {k: real_images(k, split, extracted.features.get(k)) for k, split in data.items()}
    seeds = Seeds(seed, settings.evaluate.sample_seed, settings.evaluate.metric_seed)
    evaluation = evaluate(
        model,
        settings.evaluate.metrics,
        reference=real["test"],
        train=real["train"],
        extractor=extracted.extractor,
        settings=Settings(seeds, settings.evaluate.max_samples),
        progress=send,
    )
    assert evaluation.samples is not None  # every kind samples
    shown = evaluation.samples[: settings.evaluate.grid_images]
    draw(model, shown, data["test"], settings.evaluate.sample_seed, folder / str(seed))
    judged = real["test"].first(settings.evaluate.max_samples)
    tested = Images(judged.images, judged.labels)
    latents.draw(model, tested, settings.evaluate.sample_seed, folder / str(seed))
    draw_training(name, seed, folder / str(seed) / "training")
    counted = {
        "num_parameters": cost.num_parameters(model),
        "multiply_adds_sample": cost.multiply_adds_sample(model),
        "multiply_adds_train": cost.multiply_adds_train(model),
    }
    send(
        {
            "records": [record.to_dict() for record in evaluation.records],
            "cost": counted,
            "family": model.family,
            "seconds": time.monotonic() - start,
        }
    )


def draw(model: GenerativeModel, samples: Tensor, test: Split, seed: int, folder: Path) -> None:
    """Draws the uncurated pictures: the first samples, the first test images.

    Args:
        model: In evaluation mode.
        samples: (N, C, H, W) in [0, 1].
        test: The test split.
        seed: Of the latents that are interpolated, the same for every model.
        folder: Where they go.
    """
    drawn = {"samples": pictures.image_grid(samples, GRID_COLUMNS)}
    if model.conditional:
        drawn["classes"] = pictures.image_grid(sample_classes(model, seed), GRID_COLUMNS)
    drawn["interpolations"] = pictures.image_grid(interpolate(model, seed), INTERPOLATION_STEPS)
    if isinstance(model, Reconstructor):
        x, told = test.images[:RECONSTRUCTIONS], dict[str, Any]()
        if model.conditional:
            assert test.labels is not None  # of such data no conditional model is trained
            told["labels"] = test.labels[:RECONSTRUCTIONS].to(model.device)
        x_hat = model.reconstruct(x.to(model.device), **told).cpu()
        drawn["reconstructions"] = pictures.reconstruction_grid(x, x_hat, GRID_COLUMNS)
    for name, picture in drawn.items():
        pictures.save_png(picture, folder / f"{name}.png")


def sample_classes(model: GenerativeModel, seed: int) -> Tensor:
    """Samples of a conditional model, a class a row, the same latents in every row.

    Returns:
        (rows * GRID_COLUMNS, C, H, W) in [0, 1], one row a class, at most MAX_CLASSES.
    """
    rows = [
        # Each row draws anew from the same seed: a prior may depend on the class.
        model.sample(GRID_COLUMNS, generator(seed, "classes"), torch.full((GRID_COLUMNS,), label))
        for label in range(min(model.num_classes, MAX_CLASSES))
    ]
    return torch.cat(rows).cpu()


def interpolate(model: GenerativeModel, seed: int) -> Tensor:
    """Images along great circles between latents, row by row; a conditional model's have one class.

    A straight line between two Gaussian draws passes through latents far shorter than either; on
    the great circle (White 2016, arXiv 1609.04468) the length goes evenly from one to the other.

    Returns:
        (INTERPOLATIONS * INTERPOLATION_STEPS, C, H, W) in [0, 1].
    """
    rng = generator(seed, "interpolations")
    labels = model.labels_or_cycle(INTERPOLATIONS, None)
    ends = None if labels is None else labels.repeat(2)
    z = model.sample_latent(2 * INTERPOLATIONS, rng, ends)
    begin, end = (part.unsqueeze(1) for part in z.chunk(2))
    share = torch.linspace(0, 1, INTERPOLATION_STEPS, device=z.device).reshape(1, -1, 1)
    along = None if labels is None else labels.repeat_interleave(INTERPOLATION_STEPS)
    return model.decode(great_circle(begin, end, share).flatten(0, 1), along).cpu()


def great_circle(begin: Tensor, end: Tensor, share: Tensor) -> Tensor:
    """Points between two vectors: the direction turns evenly, the length changes evenly.

    Args:
        begin: (..., 1, d).
        end: (..., 1, d).
        share: (..., T, 1) in [0, 1].

    Returns:
        (..., T, d). Nearly opposite vectors, which many great circles join (in one dimension none
        does), are joined by a straight line.
    """
    first, last = (vector.norm(dim=-1, keepdim=True) for vector in (begin, end))
    a, b = begin / first, end / last
    cosine = (a * b).sum(-1, keepdim=True)
    angle = torch.arccos(cosine.clamp(-0.999, 0.999))
    turned = (torch.sin((1 - share) * angle) * a + torch.sin(share * angle) * b) / angle.sin()
    curved = turned * torch.lerp(first, last, share)
    return torch.where(cosine.abs() < 0.999, curved, torch.lerp(begin, end, share))


def draw_training(name: str, seed: int, folder: Path) -> None:
    """Draws the samples of fixed latents that the training kept on its way."""
    path = paths.TRAIN / name / str(seed) / "snapshots.pt"
    try:
        kept = checkpoint.load(path)
    except ValueError as error:
        raise UserError(f"{error}; `{MADE_BY} train@{name}` makes it anew") from None
    for step, images in kept["snapshots"].items():
        grid = pictures.image_grid(images.float() / 255, GRID_COLUMNS)
        pictures.save_png(grid, folder / f"step_{step:06d}.png")


def summarise(records: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Mean, standard deviation (ddof 1) and count over seeds of each value.

    Args:
        records: The records of each seed, in the same order for all.

    Returns:
        By value name; a value that no seed has keeps the first reason.
    """
    summary: dict[str, dict[str, Any]] = {}
    for same in zip(*records.values(), strict=True):
        values = [record["value"] for record in same if record["value"] is not None]
        entry: dict[str, Any] = {
            "mean": statistics.fmean(values) if values else None,
            "std": statistics.stdev(values) if len(values) > 1 else None,
            "n": len(values),
        }
        if not values:
            entry["reason"] = same[0]["reason"]
        summary[same[0]["name"]] = entry
    return summary


def evaluate_model(name: str, settings: Params) -> None:
    """Measures all seeds of a model.

    Raises:
        UserError: A seed was not trained, or a worker was killed.
    """
    device = workers.choose_device(settings.train.device)
    results: dict[str, Any] = {}
    count = len(settings.evaluate.metrics)
    with Progress(f"evaluate {name}", settings.seeds, count, "metric") as bars:
        started = dict.fromkeys(settings.seeds, 0)

        def handle(seed: int, message: Any) -> None:
            if isinstance(message, str):
                bars.update(seed, started[seed], metric=message)
                started[seed] += 1
            else:
                results[str(seed)] = message
                bars.finish(seed)

        with files.new_folder(paths.EVALUATE / name) as folder:
            job = functools.partial(evaluate_seed, name, settings, device, folder)
            threads = settings.train.threads
            workers.run(job, settings.seeds, device=device, threads=threads, handle=handle)
            ordered = {str(seed): results[str(seed)] for seed in settings.seeds}
            first = next(iter(ordered.values()))
            who = {"model": name, "kind": settings.models[name]["kind"], "family": first["family"]}
            records = {seed: result["records"] for seed, result in ordered.items()}
            files.write_json(folder / "records.json", {**who, "seeds": records})
    metrics = {"cost": first["cost"], "metrics": summarise(records)}
    files.write_json(paths.METRICS / f"{name}.json", {**who, "seeds": settings.seeds, **metrics})
    timing = {seed: {"seconds": result["seconds"]} for seed, result in ordered.items()}
    files.write_json(paths.TIMING / "evaluate" / f"{name}.json", timing)


@exit_on_user_error
def main() -> None:
    """Runs the stage for one model."""
    parser = argparse.ArgumentParser(prog="python -m pipelines.evaluate", description=__doc__)
    parser.add_argument("model", help="a key of models: in params.yaml")
    name = parser.parse_args().model
    settings = params.load()
    settings.require_model(name)
    evaluate_model(name, settings)


if __name__ == "__main__":
    main()

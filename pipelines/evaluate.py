"""Stage `evaluate`: one model, all its seeds, measured on the test split, with pictures.

`python -m pipelines.evaluate vae` judges what `outputs/train/vae/` holds. Writes
`outputs/evaluate/<model>/` (records.json and per seed samples.png, nearest.png, interpolations.png,
training/step_*.png and, of a model that is capable of it, classes.png, reconstructions.png and what
`pipelines.pictures.latents` draws), the summary over seeds `reports/metrics/<model>.json` and
`outputs/timing/evaluate/<model>.json`.
"""

import argparse
import functools
import importlib
import time
from pathlib import Path
from typing import Any

from evaluation.measuring.context import Seeds
from evaluation.measuring.records import summarise
from evaluation.plan import as_text, plan
from evaluation.runner import Settings, evaluate
from genmodels.base.model import GenerativeModel, Images
from genmodels.training import cost
from pipelines.data import splits
from pipelines.data.extractors import load_extracted, real_images
from pipelines.pictures import latents, model_pictures
from pipelines.settings import files, params, paths
from pipelines.settings.errors import exit_on_user_error
from pipelines.settings.params import Params
from pipelines.training import workers
from pipelines.training.progress import Progress
from pipelines.training.weights import MADE_BY, read_model


def load_model(name: str, seed: int, device: str = "cpu") -> GenerativeModel:
    """A trained model, in evaluation mode, from `outputs/train/`.

    Raises:
        UserError: It was not trained, or the file is damaged.
    """
    return read_model(paths.TRAIN / name / str(seed), f"{MADE_BY} train@{name}", device)


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
    extracted = load_extracted(settings.features)
    data = {split: splits.load_split(split) for split in splits.SPLITS}
    real = {k: real_images(k, split, extracted) for k, split in data.items()}
    evaluation = evaluate(
        model,
        settings.evaluate.metrics,
        reference=real["test"],
        train=real["train"],
        valid=real["valid"],
        extractors=extracted.extractors,
        replicas=extracted.replicas,
        settings=_settings(settings, seed),
        progress=send,
    )
    assert evaluation.samples is not None  # every kind samples
    shown = evaluation.samples[: settings.evaluate.grid_images]
    model_pictures.draw(
        model, shown, data["test"], settings.evaluate.sample_seed, folder / str(seed)
    )
    if evaluation.samples.isfinite().all():
        nearest = folder / str(seed) / "nearest.png"
        model_pictures.draw_nearest(evaluation.samples, data["train"].images, nearest)
    judged = real["test"].first(settings.evaluate.max_samples)
    tested = Images(judged.images, judged.labels)
    latents.draw(model, tested, settings.evaluate.sample_seed, folder / str(seed))
    training = paths.TRAIN / name / str(seed)
    model_pictures.draw_training(training, folder / str(seed) / "training")
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


def _settings(settings: Params, seed: int) -> Settings:
    chosen = settings.evaluate
    seeds = Seeds(seed, chosen.sample_seed, chosen.metric_seed)
    return Settings(seeds, chosen.max_samples, chosen.sample_sets)


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


def planned(name: str, settings: Params) -> str:
    """What `evaluate_model` would compute, as a table."""
    model = load_model(name, settings.seeds[0])
    chosen = _settings(settings, settings.seeds[0])
    found = plan(
        model, settings.evaluate.metrics, load_extracted(settings.features).extractors, chosen
    )
    n = min(len(splits.load_split("test").images), settings.evaluate.max_samples)
    seeds = ", ".join(map(str, settings.seeds))
    return f"{as_text(found)}\n{n:,} images on each side, training seeds {seeds}"


EPILOG = """\
examples:
  python -m pipelines.evaluate vae --dry-run
  python -m pipelines.evaluate --images samples/ --reference test
  python -m pipelines.evaluate --images samples/ --reference photos/ --metric fid c2st_pixel

Folders are scored as they are: 8-bit grey or RGB pictures of one size, on both sides the same
number of them. The pipeline's classifier knows the prepared data only, so it judges with a prepared
split as the reference; the Inception network, if features.extractors has it, with any.
"""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.evaluate",
        description="Measures a model of params.yaml on the test split (this is the stage), or any "
        "folder of pictures.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", nargs="?", help="a key of models: in params.yaml")
    parser.add_argument("--images", metavar="DIR", help="score the pictures of this folder instead")
    parser.add_argument(
        "--reference",
        metavar="DIR|SPLIT|NPZ",
        default="test",
        help="real pictures: a folder, or train, valid or test of the prepared data (test), or a "
        "file of mu and sigma, the Inception statistics that other packages publish",
    )
    parser.add_argument(
        "--train",
        metavar="DIR|SPLIT",
        help="what copies would be copies of; by default the train split beside valid or test",
    )
    parser.add_argument(
        "--metric", nargs="+", default=[], metavar="NAME", help="files of evaluation/metrics/"
    )
    parser.add_argument(
        "--max-samples", type=int, default=10_000, metavar="N", help="on each side at most (10000)"
    )
    parser.add_argument("--out", metavar="FILE.json", help="write the records there, too")
    parser.add_argument(
        "--dry-run", action="store_true", help="list what would be computed and what it needs"
    )
    given = parser.parse_args(arguments)
    if (given.model is None) == (given.images is None):
        parser.error("name a model, or a folder with --images; not both")
    shared = ("model", "images", "dry_run")
    used = [
        f"--{name.replace('_', '-')}"
        for name, value in vars(given).items()
        if name not in shared and value != parser.get_default(name)
    ]
    if given.model is not None and used:
        parser.error(f"{', '.join(used)}: only with --images; params.yaml decides of a model")
    if given.reference.endswith(".npz") and (given.dry_run or given.metric or given.train):
        parser.error("--reference: statistics give fid_inception and nothing else")
    if given.max_samples < 2:
        parser.error(f"--max-samples: {given.max_samples}, but a set has at least 2 images")
    return given


@exit_on_user_error
def main() -> None:
    """Runs the stage for one model, or scores a folder."""
    given = parse()
    settings = params.load()
    if given.model is None:
        # By name: what scores folders decides nothing of the stage.
        importlib.import_module("pipelines.score").main(given, settings)
        return
    settings.require_model(given.model)
    if given.dry_run:
        print(planned(given.model, settings))
    else:
        evaluate_model(given.model, settings)


if __name__ == "__main__":
    main()

"""Stage `evaluate`: metrics and pictures of one model on the test split, for all its seeds.

`genmodels evaluate vae` evaluates the models in `outputs/train/vae/`.

Writes `outputs/evaluate/<model>/` (records.json and, for each seed, samples.png, nearest.png,
interpolations.png, training/step_*.png and, if the model supports it, classes.png,
reconstructions.png and the files of `pipelines.pictures.latents`), the summary over seeds
`reports/metrics/<model>.json` and `outputs/timing/evaluate/<model>.json`.
"""

import functools
from pathlib import Path

from evaluation.measuring.records import summarise
from evaluation.plan import as_text, plan
from evaluation.runner import Evaluation
from genmodels.base.model import GenerativeModel, Images
from pipelines.data import splits
from pipelines.data.extractors import load_extracted
from pipelines.data.prepared import Prepared, Real
from pipelines.data.splits import Split
from pipelines.pictures import latents, model_pictures
from pipelines.settings import command_line, files, paths, resolving
from pipelines.settings.errors import exit_on_user_error
from pipelines.settings.resolved import EvaluateSettings
from pipelines.settings.sections import Evaluate
from pipelines.training import workers
from pipelines.training.measuring import MeasuringJob, measure_all, settings_of
from pipelines.training.weights import MADE_BY, read_model


def draw(
    section: Evaluate,
    training: Path,
    folder: Path,
    model: GenerativeModel,
    evaluation: Evaluation,
    real: Real,
) -> None:
    """Draws the pictures of one seed, whose training has the output folder `training`."""
    assert evaluation.samples is not None  # every kind samples
    test = Split(real.reference.images, real.reference.labels)
    shown = evaluation.samples[: section.grid_images]
    model_pictures.draw(model, shown, test, section.sample_seed, folder)
    if evaluation.samples.isfinite().all():
        nearest = folder / "nearest.png"
        model_pictures.draw_nearest(evaluation.samples, real.train.images, nearest)
    judged = real.reference.first(section.max_samples)
    latents.draw(model, Images(judged.images, judged.labels), section.sample_seed, folder)
    model_pictures.draw_training(training, folder / "training")


def evaluate_model(settings: EvaluateSettings) -> None:
    """Measures all seeds of a model.

    Raises:
        UserError: A seed has not been trained, or a worker was killed.
    """
    name, section = settings.model, settings.evaluate
    device = workers.choose_device(settings.device)
    with files.new_folder(paths.EVALUATE / name) as folder:
        jobs = [
            MeasuringJob(
                model=name,
                seed=seed,
                folder=(training := paths.TRAIN / name / str(seed)),
                made_by=f"{MADE_BY} train@{name}",
                data=Prepared.of_pipeline(settings.features),
                settings=section,
                draw=functools.partial(draw, section, training, folder / str(seed)),
            )
            for seed in settings.seeds
        ]
        results = measure_all("evaluate", jobs, device, settings.threads)
        by_seed = {str(s): result for s, result in zip(settings.seeds, results, strict=True)}
        card = {"model": name, "kind": results[0].kind, "family": results[0].family}
        records = {seed: result.records for seed, result in by_seed.items()}
        files.write_json(folder / "records.json", {**card, "seeds": records})
    summary = {"cost": results[0].cost, "metrics": summarise(records)}
    files.write_json(paths.METRICS / f"{name}.json", {**card, "seeds": settings.seeds, **summary})
    timing = {seed: {"seconds": result.seconds} for seed, result in by_seed.items()}
    files.write_json(paths.TIMING / "evaluate" / f"{name}.json", timing)


def planned(settings: EvaluateSettings) -> str:
    """The metrics that `evaluate_model` would compute, as a table."""
    name, seeds = settings.model, settings.seeds
    model = read_model(paths.TRAIN / name / str(seeds[0]), f"{MADE_BY} train@{name}")
    extractors = load_extracted(settings.features).extractors
    run_settings = settings_of(settings.evaluate, seeds[0])
    rows = plan(model, settings.evaluate.metrics, extractors, run_settings)
    n = min(len(splits.load_split("test").images), settings.evaluate.max_samples)
    training_seeds = ", ".join(map(str, seeds))
    return f"{as_text(rows)}\n{n:,} images on each side, training seeds {training_seeds}"


EXAMPLES = """\
examples:
  genmodels evaluate vae
  genmodels evaluate vae --dry-run
"""


@exit_on_user_error
def main() -> None:
    """Runs the stage for one model."""
    parser = command_line.parser("evaluate", __doc__, EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help=command_line.MODEL)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="list the metrics and what each needs, and compute nothing",
    )
    options = parser.parse_args()
    settings = resolving.load(EvaluateSettings, options.model)
    if options.dry_run:
        print(planned(settings))
    else:
        evaluate_model(settings)


if __name__ == "__main__":
    main()

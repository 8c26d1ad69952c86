"""All presets side by side.

Trains and measures every entry of `models:` with three seeds or more on the prepared data, which
takes hours, and takes from the pipeline what that has trained with the same settings and the same
code. What is finished is not done again. The models stay in `outputs/studies/presets/`; writes
`reports/presets.md` and `reports/presets.png`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw

from evaluation.comparing.value_text import count, number
from evaluation.figures import grids
from genmodels.base.seeding import generator
from pipelines import studies
from pipelines import study_pages as pages
from pipelines.data import splits
from pipelines.data.extractors import load_extracted
from pipelines.data.prepared import Prepared
from pipelines.settings import command_line, files, params, paths
from pipelines.settings.code_version import training_version
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.params import Params
from pipelines.studies import Job
from pipelines.study_measures import Measures
from pipelines.training import fingerprint
from pipelines.training.weights import WEIGHTS, read_model

SEEDS = [0, 1, 2]
#: Files of evaluation/metrics/: how the samples are, and how likely the test images.
SAMPLES = ("fid", "kid", "inception_score")
LIKELIHOOD = ("rate", "distortion", "elbo")
#: The sheet: samples of a seed, and presets in a row of it.
SEED_SAMPLES, SHEET_COLUMNS = 10, 3
MARGIN, LABEL = 8, 14

Results = Mapping[str, Mapping[int, Mapping[str, Any]]]


def jobs(settings: Params, names: Sequence[str], seeds: Sequence[int]) -> list[Job]:
    """What is to be trained, or taken, and measured.

    Raises:
        UserError: A name is no preset, or `prepare` or `features` has not run.
    """
    for name in names:
        settings.require_model(name)
    measures = Measures.of_pipeline([*SAMPLES, *LIKELIHOOD], settings.evaluate)
    data = Prepared(paths.PREPARE, paths.FEATURES, settings.features)
    return [
        Job(
            study="presets",
            row=name,
            seed=seed,
            entry=settings.models[name],
            train=settings.train,
            data=data,
            measures=measures,
            code=training_version(settings.models[name]["kind"]),
            taken=trained_by_pipeline(name, seed),
        )
        for name in names
        for seed in seeds
    ]


def trained_by_pipeline(name: str, seed: int) -> Path | None:
    """The pipeline's training of a preset, if settings, data and code are still those it had."""
    folder = paths.TRAIN / name / str(seed)
    if not (folder / WEIGHTS).is_file():
        return None
    try:
        same = fingerprint.from_lock(name, seed) == fingerprint.from_files(name, seed)
    except UserError:  # the pipeline has not trained this one
        return None
    return folder if same else None


def page(results: Results, settings: Params) -> str:
    """The page.

    Args:
        results: By preset and seed.
        settings: All of params.yaml.
    """
    parts = [
        "# All presets\n",
        _protocol(results, settings),
        "## Samples\n",
        _samples(results, settings),
        "![A row of samples of each seed of each preset](presets.png)\n",
        "A row a training seed, not picked, from the same sampling seed for every preset.\n",
        *_likelihoods(results, settings),
        "## Cost\n",
        _cost(results),
        "Multiply-adds are counted, of one sample and of one training image. Speed and CPU-seconds "
        "are means over the seeds, of one thread each on the machine that made this page; they "
        "depend on the machine and on what else ran on it.\n",
    ]
    if stale := _stale(results, settings):
        parts.append(f"Made with other code than the present one: {', '.join(stale)}.\n")
    return "\n".join(parts)


def _protocol(results: Results, settings: Params) -> str:
    manifest = splits.load_manifest()
    card = load_extracted(settings.features).cards.get("classifier", {"extractor": None})
    counts = {name: part["count"] for name, part in manifest["splits"].items()}
    n = min(counts["test"], settings.evaluate.max_samples)
    seeds = ", ".join(map(str, dict.fromkeys(s for row in results.values() for s in row)))
    text = (
        f"Data: {manifest['dataset']}, {counts['train']:,} training and {counts['valid']:,} "
        f"validation images. Measured on {n:,} images of the test split and as many samples. "
        f"Mean ± standard deviation over the training seeds {seeds}."
    )
    if card["extractor"] is None:
        return f"{text} Without labels there is no extractor and no value of the samples.\n"
    accuracy = card["accuracy"]["test"]
    return (
        f"{text} Extractor of fid_classifier, kid_classifier and is_classifier: a classifier "
        f"trained on the train split, test accuracy {accuracy:.3f}. Its values are comparable "
        "neither with published ones nor across data sets.\n"
    )


def _mean(results: Results, row: str, name: str) -> float | None:
    return pages.cell(pages.values(results[row], name)).mean


def _kind(settings: Params, row: str) -> str:
    return str(settings.models[row]["kind"])


def _samples(results: Results, settings: Params) -> str:
    names = ["fid_classifier", "kid_classifier", "is_classifier"]
    cells = pages.columns(results, names)
    means = {row: _mean(results, row, names[0]) for row in results}
    ranked = sorted(results, key=lambda row: (means[row] is None, means[row]))
    worst = {row: max(pages.values(results[row], names[0]), default=None) for row in results}
    lines = [
        [pages.code(row), _kind(settings, row), *cells[row], number(worst[row], 2)]
        for row in ranked
    ]
    header = ["preset", "kind", f"{names[0]} ↓", f"{names[1]} ↓", f"{names[2]} ↑"]
    return pages.table([*header, f"{names[0]} of the worst seed"], lines, left=2)


def _likelihoods(results: Results, settings: Params) -> list[str]:
    """A table for each likelihood: those of different things are not compared."""
    observed: dict[str, list[str]] = {}
    for row, seeds in results.items():
        observation = next(iter(seeds.values()))["observation"]
        if observation and _mean(results, row, "rate") is not None:
            given = ", given their classes" if settings.models[row].get("conditional") else ""
            observed.setdefault(f"{observation.replace('_', ' ')} images{given}", []).append(row)
    parts = []
    for images, rows in observed.items():
        cells = pages.columns({row: results[row] for row in rows}, LIKELIHOOD)
        means = {row: _mean(results, row, "elbo") for row in rows}
        ranked = sorted(rows, key=lambda row: -(means[row] or -torch.inf))
        lines = [[pages.code(row), _kind(settings, row), *cells[row]] for row in ranked]
        parts.append(f"## Likelihood of {images}\n")
        parts.append(pages.table(["preset", "kind", "rate", "distortion ↓", "elbo ↑"], lines))
    if parts:
        parts.append(
            "Nats per image, from one draw of the latent. Values of two tables do not compare.\n"
        )
    return parts


def _cost(results: Results) -> str:
    lines = []
    for row, seeds in results.items():
        cost = next(iter(seeds.values()))["cost"]
        counted = [
            count(cost[key])
            for key in ("num_parameters", "multiply_adds_sample", "multiply_adds_train")
        ]
        timed = [
            number(pages.average_timing(seeds, key), 0)
            for key in ("images_per_second", "cpu_seconds")
        ]
        lines.append([pages.code(row), *counted, *timed])
    header = ["preset", "parameters", "per sample", "per training image", "images/s", "CPU-seconds"]
    return pages.table(header, lines)


def _stale(results: Results, settings: Params) -> list[str]:
    return [
        f"{pages.code(row)} seed {seed}"
        for row, seeds in results.items()
        for seed, result in seeds.items()
        if result["code"] != training_version(_kind(settings, row))
    ]


def sheet(todo: Sequence[Job]) -> Image.Image:
    """Samples of each preset under its name, a row a seed.

    Args:
        todo: Finished jobs.
    """
    presets: dict[str, list[Job]] = {}
    for job in todo:
        presets.setdefault(job.row, []).append(job)
    blocks = [_block(name, seeds) for name, seeds in presets.items()]
    width = max(block.width for block in blocks) + MARGIN
    height = max(block.height for block in blocks) + MARGIN
    columns = min(SHEET_COLUMNS, len(blocks))
    rows = -(-len(blocks) // columns)
    mode = "RGB" if any(block.mode == "RGB" for block in blocks) else "L"
    picture = Image.new(mode, (columns * width + MARGIN, rows * height + MARGIN), "white")
    for index, block in enumerate(blocks):
        row, column = divmod(index, columns)
        picture.paste(block, (MARGIN + column * width, MARGIN + row * height))
    return picture


def _block(name: str, seeds: Sequence[Job]) -> Image.Image:
    samples = torch.cat([_drawn(job) for job in seeds])
    grid = grids.image_grid(samples, SEED_SAMPLES, scale=1)
    block = Image.new(grid.mode, (grid.width, grid.height + LABEL), "white")
    ImageDraw.Draw(block).text((0, 0), name, fill="black")
    block.paste(grid, (0, LABEL))
    return block


def _drawn(job: Job) -> torch.Tensor:
    model = read_model(job.folder, "python -m pipelines.presets --force")
    return model.sample(SEED_SAMPLES, generator(job.measures.sample_seed, "presets"))


@exit_on_user_error
def main(arguments: Sequence[str] | None = None) -> None:
    """Trains, measures and writes the page."""
    parser = command_line.parser("presets", __doc__)
    parser.add_argument("model", nargs="*", help="keys of models:; by default all of them")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="training seeds")
    studies.add_options(parser)
    given = parser.parse_args(arguments)
    settings = params.load()
    todo = jobs(settings, given.model or list(settings.models), list(dict.fromkeys(given.seeds)))
    results = studies.run(todo, force=given.force, at_once=given.jobs)
    files.write_text(paths.PRESETS, page(results, settings))
    grids.save_png(sheet(todo), paths.PRESETS_PICTURE)
    print(f"reports/{paths.PRESETS.name}: {len(results)} presets")


if __name__ == "__main__":
    main()

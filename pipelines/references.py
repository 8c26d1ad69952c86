"""Stage `references`: metrics of image sets of known quality, for comparison with the models.

Writes `outputs/references/`: `rows.json` (the records of each row of `comparing.reference_rows` and
the expected Frechet distance between two sets of real images) and `<row>.png` (the first images of
a row); and `outputs/timing/references.json` (seconds per row).
"""

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation.comparing import reference_rows
from evaluation.figures import grids
from evaluation.measuring.context import Seeds
from evaluation.measuring.extractors import MissingExtractor
from evaluation.measuring.moments import covariance, frechet_floor
from evaluation.measuring.real_images import RealImages
from evaluation.measuring.records import UnavailableError
from evaluation.runner import Settings, evaluate_images, metrics_of_images
from pipelines.data import splits
from pipelines.data.extractors import Extracted, load_extracted, real_images
from pipelines.settings import command_line, files, paths, resolving
from pipelines.settings.errors import exit_on_user_error
from pipelines.settings.resolved import ReferencesSettings
from pipelines.training import workers
from pipelines.training.progress import Progress

SHOWN = 8


def measure_row(settings: ReferencesSettings, folder: Path, row: str, send: workers.Send) -> None:
    """Measures one row in a worker process and draws its first images.

    Args:
        settings: The settings of the stage.
        folder: The new output folder.
        row: A key of `reference_rows.ROWS`.
        send: Receives the name of each metric when it starts, and at the end the entry of
            rows.json with the seconds.
    """
    start = time.monotonic()
    extracted, real = _real(settings)
    num = min(len(real["test"].images), settings.evaluate.max_samples)
    seed = settings.evaluate.sample_seed
    sources = reference_rows.Sources(real["valid"], real["train"], num)
    try:
        images, labels = reference_rows.make(row, sources, seed)
    except UnavailableError as error:
        send(({"records": {}, "reason": str(error)}, time.monotonic() - start))
        return
    evaluation = evaluate_images(
        images,
        metrics_of_images(settings.evaluate.metrics, labelled=True),
        labels=labels,
        reference=real["test"],
        train=real["train"],
        valid=real["valid"],
        extractors=extracted.extractors,
        replicas=extracted.replicas,
        settings=Settings(
            Seeds(train=None, sample=seed, metric=settings.evaluate.metric_seed), num
        ),
        progress=send,
    )
    grids.save_png(grids.image_grid(images[:SHOWN], SHOWN), folder / f"{row}.png")
    records = {record.name: record.to_dict() for record in evaluation.records}
    send(({"records": records, "reason": None}, time.monotonic() - start))


def expected_floor(extracted: Extracted, test: RealImages, num: int) -> dict[str, float | None]:
    """The expected Frechet distance between two sets of `num` real images, by extractor."""
    return {
        f"fid_{extractor.name}": None
        if isinstance(extractor, MissingExtractor) or num < 2
        else frechet_floor(covariance(test.features[extractor.sha256]), num, num)
        for extractor in extracted.extractors
    }


def make(settings: ReferencesSettings) -> Mapping[str, Mapping[str, Any]]:
    """Measures all rows, as many in parallel as there are cores, and writes the output folder.

    Returns:
        For each row its `records`, and the `reason` if the data cannot provide the row.
    """
    extracted, real = _real(settings)
    results: dict[str, dict[str, Any]] = {}
    seconds: dict[str, float] = {}
    rows = list(reference_rows.ROWS)
    metrics = metrics_of_images(settings.evaluate.metrics, labelled=True)
    counts = dict.fromkeys(rows, len(metrics))
    with (
        files.new_folder(paths.REFERENCES) as folder,
        Progress("references", counts, "metric", label=str) as progress,
    ):

        def handle(row: str, message: str | tuple[dict[str, Any], float]) -> None:
            if isinstance(message, str):
                progress.update(row, metrics.index(message), metric=message)
            else:
                results[row], seconds[row] = message
                progress.finish(row)

        workers.run(
            functools.partial(measure_row, settings, folder),
            rows,
            device="cpu",
            threads=settings.threads,
            handle=handle,
            label="reference row {}".format,
        )
        ordered = {row: results[row] for row in rows}
        num = min(len(real["test"].images), settings.evaluate.max_samples)
        floor = expected_floor(extracted, real["test"], num)
        content = {"rows": ordered, "expected_floor": floor, "num": num}
        files.write_json(folder / "rows.json", content)
    files.write_json(paths.TIMING / "references.json", {row: seconds[row] for row in rows})
    return ordered


def _real(settings: ReferencesSettings) -> tuple[Extracted, dict[str, RealImages]]:
    extracted = load_extracted(settings.features)
    real = {name: real_images(name, splits.load_split(name), extracted) for name in splits.SPLITS}
    return extracted, real


@exit_on_user_error
def main() -> None:
    """Runs the stage."""
    command_line.parser("references", __doc__).parse_args()
    rows = make(resolving.load(ReferencesSettings))
    for row, result in rows.items():
        if result["reason"]:
            print(f"references: no {row}: {result['reason'].replace('_', ' ')}")
    held_out = rows[reference_rows.FLOOR]["records"].get("fid_classifier")
    if held_out and held_out["value"] is not None:
        print(f"references: fid_classifier of held-out images {held_out['value']:.2f}")


if __name__ == "__main__":
    main()

"""Stage `references`: metrics of image sets of known quality, for comparison with the models.

Writes `outputs/references/`: `rows.json` (the records of each row of `comparing.reference_rows` and
the expected Frechet distance between two sets of real images) and `<row>.png` (the first images of
a row); and `outputs/timing/references.json` (seconds per row).
"""

import functools
import time
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
from pipelines.data.extractors import Extracted
from pipelines.data.prepared import Prepared
from pipelines.settings import command_line, files, paths, resolving
from pipelines.settings.errors import exit_on_user_error
from pipelines.settings.resolved import ReferencesSettings
from pipelines.training import workers
from pipelines.training.progress import Progress

SHOWN = 8


def measure_row(
    settings: ReferencesSettings, folder: Path, row: str, send: workers.Send
) -> tuple[dict[str, Any], float]:
    """Measures one row in a worker process, draws its first images and sends metrics as they start.

    Returns the entry of rows.json, and the seconds.
    """
    start = time.monotonic()
    data = Prepared.of_pipeline(settings.features)
    extracted = data.extracted()
    test, train, valid = data.real(extracted, "test")
    assert valid is not None  # the reference is another split
    num = min(len(test.images), settings.evaluate.max_samples)
    seed = settings.evaluate.sample_seed
    try:
        images, labels = reference_rows.make(row, reference_rows.Sources(valid, train, num), seed)
    except UnavailableError as error:
        return {"records": {}, "reason": str(error)}, time.monotonic() - start
    evaluation = evaluate_images(
        images,
        metrics_of_images(settings.evaluate.metrics, labelled=True),
        labels=labels,
        reference=test,
        train=train,
        valid=valid,
        extractors=extracted.extractors,
        replicas=extracted.replicas,
        settings=Settings(
            Seeds(train=None, sample=seed, metric=settings.evaluate.metric_seed), num
        ),
        progress=send,
    )
    grids.save_png(grids.image_grid(images[:SHOWN], SHOWN), folder / f"{row}.png")
    records = {record.name: record.to_dict() for record in evaluation.records}
    return {"records": records, "reason": None}, time.monotonic() - start


def expected_floor(extracted: Extracted, test: RealImages, num: int) -> dict[str, float | None]:
    """The expected Frechet distance between two sets of `num` real images, by extractor."""
    return {
        f"fid_{extractor.name}": None
        if isinstance(extractor, MissingExtractor) or num < 2
        else frechet_floor(covariance(test.features[extractor.sha256]), num, num)
        for extractor in extracted.extractors
    }


def make(settings: ReferencesSettings) -> dict[str, dict[str, Any]]:
    """Measures all rows, as many in parallel as there are cores, and writes the output folder.

    Returns for each row its `records`, and the `reason` if the data cannot provide the row.
    """
    data = Prepared.of_pipeline(settings.features)
    extracted = data.extracted()
    test = data.real(extracted, "test").reference
    names = list(reference_rows.ROWS)
    metrics = metrics_of_images(settings.evaluate.metrics, labelled=True)
    with (
        files.new_folder(paths.REFERENCES) as folder,
        Progress("references", dict.fromkeys(names, len(metrics)), "metric") as progress,
    ):

        def show(row: str, message: str | tuple[dict[str, Any], float]) -> None:
            if isinstance(message, str):
                progress.update(row, metrics.index(message), metric=message)
            else:
                progress.finish(row)

        results = workers.run(
            functools.partial(measure_row, settings, folder),
            names,
            device="cpu",
            threads=settings.threads,
            handle=show,
            label="reference row {}".format,
        )
        rows = {name: row for name, (row, _) in zip(names, results, strict=True)}
        num = min(len(test.images), settings.evaluate.max_samples)
        floor = expected_floor(extracted, test, num)
        content = {"rows": rows, "expected_floor": floor, "num": num}
        files.write_json(folder / "rows.json", content)
    seconds = {name: spent for name, (_, spent) in zip(names, results, strict=True)}
    files.write_json(paths.TIMING / "references.json", seconds)
    return rows


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

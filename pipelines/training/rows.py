"""Models beside the pipeline, trained and measured once: reproductions, retraining of a study.

Each model and seed has a folder: the files of a training, `trained.json` and `result.json`. A
training is repeated where its settings or its data have changed, a measurement also where its own
settings have. Where the code has changed, a result stays and holds the version of its code, unless
`code_counts`.
"""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipelines.data.prepared import Prepared
from pipelines.settings import files
from pipelines.settings.code_version import training_version
from pipelines.settings.sections import Evaluate, Train
from pipelines.training import fingerprint, workers
from pipelines.training.measuring import Measured, MeasuringJob, measure_all
from pipelines.training.one_run import Finished, Training, train_all

#: By model and seed the content of `result.json`.
SeedResults = dict[str, dict[int, dict[str, Any]]]


@dataclass(frozen=True)
class Rows:
    """Models that are compared with one another.

    Attributes:
        folder: Holds `<model>/<seed>/`.
        entries: By model its settings, complete; `where` is their file and key, for errors.
        split: The split to compare with: `valid` wherever the result chooses anything.
        may_diverge: Whether a loss that is not finite is a result instead of an error.
        code_counts: Whether a result of another version of the code is repeated.
    """

    title: str
    folder: Path
    entries: Mapping[str, dict[str, Any]]
    seeds: Sequence[int]
    train: Train
    data: Prepared
    evaluate: Evaluate
    where: str
    split: Literal["valid", "test"] = "test"
    may_diverge: bool = False
    code_counts: bool = False

    def results(self) -> SeedResults:
        """The results that are there, with these settings."""
        present: SeedResults = {model: {} for model in self.entries}
        for row in self._all():
            if (result := row.result()) is not None:
                present[row.training.model][row.training.seed] = result
        return present

    def run(self, *, force: bool = False, at_once: int | None = None) -> SeedResults:
        """Trains and measures what is missing and returns all results; `force` deletes them first.

        On a CPU there are at most `at_once` processes at once (default: the cores).

        Raises:
            UserError: A training failed. Finished results stay, and the rest resumes next time.
        """
        device, rows = workers.choose_device(self.train.device), self._all()
        if force:
            for row in rows:
                shutil.rmtree(row.training.folder, ignore_errors=True)
        missing = [row for row in rows if row.result() is None]
        if untrained := {row.training: row for row in missing if row.trained() is None}:

            def keep(training: Training, message: Any) -> None:
                if isinstance(message, Finished):
                    untrained[training].write_trained(message)

            train_all(self.title, list(untrained), device, keep, at_once)
        # A training that diverged has a result.
        if unmeasured := {row.measuring: row for row in missing if row.result() is None}:
            measure_all(
                f"evaluate {self.title}",
                list(unmeasured),
                device,
                self.train.threads,
                handle=lambda job, measured: unmeasured[job].write_measured(measured),
                at_once=at_once,
            )
        return self.results()

    def _all(self) -> "list[_SeedFiles]":
        kinds = {entry["kind"] for entry in self.entries.values()}
        versions = {kind: training_version(kind) for kind in kinds}
        content = self.data.content
        return [
            _SeedFiles(self, model, seed, versions[entry["kind"]], content)
            for model, entry in self.entries.items()
            for seed in self.seeds
        ]


class _SeedFiles:
    """One model with one seed: its training, its measurement, and the identity of their files."""

    def __init__(
        self, rows: Rows, model: str, seed: int, code: str, content: Mapping[str, Any]
    ) -> None:
        self.code, self.code_counts = code, rows.code_counts
        entry, folder = rows.entries[model], rows.folder / model / str(seed)
        self.trained_id = fingerprint.of_settings(entry, rows.train, content["splits"], seed)
        measured = {"evaluate": rows.evaluate.model_dump(), "data": content, "split": rows.split}
        self.result_id = fingerprint.digest({"training": self.trained_id, **measured})
        self.training = Training(
            model=model,
            entry=entry,
            seed=seed,
            train=rows.train,
            prepared=rows.data.folder,
            folder=folder,
            checkpoint=fingerprint.checkpoint(fingerprint.digest([self.trained_id, code])),
            where=f"{rows.where}.{model}",
            may_diverge=rows.may_diverge,
        )
        self.measuring = MeasuringJob(
            model=model,
            seed=seed,
            folder=folder,
            made_by="--force",
            data=rows.data,
            settings=rows.evaluate,
            split=rows.split,
        )

    def trained(self) -> dict[str, Any] | None:
        """The record of its training; None if there is none with these settings."""
        return self._read("trained.json", "training", self.trained_id)

    def result(self) -> dict[str, Any] | None:
        """Its result; None if there is none with these settings."""
        return self._read("result.json", "settings", self.result_id)

    def _read(self, file: str, key: str, identity: str) -> dict[str, Any] | None:
        try:
            content: Any = json.loads((self.training.folder / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):  # absent or damaged
            return None
        if not isinstance(content, dict) or content.get(key) != identity:
            return None
        is_current = content.get("code") == self.code
        return content if is_current or not self.code_counts else None

    def write_trained(self, end: Finished) -> None:
        """Records the end of its training; then the checkpoint is no longer needed."""
        if end.diverged is None:
            record = {"training": self.trained_id, "code": self.code, "timing": end.timing}
            files.write_json(self.training.folder / "trained.json", record)
        else:
            self._write_result({"code": self.code, "values": {}, "diverged": end.diverged})
        shutil.rmtree(self.training.checkpoint.parent, ignore_errors=True)

    def write_measured(self, measured: Measured) -> None:
        """Records its values and its cost."""
        trained = files.read_json(self.training.folder / "trained.json", "--force")
        self._write_result(
            {
                "code": trained["code"],
                "values": {record["name"]: record["value"] for record in measured.records},
                "family": measured.family,
                "cost": measured.cost,
                "timing": trained["timing"],
                "measuring": {"seconds": measured.seconds, "cpu_seconds": measured.cpu_seconds},
            }
        )

    def _write_result(self, content: Mapping[str, Any]) -> None:
        result = {"settings": self.result_id, **content}
        files.write_json(self.training.folder / "result.json", result)

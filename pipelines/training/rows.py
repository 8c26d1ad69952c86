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
from pipelines.settings import files, paths
from pipelines.settings.code_version import training_version
from pipelines.settings.sections import Evaluate, Train
from pipelines.training import fingerprint, workers
from pipelines.training.measuring import Measured, Measurement, measure_all
from pipelines.training.one_run import Started
from pipelines.training.one_run import Trained as Progressed
from pipelines.training.progress import Progress
from pipelines.training.seeds import Finished, Training, train_all

#: By model and seed what its `result.json` holds.
Results = dict[str, dict[int, dict[str, Any]]]


@dataclass(frozen=True)
class Rows:
    """Models that are compared with one another.

    Attributes:
        title: Their name in messages.
        folder: Holds `<model>/<seed>/`.
        entries: By model its settings, complete.
        seeds: The training seeds.
        train: Section `train`.
        data: The data to train and measure on.
        evaluate: Section `evaluate`.
        where: File and key of the entries, for errors.
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

    def results(self) -> Results:
        """The results that are there, with these settings."""
        present: Results = {model: {} for model in self.entries}
        for one in self._all():
            if (result := one.read("result.json", "settings", one.settings)) is not None:
                present[one.model][one.seed] = result
        return present

    def run(self, *, force: bool = False, at_once: int | None = None) -> Results:
        """Trains and measures what is missing.

        Args:
            force: Delete all results first.
            at_once: Largest number of processes on a CPU (default: the cores).

        Returns:
            All results.

        Raises:
            UserError: A training failed. Finished results stay, and the rest resumes next time.
        """
        device = workers.choose_device(self.train.device)
        rows = self._all()
        if force:
            for one in rows:
                shutil.rmtree(one.folder, ignore_errors=True)
        missing = [one for one in rows if not one.has_result]
        if untrained := [one for one in missing if not one.is_trained]:
            self._train(untrained, device, at_once)
        if unmeasured := [one for one in missing if not one.has_result]:
            self._measure(unmeasured, device, at_once)
        return self.results()

    def _all(self) -> "list[_Row]":
        versions = {
            kind: training_version(kind) for kind in {e["kind"] for e in self.entries.values()}
        }
        content = self.data.content
        return [
            _Row(self, model, seed, versions[entry["kind"]], content)
            for model, entry in self.entries.items()
            for seed in self.seeds
        ]

    def _train(self, rows: "list[_Row]", device: str, at_once: int | None) -> None:
        trainings = {row.as_training(): row for row in rows}
        steps = {training.label: training.entry["num_steps"] for training in trainings}
        with Progress(self.title, steps, label=str) as progress:

            def handle(training: Training, message: Any) -> None:
                if isinstance(message, Started):
                    progress.update(training.label, message.step)
                elif isinstance(message, Progressed):
                    progress.update(training.label, message.step, loss=f"{message.loss:.4g}")
                elif isinstance(message, Finished):
                    trainings[training].write_trained(message)
                    progress.finish(training.label)

            train_all(list(trainings), device, handle, at_once)

    def _measure(self, rows: "list[_Row]", device: str, at_once: int | None) -> None:
        models = {row.as_measurement(): row for row in rows}
        metrics = self.evaluate.metrics
        counts = dict.fromkeys([model.label for model in models], len(metrics))
        with Progress(f"evaluate {self.title}", counts, "metric", label=str) as progress:

            def handle(model: Measurement, message: Any) -> None:
                if isinstance(message, Measured):
                    models[model].write_result(message)
                    progress.finish(model.label)
                else:
                    progress.update(model.label, metrics.index(message), metric=message)

            measure_all(list(models), device, self.train.threads, handle, at_once)


class _Row:
    """One model with one seed, and what identifies its files."""

    def __init__(
        self, rows: Rows, model: str, seed: int, code: str, content: Mapping[str, Any]
    ) -> None:
        self.rows, self.model, self.seed, self.code = rows, model, seed, code
        self.folder = rows.folder / model / str(seed)
        self.entry = rows.entries[model]
        splits = {split: content["splits"][split] for split in ("train", "valid")}
        loop = rows.train.model_dump(exclude={"device", "threads"})
        self.training = fingerprint.digest(
            {"entry": self.entry, "seed": seed, "train": loop, "data": splits}
        )
        measured = {"evaluate": rows.evaluate.model_dump(), "data": content, "split": rows.split}
        self.settings = fingerprint.digest({"training": self.training, **measured})
        self.checkpoint = (
            paths.CHECKPOINTS / fingerprint.digest([self.training, code]) / "checkpoint.pt"
        )

    @property
    def has_result(self) -> bool:
        """Whether it has a result with these settings."""
        return self.read("result.json", "settings", self.settings) is not None

    @property
    def is_trained(self) -> bool:
        """Whether it has a model with these settings."""
        return self.read("trained.json", "training", self.training) is not None

    def read(self, file: str, key: str, identity: str) -> dict[str, Any] | None:
        """A file of its folder; None where it is absent, damaged or of other settings."""
        try:
            content: Any = json.loads((self.folder / file).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or content.get(key) != identity:
            return None
        is_current = content.get("code") == self.code
        return content if is_current or not self.rows.code_counts else None

    def as_training(self) -> Training:
        """Its training."""
        rows = self.rows
        return Training(
            model=self.model,
            entry=self.entry,
            seed=self.seed,
            train=rows.train,
            prepared=rows.data.folder,
            folder=self.folder,
            checkpoint=self.checkpoint,
            where=f"{rows.where}.{self.model}",
            may_diverge=rows.may_diverge,
        )

    def write_trained(self, end: Finished) -> None:
        """Records the end of its training; then the checkpoint is no longer needed."""
        if end.diverged is None:
            record = {"training": self.training, "code": self.code, "timing": end.timing}
            files.write_json(self.folder / "trained.json", record)
        else:
            self._write({"code": self.code, "values": {}, "diverged": end.diverged})
        shutil.rmtree(self.checkpoint.parent, ignore_errors=True)

    def as_measurement(self) -> Measurement:
        """Its measurement."""
        rows = self.rows
        return Measurement(
            model=self.model,
            seed=self.seed,
            folder=self.folder,
            made_by="--force",
            data=rows.data,
            settings=rows.evaluate,
            split=rows.split,
        )

    def write_result(self, measured: Measured) -> None:
        """Records its values and its cost."""
        trained = files.read_json(self.folder / "trained.json", "--force")
        seconds = {"seconds": measured.seconds, "cpu_seconds": measured.cpu_seconds}
        self._write(
            {
                "code": trained["code"],
                "values": {record["name"]: record["value"] for record in measured.records},
                "family": measured.family,
                "cost": measured.cost,
                "timing": trained["timing"],
                "measuring": seconds,
            }
        )

    def _write(self, content: Mapping[str, Any]) -> None:
        files.write_json(self.folder / "result.json", {"settings": self.settings, **content})

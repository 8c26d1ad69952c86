"""One run of the MLflow store: its content, and methods that add to it.

Every call can be repeated: points, params and tags that the run has are not written again.
"""

import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipelines.reporting.differing import flatten
from pipelines.settings.escape import mlflow_key
from pipelines.tracking import origin

T = TypeVar("T")

#: Name, value, step.
Point = tuple[str, float | None, int]

#: The last point of each row, so an epoch that has it is complete. Counts rounds of all phases.
ROW_MARK = "train/step"

# Limits of MLflow: metrics and params per call, characters per tag.
_MAX_METRICS, _MAX_PARAMS, _MAX_TAG = 1000, 100, 8000


@dataclass(frozen=True)
class Identity:
    """What a run trains.

    Attributes:
        model: Its key in `models:`.
        kind: The file that defines the variant.
        family: `vae` or `gan`.
        seed: The training seed.
        fingerprint: Of `pipelines.training.fingerprint`.
    """

    model: str
    kind: str
    family: str
    seed: int
    fingerprint: str

    @property
    def name(self) -> str:
        """The name of the run."""
        return f"{self.model}-s{self.seed}-{self.fingerprint[:8]}"

    def tags(self) -> dict[str, str]:
        """The fields as tags."""
        return {name: str(value) for name, value in vars(self).items()}


class Connection(Protocol):
    """The part of `pipelines.tracking.store.Store` that a run uses."""

    entities: Any

    def attempt(self, action: Callable[[Any], T], otherwise: T) -> T:
        """Returns `action(client)`, or `otherwise` if the store is off."""

    def files(self, address: str) -> dict[str, int]:
        """The size in bytes of each file below an address of artifacts, by relative path."""


class Run:
    """One run of the store. If the store is off, its methods do nothing.

    Attributes:
        name: Its name.
        tags: Its tags, with those that this object set.
        metrics: The last value of each metric, with those that this object logged.
    """

    def __init__(self, store: Connection, entity: Any) -> None:
        self._store = store
        self._entities = store.entities
        self.take(entity)

    def take(self, entity: Any) -> None:
        """Takes the content of a run that the store returned; None for no run."""
        self._id: str = entity.info.run_id if entity else ""
        self.name: str = entity.info.run_name if entity else ""
        self._artifacts: str = entity.info.artifact_uri if entity else ""
        self._status: str = entity.info.status if entity else ""
        self.tags: dict[str, str] = dict(entity.data.tags) if entity else {}
        self.metrics: dict[str, float] = dict(entity.data.metrics) if entity else {}
        self._params: set[str] = set(entity.data.params) if entity else set()
        self._logged: set[int] | None = None

    @property
    def id(self) -> str:
        """MLflow's id of the run; empty if the store is off."""
        return self._id

    @property
    def is_training(self) -> bool:
        """Whether another process that may be alive writes the run."""
        is_running = self._status == "RUNNING" and origin.may_live(self.tags)
        return is_running and not origin.is_mine(self.tags)

    def resume(self, tags: Mapping[str, str]) -> None:
        """Marks the run as running in this process."""
        if self._status != "RUNNING":
            self._attempt(lambda client: client.update_run(self._id, status="RUNNING"))
            self._status = "RUNNING"
        self.set_tags(tags)

    def finish(self, status: str) -> None:
        """Ends the run: `FINISHED`, `FAILED` or `KILLED`."""
        if self._status != status:
            self._attempt(lambda client: client.set_terminated(self._id, status))
            self._status = status

    def add_params(self, params: Mapping[str, Any]) -> None:
        """Logs the missing params; MLflow cannot change one."""
        named = {mlflow_key(key): value for key, value in flatten(params)}
        flat = {key: value for key, value in named.items() if key not in self._params}
        new = [self._entities.Param(key, value) for key, value in flat.items()]
        for chunk in _chunks(new, _MAX_PARAMS):
            self._attempt(functools.partial(_log, run_id=self._id, params=chunk))
        self._params |= set(flat)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets the tags that differ."""
        new = {k: v for k, v in cut_tags(tags).items() if self.tags.get(k) != v}
        changed = [self._entities.RunTag(key, value) for key, value in new.items()]
        for chunk in _chunks(changed, _MAX_PARAMS):
            self._attempt(functools.partial(_log, run_id=self._id, tags=chunk))
        self.tags |= new

    def logged_epochs(self) -> set[int]:
        """The epochs whose row is in the store; one query per run."""
        if self._logged is None:
            history: list[Any] = self._store.attempt(
                lambda client: (
                    client.get_metric_history(self._id, ROW_MARK)
                    if ROW_MARK in self.metrics
                    else []
                ),
                [],
            )
            self._logged = {point.step for point in history}
        return self._logged

    def log_rows(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Logs rows of a history: `epoch`, `step`, `<phase>/<key>` and `valid/<key>`.

        The axis counts epochs. Rows that the run has, missing values and non-finite values are left
        out; tag `non_finite` lists the curves with non-finite values.
        """
        logged = self.logged_epochs()
        new = {epoch: row for row in rows if (epoch := int(row["epoch"] or 0)) not in logged}
        self._log_points([_points(row, epoch) for epoch, row in new.items()])
        logged |= set(new)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Logs the final values that the run lacks or that differ from its last ones."""
        new = {key: value for key, value in metrics.items() if self.metrics.get(key) != value}
        self._log_points([[(key, value, 0)] for key, value in new.items()])
        self.metrics |= new

    def _log_points(self, rows: Sequence[Sequence[Point]]) -> None:
        now = int(time.time() * 1000)
        finite = [
            [
                self._entities.Metric(key, float(value), now, step)
                for key, value, step in row
                if value is not None and math.isfinite(value)
            ]
            for row in rows
        ]
        # Whole rows: after a lost connection the points of half a row would be written twice.
        for batch in _batches(finite, _MAX_METRICS):
            self._attempt(functools.partial(_log, run_id=self._id, metrics=batch))
        dropped = {
            key
            for row in rows
            for key, value, _ in row
            if value is not None and not math.isfinite(value)
        }
        if dropped:
            known = set(filter(None, self.tags.get("non_finite", "").split(",")))
            self.set_tags({"non_finite": ",".join(sorted(dropped | known))})

    def files(self) -> dict[str, int]:
        """The size in bytes of each artifact, by path."""
        return self._store.files(self._artifacts)

    def add_file(self, path: Path, folder: str | None = None) -> None:
        """Writes a file as an artifact; replaces one with the same name."""
        self._attempt(lambda client: client.log_artifact(self._id, str(path), folder))

    def add_text(self, text: str, name: str) -> None:
        """Writes a text as an artifact; replaces one with the same name."""
        self._attempt(lambda client: client.log_text(self._id, text, name))

    def add_image(self, path: Path, key: str, step: int) -> None:
        """Writes a picture for the image grid of the UI, which has a slider for the step."""
        from PIL import Image  # noqa: PLC0415

        with Image.open(path) as image:
            self._attempt(lambda client: client.log_image(self._id, image, key=key, step=step))

    def add_dataset(self, name: str, digest: str, source: str) -> None:
        """Adds the training data, unless the run has a data set."""
        data = self._entities.Dataset(name, digest, "local", json.dumps({"uri": source}))
        dataset = self._entities.DatasetInput(
            data, [self._entities.InputTag("mlflow.data.context", "training")]
        )

        def add(client: Any) -> None:
            if not client.get_run(self._id).inputs.dataset_inputs:
                client.log_inputs(self._id, [dataset])

        self._attempt(add)

    def _attempt(self, action: Callable[[Any], Any]) -> None:
        if self._id:
            self._store.attempt(action, None)


def cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags cut to the length that MLflow accepts."""
    return {key: value[:_MAX_TAG] for key, value in tags.items()}


def _log(client: Any, run_id: str, **batch: Any) -> None:
    client.log_batch(run_id, **batch)


def metric_name(column: str) -> str:
    """The MLflow name of a column of history.csv: phases get the prefix `train/`."""
    return mlflow_key(column if column.startswith("valid/") else f"train/{column}")


def _points(row: Mapping[str, float | None], epoch: int) -> list[Point]:
    named = {metric_name(key): value for key, value in row.items() if key != "epoch"}
    named[ROW_MARK] = named.pop(ROW_MARK)
    return [(key, value, epoch) for key, value in named.items()]


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _batches(rows: Iterable[Sequence[T]], size: int) -> Iterator[list[T]]:
    """Batches of whole rows, up to `size` points each; a longer row is split."""
    batch: list[T] = []
    for row in rows:
        if batch and len(batch) + len(row) > size:
            yield batch
            batch = []
        batch += row
        while len(batch) > size:
            yield batch[:size]
            batch = batch[size:]
    if batch:
        yield batch

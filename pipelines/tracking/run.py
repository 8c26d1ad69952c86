"""One run of the MLflow store: its content, and methods that add to it.

Every call can be repeated: points, params and tags that the run has are not written again.
"""

import functools
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pipelines.reporting.differing import flatten
from pipelines.settings.escape import mlflow_key
from pipelines.tracking import origin

if TYPE_CHECKING:
    from pipelines.tracking.store import Store

T = TypeVar("T")

#: The last point of each row, so an epoch that has it is complete. Counts rounds of all phases.
ROW_MARK = "train/step"

# Limits of MLflow: metrics and params per call, characters per tag.
_MAX_METRICS, _MAX_PARAMS, _MAX_TAG = 1000, 100, 8000
#: MLflow's classes of the entries of a batch.
_ENTITIES = {"metrics": "Metric", "params": "Param", "tags": "RunTag"}


@dataclass(frozen=True)
class Identity:
    """What a run trains: key in `models:`, file of the variant, `vae` or `gan`, training seed.

    `fingerprint` is that of `pipelines.training.fingerprint`.
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

    def params(self, settings: Mapping[str, Any], train: Mapping[str, Any]) -> dict[str, Any]:
        """The params of the run: the settings of the model and those that all models share."""
        return {**settings, "train": train, "seed": self.seed}


class Run:
    """One run of the store. If the store is off, its methods do nothing.

    Attributes:
        id: MLflow's id of the run; empty if the store is off.
        name: Its name.
        tags: Its tags, with those that this object set.
        metrics: The last value of each metric, with those that this object logged.
    """

    def __init__(self, store: "Store", entity: Any) -> None:
        self._store = store
        self.take(entity)

    def take(self, entity: Any) -> None:
        """Takes the content of a run that the store returned; None for no run."""
        self.id: str = entity.info.run_id if entity else ""
        self.name: str = entity.info.run_name if entity else ""
        self._artifacts: str = entity.info.artifact_uri if entity else ""
        self._status: str = entity.info.status if entity else ""
        self.tags: dict[str, str] = dict(entity.data.tags) if entity else {}
        self.metrics: dict[str, float] = dict(entity.data.metrics) if entity else {}
        self._params: set[str] = set(entity.data.params) if entity else set()
        self._logged: set[int] | None = None

    @property
    def is_training(self) -> bool:
        """Whether another process that may be alive writes the run."""
        is_running = self._status == "RUNNING" and origin.may_live(self.tags)
        return is_running and not origin.is_mine(self.tags)

    def resume(self, tags: Mapping[str, str]) -> None:
        """Marks the run as running in this process."""
        if self._status != "RUNNING":
            self._attempt(lambda client: client.update_run(self.id, status="RUNNING"))
            self._status = "RUNNING"
        self.set_tags(tags)

    def finish(self, status: str) -> None:
        """Ends the run: `FINISHED`, `FAILED` or `KILLED`."""
        if self._status != status:
            self._attempt(lambda client: client.set_terminated(self.id, status))
            self._status = status

    def add_params(self, params: Mapping[str, Any]) -> None:
        """Logs the missing params, which may be nested; MLflow cannot change one."""
        named = {mlflow_key(key): value for key, value in flatten(params)}
        new = [[item] for item in named.items() if item[0] not in self._params]
        self._log("params", new, _MAX_PARAMS)
        self._params |= set(named)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets the tags that differ."""
        new = {k: v for k, v in cut_tags(tags).items() if self.tags.get(k) != v}
        self._log("tags", [[item] for item in new.items()], _MAX_PARAMS)
        self.tags |= new

    def log_rows(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Logs rows of a history: `epoch`, `step`, `<phase>/<key>` and `valid/<key>`.

        The axis counts epochs. Rows that the run has, missing values and non-finite values are left
        out; tag `non_finite` lists the curves with non-finite values.
        """
        if self._logged is None:
            history: list[Any] = []
            if ROW_MARK in self.metrics:
                history = self._store.attempt(
                    lambda client: client.get_metric_history(self.id, ROW_MARK), []
                )
            self._logged = {point.step for point in history}
        new: dict[int, dict[str, float | None]] = {}
        for row in rows:
            epoch = int(row["epoch"] or 0)
            if epoch not in self._logged:
                named = {metric_name(key): value for key, value in row.items() if key != "epoch"}
                named[ROW_MARK] = named.pop(ROW_MARK)  # last
                new[epoch] = named
        self._log_points(new)
        self._logged |= set(new)

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Logs the final values that the run lacks or that differ from its last ones."""
        new = {key: value for key, value in metrics.items() if self.metrics.get(key) != value}
        self._log_points({0: new})
        self.metrics |= new

    def _log_points(self, rows: Mapping[int, Mapping[str, float | None]]) -> None:
        """Logs values by step and name."""
        now = int(time.time() * 1000)
        points = [
            [(key, float(value), now, step) for key, value in row.items() if value is not None]
            for step, row in rows.items()
        ]
        # Whole rows: after a lost connection the points of half a row would be written twice.
        finite = [[point for point in row if math.isfinite(point[1])] for row in points]
        self._log("metrics", finite, _MAX_METRICS)
        dropped = {key for row in points for key, value, *_ in row if not math.isfinite(value)}
        if dropped:
            known = set(filter(None, self.tags.get("non_finite", "").split(",")))
            self.set_tags({"non_finite": ",".join(sorted(dropped | known))})

    def _log(self, kind: str, rows: Iterable[list[tuple[Any, ...]]], size: int) -> None:
        """Logs entries of one kind in batches of at most `size`."""

        def log(client: Any, batch: list[tuple[Any, ...]]) -> None:
            entity = getattr(self._store.mlflow.entities, _ENTITIES[kind])
            client.log_batch(self.id, **{kind: [entity(*entry) for entry in batch]})

        for batch in _batches(rows, size):
            self._attempt(functools.partial(log, batch=batch))

    def files(self) -> dict[str, int]:
        """The size in bytes of each artifact, by path.

        The client would query the run and its logged models for each folder: 40 ms of CPU time a
        run instead of less than 1.
        """

        def walk(repository: Any, folder: str | None) -> Iterator[tuple[str, int]]:
            for item in repository.list_artifacts(folder):
                if item.is_dir:
                    yield from walk(repository, item.path)
                else:
                    yield item.path, item.file_size

        def open_and_walk(_: Any) -> dict[str, int]:
            from mlflow.store.artifact.artifact_repository_registry import (  # noqa: PLC0415
                get_artifact_repository,
            )

            return dict(walk(get_artifact_repository(self._artifacts, self._store.uri), None))

        return self._store.attempt(open_and_walk, {})

    def add_file(self, name: str, content: Path | str) -> None:
        """Writes an artifact, a file or a text; replaces one with the same name.

        Args:
            name: Path below the artifacts; its last part is the name of the file.
            content: The file to copy, or the text.
        """
        folder = name.rpartition("/")[0]
        if isinstance(content, str):
            self._attempt(lambda client: client.log_text(self.id, content, name))
        else:
            self._attempt(lambda client: client.log_artifact(self.id, str(content), folder or None))

    def add_image(self, path: Path, key: str, step: int) -> None:
        """Writes a picture for the image grid of the UI, which has a slider for the step."""
        from PIL import Image  # noqa: PLC0415

        with Image.open(path) as image:
            self._attempt(lambda client: client.log_image(self.id, image, key=key, step=step))

    def add_dataset(self, name: str, digest: str, source: str) -> None:
        """Adds the training data, unless the run has a data set."""

        def add(client: Any) -> None:
            entities = self._store.mlflow.entities
            data = entities.Dataset(name, digest, "local", json.dumps({"uri": source}))
            tag = entities.InputTag("mlflow.data.context", "training")
            if not client.get_run(self.id).inputs.dataset_inputs:
                client.log_inputs(self.id, [entities.DatasetInput(data, [tag])])

        self._attempt(add)

    def _attempt(self, action: Callable[[Any], Any]) -> None:
        if self.id:
            self._store.attempt(action, None)


def cut_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags cut to the length that MLflow accepts."""
    return {key: value[:_MAX_TAG] for key, value in tags.items()}


def metric_name(column: str) -> str:
    """The MLflow name of a column of history.csv: phases get the prefix `train/`."""
    return mlflow_key(column if column.startswith("valid/") else f"train/{column}")


def _batches(rows: Iterable[list[T]], size: int) -> Iterator[list[T]]:
    """Batches of whole rows, up to `size` entries each; a longer row is split."""
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

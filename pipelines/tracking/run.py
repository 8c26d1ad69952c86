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

#: By kind of entry: its class in MLflow, and MLflow's limit per call.
_KINDS = {"metrics": ("Metric", 1000), "params": ("Param", 100), "tags": ("RunTag", 100)}


@dataclass(frozen=True)
class Identity:
    """What a run trains; `family` is `vae` or `gan`, see `pipelines.training.fingerprint`."""

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
    """One run of the store. If the store is off, its `id` is empty and its methods do nothing.

    `tags` and `metrics` (the last values) contain those that this object wrote.
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

    def finish(self, status: str) -> None:
        """Ends the run: `FINISHED`, `FAILED` or `KILLED`."""
        if self._status != status:
            self._attempt(lambda client: client.set_terminated(self.id, status))
            self._status = status

    def add_params(self, params: Mapping[str, Any]) -> None:
        """Logs the missing params, which may be nested; MLflow cannot change one."""
        named = {mlflow_key(key): value for key, value in flatten(params)}
        new = [[item] for item in named.items() if item[0] not in self._params]
        self._log("params", new)
        self._params |= set(named)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Sets the tags that differ."""
        new = {k: v for k, v in tags.items() if self.tags.get(k) != v}
        self._log("tags", [[item] for item in new.items()])
        self.tags |= new

    def log_rows(self, rows: Iterable[Mapping[str, float | None]]) -> None:
        """Logs the new rows of a history (`epoch`, `step` and curves); the axis counts epochs.

        Non-finite values are left out; tag `non_finite` lists their curves.
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
        self._log("metrics", finite)
        dropped = {key for row in points for key, value, *_ in row if not math.isfinite(value)}
        if dropped:
            known = set(filter(None, self.tags.get("non_finite", "").split(",")))
            self.set_tags({"non_finite": ",".join(sorted(dropped | known))})

    def _log(self, kind: str, rows: Iterable[list[tuple[Any, ...]]]) -> None:
        name, size = _KINDS[kind]

        def log(client: Any, batch: list[tuple[Any, ...]]) -> None:
            entity = getattr(self._store.mlflow.entities, name)
            client.log_batch(self.id, **{kind: [entity(*entry) for entry in batch]})

        for batch in _batches(rows, size):
            self._attempt(functools.partial(log, batch=batch))

    def files(self) -> dict[str, int]:
        """The size in bytes of each artifact, by path."""

        # The client would query the run and its logged models for each folder: 40 ms of CPU time a
        # run instead of less than 1.
        def walk(_: Any) -> dict[str, int]:
            from mlflow.store.artifact import artifact_repository_registry  # noqa: PLC0415

            open_repository = artifact_repository_registry.get_artifact_repository
            repository = open_repository(self._artifacts, self._store.uri)
            items: list[Any] = list(repository.list_artifacts())
            for item in items:  # the list grows by the content of each folder
                items += repository.list_artifacts(item.path) if item.is_dir else []
            return {item.path: item.file_size for item in items if not item.is_dir}

        return self._store.attempt(walk, {})

    def add_file(self, name: str, content: Path | str) -> None:
        """Writes or replaces an artifact: a text, or a file that has the last part of `name`."""
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

"""Queries of the store for evaluated runs and the values that they hold."""

import json
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any

from pipelines.tracking.store import PIPELINE, Store


def newest_evaluated(store: Store, condition: str, most: int) -> list[Any]:
    """The newest evaluated runs of experiment `pipeline`; none if the store is off.

    Args:
        store: The store.
        condition: An MLflow filter.
        most: Largest number of runs.
    """

    def search(client: Any) -> list[Any]:
        return list(
            client.search_runs(
                [store.experiment_id(PIPELINE)],
                f"tags.evaluated != '' AND {condition}",
                max_results=most,
                order_by=["attributes.start_time DESC"],
            )
        )

    return store.attempt(search, [])


def read_artifact(store: Store, run_id: str, path: str) -> Any:
    """The content of a JSON file of a run; None if there is no such file or the store is off."""

    def read(client: Any) -> Any:
        listed = client.list_artifacts(run_id, str(PurePosixPath(path).parent))
        if all(item.path != path for item in listed):
            return None
        with tempfile.TemporaryDirectory() as folder:
            return json.loads(
                Path(client.download_artifacts(run_id, path, folder)).read_text("utf-8")
            )

    return store.attempt(read, None)

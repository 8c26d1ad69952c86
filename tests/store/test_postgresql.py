"""`mlflow server` on PostgreSQL, written by four processes at once; the big one is a bench."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.store import SEEDS, arrived, write_at_once
from tests.postgres import cluster, why_not
from tests.servers import mlflow_server

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not())]

RUNS, METRICS, STEPS = 40, 50, 10


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with cluster() as address:
        yield address


def test_nothing_is_lost_of_what_four_processes_write_at_once(
    database: str, tmp_path: Path
) -> None:
    with mlflow_server(database, tmp_path, os.environ) as uri:
        write_at_once(uri, RUNS, METRICS, STEPS)
        expected = {"runs": RUNS, "fingerprints": RUNS, "points": RUNS * METRICS * STEPS}
        assert arrived(database) == expected | {"doubled": 0}
        # The same once more adds nothing.
        write_at_once(uri, SEEDS, METRICS, STEPS)
        assert arrived(database) == expected | {"doubled": 0}

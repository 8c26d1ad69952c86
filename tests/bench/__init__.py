"""Benchmarks: no tests, run by `make bench`."""

import pipelines  # noqa: F401 - its environment variables count only before torch is imported

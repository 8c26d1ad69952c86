"""Benchmarks, which `make bench` runs; they are not tests."""

import pipelines  # noqa: F401 - its environment variables count only before torch is imported

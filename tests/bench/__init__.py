"""Benchmarks: no tests, run by `make bench`."""

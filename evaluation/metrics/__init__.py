"""The metrics, one file each, found by the names of their files."""

import difflib
import importlib
import pkgutil

from evaluation.measuring.metric import Metric


def available() -> list[str]:
    """The names of all metrics, which are the names of their files."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Metric:
    """The metric of a file.

    Raises:
        ValueError: There is no such file; the nearest name is given.
    """
    names = available()
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"unknown metric {name!r}{hint}; available: {', '.join(names)}")
    metric: Metric = importlib.import_module(f"evaluation.metrics.{name}").METRIC
    return metric

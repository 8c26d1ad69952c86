"""The metrics, one file each; `load_metric` imports a metric by the name of its file.

They may import `measuring` and one another, no other wing of `evaluation`.
"""

import difflib
import importlib
import pkgutil
from types import ModuleType

from evaluation.measuring.metric import Metric


def available() -> list[str]:
    """The names of all metrics: the names of the files in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_metric(name: str) -> Metric:
    """The metric of the file `<name>.py`.

    Raises:
        ValueError: There is no such file; the message suggests the nearest name.
    """
    names = available()
    if name not in names:
        nearest = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
        hint = f", did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"unknown metric {name!r}{hint}; available: {', '.join(names)}")
    metric: Metric = _module(name).METRIC
    return metric


def definition(name: str) -> str:
    """The docstring of a metric's file, in one line."""
    return " ".join((_module(name).__doc__ or "").split())


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"evaluation.metrics.{name}")

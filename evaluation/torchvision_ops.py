"""Makes torchvision importable if its compiled extension does not match the installed torch.

The torchvision wheel of the default package index is built for CUDA. With a CPU-only torch its
extension does not load, the operators `torchvision::nms` and `torchvision::qnms` are not declared,
and `import torchvision` (and `import torchmetrics`) fails with "operator torchvision::nms does not
exist". Declaring the two schemas is enough for the import: data sets, transforms and models then
work, and only the compiled operators are missing.
"""

import importlib.util
from pathlib import Path

import torch

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# The declarations of a torch.library.Library end when the object is garbage-collected.
_kept_alive: list[torch.library.Library] = []


def declare_missing() -> bool:
    """Declares the operators that torchvision needs to be imported, if its extension fails to load.

    Does nothing if torchvision is absent, if its extension loads, or on a second call: a schema can
    be declared once per process and would collide with that of the extension.

    Returns:
        Whether this call declared the operators.
    """
    if _kept_alive or hasattr(torch.ops.torchvision, "nms"):
        return False
    folder = _package_folder()
    if folder is None or _extension_loads(folder):
        return False
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in OPERATORS:
        library.define(operator + SCHEMA)
    _kept_alive.append(library)
    return True


def _package_folder() -> Path | None:
    """The folder of torchvision, without importing it; None if it is absent."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _extension_loads(folder: Path) -> bool:
    """Loads the extension (`_C.so`; `_C_stable.so` from 0.29) in the same way as torchvision."""
    files = sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")])
    try:
        for file in files:
            torch.ops.load_library(str(file))
    except OSError:
        return False
    return bool(files)

"""Makes torchvision importable beside a torch that its compiled extension does not fit.

The torchvision wheel of the default package index is built for CUDA. Beside a CPU-only torch its
extension does not load, the operators `torchvision::nms` and `torchvision::qnms` are never
declared, and `import torchvision` (so `import torchmetrics` too) fails with "operator
torchvision::nms does not exist". Declaring the two schemas is all that the import needs: data sets,
transforms and models then work; only the compiled operators themselves stay missing.
"""

import importlib.util
from pathlib import Path

import torch

OPERATORS = ("nms", "qnms")
SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"

# What a torch.library.Library declares vanishes when the object is collected.
_kept_alive: list[torch.library.Library] = []


def declare_missing() -> bool:
    """Declares the operators that torchvision's import needs, where its extension does not load.

    Does nothing where torchvision is absent, where its extension loads, and on a second call: a
    schema can be declared once per process, and would collide with the extension's own.

    Returns:
        Whether this call declared them.
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
    """Where torchvision lies, found without importing it; None where it is absent."""
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _extension_loads(folder: Path) -> bool:
    """Loads the extension (`_C.so`; `_C_stable.so` from 0.29) as torchvision itself would."""
    files = sorted([*folder.glob("_C*.so"), *folder.glob("_C*.pyd")])
    try:
        for file in files:
            torch.ops.load_library(str(file))
    except OSError:
        return False
    return bool(files)

"""The Inception-v3 network of published FID and Inception scores, as a second feature extractor.

Network, weights (2015-12-05) and resize to 299 pixels (equal to TensorFlow 1 to the bit) are those
of torch-fidelity: 2,048 pooled features in raw units, 1,008 logits without bias. Values are
comparable with papers only at equal weights, resize and number of images. ImageNet features
describe digits poorly.
"""

import hashlib
import http.client
import io
import logging
import os
import pickle
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from evaluation.measuring.extractors import FeatureExtractor, MissingExtractor, identity
from evaluation.measuring.images import to_uint8

NAME = "inception"

# Fixed, because the batch size changes the last bits; 16 is the fastest on one core (0.5 GB).
_BATCH = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        name: File name in torch's download cache.
        num_bytes: Size in bytes.
        sha256: SHA-256 of the bytes.
        url: Download address.
    """

    name: str
    num_bytes: int
    sha256: str
    url: str

    def __str__(self) -> str:
        return f"{self.name} ({self.num_bytes:,} bytes, SHA-256 {self.sha256})"


OFFICIAL = WeightsFile(
    "weights-inception-2015-12-05-6726825d.pth",
    95_628_359,
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/"
    "weights-inception-2015-12-05-6726825d.pth",
)


class NoWeightsError(ValueError):
    """The weights are missing; the message names the file and its folder in one line."""


class InceptionExtractor:
    """The network with its weights, in evaluation mode on the CPU.

    Attributes:
        name: `inception`, the suffix of its values.
        unit: Unit of squared distances between its features.
        network: The network of torch-fidelity, which returns a tuple of its pooled features.
        sha256: Identity of the extractor; values are comparable only if it is equal.
    """

    name = NAME
    unit = "raw"

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.sha256 = identity(network.state_dict(), 1.0)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features of images.

        Args:
            x: (N, 1, H, W) or (N, 3, H, W) in [0, 1], rounded to 8 bits; the channel of grey images
                is repeated three times.

        Returns:
            (N, 2048) float32, >= 0.
        """
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(f"the extractor takes grey or RGB images, got {tuple(x.shape)}")
        batches = to_uint8(x.to("cpu")).split(_BATCH)
        parts = []
        with torch.no_grad(), _bar("inception features", len(x), "image") as bar:
            for batch in batches:
                parts.append(self.network(batch.expand(-1, 3, -1, -1))[0])
                bar.update(len(batch))
        return torch.cat(parts)

    def classify(self, features: Tensor) -> Tensor:
        """Class logits (N, 1008) of features (N, 2048), without the bias of the last layer."""
        with torch.no_grad():
            logits: Tensor = features @ self.network.get_parameter("fc.weight").T
        return logits


def open_extractor(
    path: Path | None, *, download: bool, sha256: str = OFFICIAL.sha256
) -> FeatureExtractor | MissingExtractor:
    """Loads the extractor; without weights, logs a warning and returns a `MissingExtractor`.

    Args:
        path: The file of weights; None searches torch's download cache.
        download: Whether missing weights may be downloaded.
        sha256: Expected SHA-256 of the file (default: the official weights). Other weights give an
            extractor with another identity.

    Raises:
        ValueError: The file at `path` is missing, or its SHA-256 differs from `sha256`.
    """
    try:
        weights = find_weights(path, download)
    except NoWeightsError as error:
        _log.warning("%s", error)
        return MissingExtractor(NAME, "no_weights")
    return load_inception(weights, sha256)


def find_weights(path: Path | None, allow_download: bool, wanted: WeightsFile = OFFICIAL) -> Path:
    """The path of the weights: `path`, else the file in torch's cache, else a new download.

    Raises:
        NoWeightsError: The weights are not in the cache and cannot be downloaded.
        ValueError: `path` is no file.
    """
    if path is not None:
        path = path.expanduser()
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        return path
    target = Path(torch.hub.get_dir(), "checkpoints", wanted.name)
    if target.is_file():
        return target
    remedy = f"put {wanted} into {target.parent}, or set its path"
    if not allow_download:
        raise NoWeightsError(f"no Inception weights: {remedy}, or allow the download")
    try:
        _download(wanted, target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoWeightsError(
            f"no Inception weights from {wanted.url} ({_first_line(error)}): {remedy}"
        ) from None
    return target


def load_inception(path: Path, sha256: str = OFFICIAL.sha256) -> InceptionExtractor:
    """Loads the extractor from a file of weights, without network access.

    Args:
        path: The file.
        sha256: Expected SHA-256 of its bytes, checked before the content is parsed.

    Raises:
        ValueError: The SHA-256 differs, or the file holds no weights of this network.
    """
    state = _state(path, sha256)
    try:
        return InceptionExtractor(_network(state))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no Inception weights ({_first_line(error)})") from None


def _state(path: Path, sha256: str) -> Any:
    content = path.read_bytes()
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256:
        raise ValueError(
            f"{path}: SHA-256 is {actual}, expected {sha256}: a damaged or different file"
        )
    try:
        return torch.load(io.BytesIO(content), weights_only=True)  # noqa: TID251
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: no readable weights ({_first_line(error)})") from None


def _network(state: Any) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: PLC0415  (slow to import)
        FeatureExtractorInceptionV3,
    )

    # The constructor either downloads weights or unpickles a file, which could run code: it gets a
    # new file of the tensors that were read safely. Its initial weights use the global RNG.
    safe = io.BytesIO()
    torch.save(state, safe)
    safe.seek(0)
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = FeatureExtractorInceptionV3(NAME, ["2048"], safe)
    return network


def _download(wanted: WeightsFile, target: Path) -> None:
    """Downloads a file; renames it to `target` only if its SHA-256 is correct."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(wanted.url, timeout=30) as response,
            temporary.open("wb") as file,
            _bar(wanted.name, wanted.num_bytes, "B") as bar,
        ):
            while chunk := response.read(2**20):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
        if digest.hexdigest() != wanted.sha256:
            raise ValueError(f"the download has SHA-256 {digest.hexdigest()}")
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _bar(title: str, total: int, unit: str) -> "tqdm[Any]":
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total, desc=title, unit=unit, unit_scale=True, leave=False, disable=not terminal
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]

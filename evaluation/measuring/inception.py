"""The Inception-v3 of published FIDs and class scores, as a second feature extractor.

The network, its resize to 299 pixels (that of TensorFlow 1, to the bit) and its weights of
2015-12-05 are those of torch-fidelity: 2,048 pooled features in raw units, 1,008 logits without
their bias. Values compare with papers only where weights, resize and number of images are equal;
ImageNet features say little about digits.
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

# Fixed, because the batch size changes the last bits; 16 are the fastest on a core and take 0.5 GB.
_BATCH = 16

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WeightsFile:
    """A file of weights.

    Attributes:
        name: What it is called where torch keeps its downloads.
        num_bytes: Its size.
        sha256: Of its bytes.
        url: Where it comes from.
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
    """There are no weights; the message says in one line which file belongs where."""


class InceptionExtractor:
    """The network with its weights; always in evaluation mode, on the CPU.

    Attributes:
        name: `inception`, the suffix of the values that it makes.
        unit: Of squared distances between its features.
        network: torch-fidelity's, which returns a tuple of its pooled features.
        sha256: Its identity: two values compare only where it is equal.
    """

    name = NAME
    unit = "raw"

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.sha256 = identity(network.state_dict(), 1.0)

    def features(self, x: Tensor) -> Tensor:
        """Pooled features of images.

        Args:
            x: (N, 1, H, W) or (N, 3, H, W) in [0, 1], already rounded to 8 bits; grey images are
                repeated to three channels.

        Returns:
            (N, 2048) float32, not negative.
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
        """(N, 2048) features to class logits (N, 1008), without the bias of the last layer."""
        with torch.no_grad():
            logits: Tensor = features @ self.network.get_parameter("fc.weight").T
        return logits


def open_extractor(
    path: Path | None, *, download: bool, sha256: str = OFFICIAL.sha256
) -> FeatureExtractor | MissingExtractor:
    """The extractor; where no weights are found, a stand-in, and one line in the log.

    Args:
        path: A file of weights; None looks where torch keeps its downloads.
        download: Whether the weights may be fetched from the network where they are not there.
        sha256: Of the file. With other weights than the official ones the extractor is another
            one, which its own `sha256` says.

    Raises:
        ValueError: The file that was asked for is missing or is not the one that it should be.
    """
    try:
        found = find_weights(path, download)
    except NoWeightsError as error:
        _log.warning("%s", error)
        return MissingExtractor(NAME, "no_weights")
    return load(found, sha256)


def find_weights(path: Path | None, allow_download: bool, wanted: WeightsFile = OFFICIAL) -> Path:
    """Where the weights are: the path, else torch's downloads, else a download into them.

    Raises:
        NoWeightsError: They are not there and cannot be fetched.
        ValueError: The path leads to no file.
    """
    if path is not None:
        path = path.expanduser()
        if not path.is_file():
            raise ValueError(f"{path}: no such file")
        return path
    target = Path(torch.hub.get_dir(), "checkpoints", wanted.name)
    if target.is_file():
        return target
    remedy = f"put {wanted} into {target.parent}, or give its path"
    if not allow_download:
        raise NoWeightsError(f"no Inception weights: {remedy}, or allow the download")
    try:
        _download(wanted, target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NoWeightsError(
            f"no Inception weights from {wanted.url} ({_first_line(error)}): {remedy}"
        ) from None
    return target


def load(path: Path, sha256: str = OFFICIAL.sha256) -> InceptionExtractor:
    """Reads the weights and makes the extractor, without touching the network.

    Args:
        path: The file.
        sha256: Of its bytes; checked before anything of it is interpreted.

    Raises:
        ValueError: The file is another one, or holds no weights of this network.
    """
    state = _state(path, sha256)
    try:
        return InceptionExtractor(_network(state))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: no Inception weights ({_first_line(error)})") from None


def _state(path: Path, sha256: str) -> Any:
    content = path.read_bytes()
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ValueError(
            f"{path}: its SHA-256 is {found}, not {sha256}: it is damaged or another file"
        )
    try:
        return torch.load(io.BytesIO(content), weights_only=True)  # noqa: TID251
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path}: no readable weights ({_first_line(error)})") from None


def _network(state: Any) -> nn.Module:
    from torch_fidelity.feature_extractor_inceptionv3 import (  # noqa: PLC0415  (slow to import)
        FeatureExtractorInceptionV3,
    )

    # The constructor downloads weights or unpickles a file, whatever code is in it: it gets a file
    # of what has been read as numbers. The weights that it draws first come from the global state.
    safe = io.BytesIO()
    torch.save(state, safe)
    safe.seek(0)
    with torch.random.fork_rng(devices=[]):
        network: nn.Module = FeatureExtractorInceptionV3(NAME, ["2048"], safe)
    return network


def _download(wanted: WeightsFile, target: Path) -> None:
    """Fetches a file; what is not the file that was wanted never gets its name."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    digest = hashlib.sha256()
    try:
        with (
            urllib.request.urlopen(wanted.url, timeout=30) as answer,
            temporary.open("wb") as file,
            _bar(wanted.name, wanted.num_bytes, "B") as bar,
        ):
            while chunk := answer.read(2**20):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
        if digest.hexdigest() != wanted.sha256:
            raise ValueError(f"what came has SHA-256 {digest.hexdigest()}")
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

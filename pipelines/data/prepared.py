"""Prepared data with its extractors, for training and comparison."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evaluation.measuring.real_images import RealImages
from pipelines.data import splits
from pipelines.data.extractors import (
    MADE_BY,
    NO_EXTRACTORS,
    Extracted,
    load_extracted,
    real_images,
)
from pipelines.settings import files, paths
from pipelines.settings.sections import Features


class Real(NamedTuple):
    """Real images: the split to compare a model with, and those that it may have seen.

    `valid` is for choices that must not depend on the reference; None if it is the reference.
    """

    reference: RealImages
    train: RealImages
    valid: RealImages | None


@dataclass(frozen=True)
class Prepared:
    """Output folders of `prepare` and of `features`, and section `features` of the latter.

    The last two are None if no metric needs an extractor.
    """

    folder: Path
    features: Path | None
    extractors: Features | None

    @classmethod
    def of_pipeline(cls, extractors: Features) -> "Prepared":
        """The output folders of the stages."""
        return cls(paths.PREPARE, paths.FEATURES, extractors)

    @property
    def content(self) -> dict[str, Any]:
        """The identity of the data: the hashes of the splits and of the extractors."""
        content: dict[str, Any] = {"splits": splits.load_manifest(self.folder)["splits"]}
        if self.features is not None:
            content["features"] = files.read_json(self.features / "card.json", MADE_BY)
        return content

    def extracted(self) -> Extracted:
        """The extractors and their features of the splits."""
        if self.features is None or self.extractors is None:
            return NO_EXTRACTORS
        return load_extracted(self.extractors, self.features, self.folder)

    def real(self, extracted: Extracted, reference: Literal["valid", "test"]) -> Real:
        """Reads the splits, with `reference` as the one to compare with."""
        one = real_images(reference, extracted, self.folder)
        train = real_images("train", extracted, self.folder)
        is_valid = reference == "valid"
        return Real(one, train, None if is_valid else real_images("valid", extracted, self.folder))

"""The sections of params.yaml: frozen, strict, without defaults. Imports neither torch nor YAML."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Lower-case letters, digits and underscores: names become folders, tags and table rows.
NAME_PATTERN = r"^[a-z0-9_]+$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
#: The range that both torch and numpy accept.
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Seeds = Annotated[list[Seed], Field(min_length=1)]


class Section(BaseModel):
    """The base class of sections: frozen, strict, without defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Prepare(Section):
    """The data set and its splits."""

    dataset: Literal["mnist5k", "mnist", "fashion_mnist", "kmnist", "cifar10", "image_folder"]
    folder: str
    image_size: Annotated[int, Field(ge=8, le=128)]
    image_mode: Literal["grey", "rgb"]
    split_design: Literal["random", "stratified"]
    split_seed: Seed
    valid_fraction: Annotated[float, Field(gt=0, lt=1)]
    test_fraction: Annotated[float, Field(gt=0, lt=1)]
    max_images: Annotated[int, Field(ge=40)] | None


Extractor = Literal["classifier", "inception"]


class Features(Section):
    """The feature extractors; `classifier` is a small network, trained on the train split."""

    extractors: Annotated[list[Extractor], Field(min_length=1)]
    replicas: Annotated[int, Field(ge=0, le=10)]
    inception_weights: str | None
    inception_download: bool
    seed: Seed
    width: Annotated[int, Field(ge=1)]
    num_features: Annotated[int, Field(ge=2, le=256)]
    epochs: Annotated[int, Field(ge=1)]
    batch_size: Annotated[int, Field(ge=1)]
    learning_rate: Annotated[float, Field(gt=0)]
    weight_decay: Annotated[float, Field(ge=0)]
    max_shift: Annotated[int, Field(ge=0)]
    min_accuracy: Annotated[float, Field(ge=0, le=1)]


class Train(Section):
    """Training settings that all models share."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    threads: Annotated[int, Field(ge=1)]
    num_snapshots: Annotated[int, Field(ge=1, le=10)]
    snapshot_images: Annotated[int, Field(ge=1, le=256)]


class Evaluate(Section):
    """The metrics, the number of images and the seeds of samples and metrics."""

    metrics: Annotated[list[Name], Field(min_length=1)]
    max_samples: Annotated[int, Field(ge=2, le=10_000)]
    sample_sets: Annotated[int, Field(ge=1, le=20)]
    sample_seed: Seed
    metric_seed: Seed
    grid_images: Annotated[int, Field(ge=1, le=400)]


#: Values of `Gate.model` that are not presets.
ALL, CHAMPION = "all", "champion"


class Gate(Section):
    """Limits of a value; `pipelines.comparing.gates` compares the results with them.

    Only `min` and `max` have a default: None, no limit.
    """

    metric: Name
    model: Name
    of: Literal["mean", "worst"]
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> "Gate":
        if self.min is None and self.max is None:
            raise ValueError("gate has neither min nor max")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}")
        return self


class Report(Section):
    """The value that ranks the models, and the gates."""

    rank_by: Name
    gates: list[Gate]

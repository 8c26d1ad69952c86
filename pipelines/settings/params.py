"""The settings of a run: params.yaml read, checked and refused in one line.

The only file that reads YAML. It speaks YAML 1.2 as DVC does (`1e-4` is a number), and the sections
are strict: a string where a number belongs is refused instead of converted, an unknown key is
refused instead of ignored, and nothing has a default, because a default in code is a setting that
neither DVC nor MLflow can see.
"""

import functools
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, model_validator
from ruamel.yaml import YAML  # noqa: TID251
from ruamel.yaml.error import YAMLError  # noqa: TID251

from evaluation import metrics
from evaluation.measuring.protocols import LIKELIHOODS
from genmodels import build
from pipelines.settings import paths
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.refusals import check, show, suggest
from pipelines.settings.sections import Name as Name  # noqa: PLC0414
from pipelines.settings.sections import Section as Section  # noqa: PLC0414
from pipelines.settings.sections import Seed as Seed  # noqa: PLC0414

T = TypeVar("T")
S = TypeVar("S", bound=BaseModel)


class Prepare(Section):
    """What the data set is and how it is split."""

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
    """The feature extractors; `classifier` is a small one, trained on the train split."""

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
    """How the models are trained, the same for all of them."""

    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["fp32", "bf16"]
    threads: Annotated[int, Field(ge=1)]
    num_snapshots: Annotated[int, Field(ge=1, le=10)]
    snapshot_images: Annotated[int, Field(ge=1, le=256)]


class Evaluate(Section):
    """What is measured, on how many images, from which draws."""

    metrics: Annotated[list[Name], Field(min_length=1)]
    max_samples: Annotated[int, Field(ge=2, le=10_000)]
    sample_sets: Annotated[int, Field(ge=1, le=20)]
    sample_seed: Seed
    metric_seed: Seed
    grid_images: Annotated[int, Field(ge=1, le=400)]


#: What a gate may name instead of a model.
ALL, CHAMPION = "all", "champion"


class Gate(Section):
    """A bound that a value has to keep; `pipelines.comparing.gates` holds results against it.

    The bounds alone have a default: one that is not there bounds nothing.
    """

    metric: Name
    model: Name
    of: Literal["mean", "worst"]
    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def _bounds(self) -> "Gate":
        if self.min is None and self.max is None:
            raise ValueError("neither min nor max: it holds nothing back")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"min {self.min:g} is above max {self.max:g}: nothing can pass")
        return self


class Report(Section):
    """How the report ranks the models, and which bounds their values have to keep."""

    rank_by: Name
    gates: list[Gate]


#: The presets that the pipeline trains: a key of `models:` and its kind. DVC cannot look the kind
#: up, so it stands here, too, and is held against the entry.
Selected = Annotated[dict[Name, str], Field(min_length=1)]


class Params(Section):
    """The whole of params.yaml."""

    seeds: Annotated[list[Seed], Field(min_length=1)]
    prepare: Prepare
    features: Features
    train: Train
    selected: Selected
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    evaluate: Evaluate
    report: Report

    @property
    def trained(self) -> list[str]:
        """The names of the models that the pipeline trains, in the order of `selected:`."""
        return list(self.selected)

    def require_model(self, name: str) -> None:
        """Refuses a name that is no key of `models:`; it need not be selected."""
        if name not in self.models:
            raise UserError(f"params.yaml: models.{name}: {_no_such_model(name, self.models)}")


def read_yaml(path: Path) -> Any:
    """Reads a YAML 1.2 file (params.yaml, dvc.yaml, dvc.lock) into plain Python values.

    Raises:
        UserError: The file is missing or is no YAML; the line is named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path.name}: no such file in {path.parent}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name}: not UTF-8 at byte {error.start}") from None
    return parse_yaml(text, path.name)


def parse_yaml(text: str, file: str) -> Any:
    """Reads YAML 1.2 into plain Python values.

    Raises:
        UserError: It is no YAML; the file and the line are named.
    """
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{file}{where}: {problem}") from None


def load(path: Path | None = None) -> Params:
    """Reads and checks params.yaml, every model entry included.

    Args:
        path: The file; by default the one of this checkout.

    Raises:
        UserError: The first mistake: its full key, the value, what is allowed and, for a
            misspelling, the nearest name.
    """
    path = path or paths.PARAMS
    raw = read_yaml(path)
    if not isinstance(raw, dict):
        raise UserError(f"{path.name}: expected sections, found {type(raw).__name__}")
    params = check(functools.partial(Params.model_validate, raw), Params, path.name)
    if len(set(params.seeds)) != len(params.seeds):
        raise UserError(f"{path.name}: seeds: {params.seeds} names a seed twice")
    valid, test = params.prepare.valid_fraction, params.prepare.test_fraction
    if valid + test >= 1:
        raise UserError(
            f"{path.name}: prepare.valid_fraction + prepare.test_fraction: "
            f"{valid} + {test} leaves nothing to train on"
        )
    for name, entry in params.models.items():
        _check_model(name, entry, path.name)
    _check_selected(params, path.name)
    _check_metrics(params, path.name)
    _check_gates(params, path.name)
    return params


def load_part(part: type[S]) -> S:
    """Reads some of the sections only: the whole needs the models, and they need torch.

    Args:
        part: A class with those sections as fields.

    Raises:
        UserError: The first mistake in them.
    """
    raw = read_yaml(paths.PARAMS)
    found = {name: raw[name] for name in part.model_fields if name in raw}
    return check(functools.partial(part.model_validate, found), part, paths.PARAMS.name)


def _check_model(name: str, entry: Mapping[str, Any], file: str) -> None:
    check(
        functools.partial(_ModelName.model_validate, {"name": name}), _ModelName, f"{file}: models"
    )
    check_entry(entry, f"{file}: models.{name}")


def check_entry(entry: Mapping[str, Any], where: str) -> None:
    """Checks one entry of `models:` against the `Config` of its kind.

    The kinds are imported by name at run time. A stage that merely checks the entries (prepare,
    say) thereby does not depend on the code of every model, and DVC does not re-run it when one
    changes.

    Args:
        entry: The settings.
        where: The file and the key, for the error.

    Raises:
        UserError: The first mistake.
    """
    kind, kinds = entry.get("kind"), build.kinds()
    if kind not in kinds:
        raise UserError(
            f"{where}.kind: {show(kind)} is not one of {', '.join(kinds)}"
            f"{suggest(str(kind), kinds)}"
        )
    config = build.config_class(kind)
    check(functools.partial(config.model_validate, entry), config, where)


def warn(params: Params, name: str) -> None:
    """Says on stderr what an entry asks for and probably does not mean."""
    entry = params.models[name]
    for caution in build.config_class(entry["kind"]).model_validate(entry).cautions():
        print(f"warning: params.yaml: models.{name}: {caution}", file=sys.stderr)


def _check_selected(params: Params, file: str) -> None:
    for name, kind in params.selected.items():
        if name not in params.models:
            raise UserError(f"{file}: selected.{name}: {_no_such_model(name, params.models)}")
        own = params.models[name]["kind"]
        if kind != own:
            raise UserError(f"{file}: selected.{name}: {kind!r}, but models.{name}.kind is {own!r}")


def _no_such_model(name: str, models: Mapping[str, Any]) -> str:
    return f"no such model{suggest(name, list(models))}; there are {', '.join(models)}"


def _check_metrics(params: Params, file: str) -> None:
    """Checks the metrics' names, likewise without depending on their code."""
    try:
        found = measured(params.evaluate.metrics, params.features.extractors)
    except ValueError as error:
        raise UserError(f"{file}: evaluate.metrics: {error}") from None
    values = [name for name, higher_is_better in found.items() if higher_is_better is not None]
    rank_by = params.report.rank_by
    # Where models differ in what their likelihood is of, that is a suffix: elbo_gaussian.
    suffixed = {f"{value}_{likelihood}" for value in values for likelihood in LIKELIHOODS}
    if rank_by not in suffixed.union(values):
        raise UserError(
            f"{file}: report.rank_by: {rank_by!r} is nothing to rank by"
            f"{suggest(rank_by, values)}; evaluate.metrics gives {', '.join(values)}"
        )


def measured(names: Sequence[str], extractors: Sequence[str]) -> dict[str, bool | None]:
    """The values that metrics give, by name: their directions, None for a diagnostic.

    Args:
        names: Names of files in `evaluation/metrics/`.
        extractors: Names of extractors.

    Raises:
        ValueError: There is no such metric; the nearest name is given.
    """
    return {
        spec.name.format(extractor=extractor): spec.higher_is_better
        for name in names
        for spec in metrics.load_metric(name).values
        for extractor in extractors
    }


def _check_gates(params: Params, file: str) -> None:
    values = list(measured(params.evaluate.metrics, params.features.extractors))
    models = [ALL, CHAMPION, *params.models]
    for place, gate in enumerate(params.report.gates):
        where = f"{file}: report.gates.{place}"
        if gate.model not in models:
            raise UserError(f"{where}.model: {_no_such_model(gate.model, dict.fromkeys(models))}")
        if gate.metric not in values:
            raise UserError(
                f"{where}.metric: {gate.metric!r} is not measured{suggest(gate.metric, values)}; "
                f"evaluate.metrics gives {', '.join(values)}"
            )


class _ModelName(Section):
    name: Name


@exit_on_user_error
def main() -> None:
    """Checks params.yaml and says what it holds."""
    params = load()
    print(
        f"params.yaml: {len(params.trained)} of {len(params.models)} models selected "
        f"({', '.join(params.trained)}), seeds {params.seeds}, data set {params.prepare.dataset}"
    )
    for name in params.trained:
        warn(params, name)


if __name__ == "__main__":
    main()

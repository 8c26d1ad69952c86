"""The settings of a run: params.yaml read, checked and refused in one line.

The only file that reads YAML. It speaks YAML 1.2 as DVC does (`1e-4` is a number), and the sections
are strict: a string where a number belongs is refused instead of converted, an unknown key is
refused instead of ignored, and nothing has a default, because a default in code is a setting that
neither DVC nor MLflow can see.
"""

import difflib
import functools
import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML  # noqa: TID251
from ruamel.yaml.error import YAMLError  # noqa: TID251

from pipelines import paths
from pipelines.errors import UserError, exit_on_user_error

T = TypeVar("T")

#: Names become folders, tags and table rows, so they are plain everywhere.
NAME_PATTERN = r"^[a-z0-9_]+$"
Name = Annotated[str, Field(pattern=NAME_PATTERN)]
#: What torch and numpy both take.
Seed = Annotated[int, Field(ge=0, lt=2**63)]


class Section(BaseModel):
    """A section of params.yaml: frozen, strict, without defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


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


class Features(Section):
    """The feature extractor: a small classifier trained on the train split."""

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
    sample_seed: Seed
    metric_seed: Seed
    grid_images: Annotated[int, Field(ge=1, le=400)]


class Report(Section):
    """How the report ranks the models."""

    rank_by: Name


class Params(Section):
    """The whole of params.yaml."""

    seeds: Annotated[list[Seed], Field(min_length=1)]
    prepare: Prepare
    features: Features
    train: Train
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    evaluate: Evaluate
    report: Report

    def require_model(self, name: str) -> None:
        """Refuses a name that is no key of `models:`."""
        if name not in self.models:
            nearest = _suggest(name, list(self.models))
            raise UserError(
                f"params.yaml: models.{name}: no such model{nearest}; "
                f"there are {', '.join(self.models)}"
            )


def read_yaml(path: Path) -> Any:
    """Reads a YAML 1.2 file (params.yaml, dvc.yaml, dvc.lock) into plain Python values.

    Raises:
        UserError: The file is missing or is no YAML; the line is named.
    """
    try:
        return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path.name}: no such file in {path.parent}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path.name}: not UTF-8 at byte {error.start}") from None
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise UserError(f"{path.name}{where}: {problem}") from None


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
    _check_metrics(params, path.name)
    return params


def _check_model(name: str, entry: Mapping[str, Any], file: str) -> None:
    """Checks one entry of `models:` against the `Config` of its kind.

    The kinds are imported by name at run time. A stage that merely checks the entries (prepare,
    say) thereby does not depend on the code of every model, and DVC does not re-run it when one
    changes.
    """
    check(
        functools.partial(_ModelName.model_validate, {"name": name}), _ModelName, f"{file}: models"
    )
    build = importlib.import_module("genmodels.build")
    kind, kinds = entry.get("kind"), build.kinds()
    if kind not in kinds:
        raise UserError(
            f"{file}: models.{name}.kind: {_show(kind)} is not one of {', '.join(kinds)}"
            f"{_suggest(str(kind), kinds)}"
        )
    config = build.config_class(kind)
    check(functools.partial(config.model_validate, entry), config, f"{file}: models.{name}")


def _check_metrics(params: Params, file: str) -> None:
    """Checks the metrics' names, likewise without depending on their code."""
    metric = importlib.import_module("evaluation.metric")
    try:
        loaded = [metric.load(name) for name in params.evaluate.metrics]
    except ValueError as error:
        raise UserError(f"{file}: evaluate.metrics: {error}") from None
    values = [
        spec.name.format(extractor="classifier")
        for chosen in loaded
        for spec in chosen.values
        if spec.higher_is_better is not None
    ]
    rank_by = params.report.rank_by
    # Where models differ in their observation model, its name is a suffix: elbo_gaussian.
    observations = importlib.import_module("evaluation.protocols").OBSERVATIONS
    suffixed = {f"{value}_{observation}" for value in values for observation in observations}
    if rank_by not in suffixed.union(values):
        raise UserError(
            f"{file}: report.rank_by: {rank_by!r} is nothing to rank by"
            f"{_suggest(rank_by, values)}; evaluate.metrics gives {', '.join(values)}"
        )


class _ModelName(Section):
    name: Name


def check(validate: Callable[[], T], section: type[BaseModel], where: str) -> T:
    """Runs a pydantic validation and turns its first complaint into one line.

    Args:
        validate: Called without arguments.
        section: The class whose fields are the allowed keys.
        where: What the key path starts with, such as `params.yaml: models.vae`.

    Raises:
        UserError: The one line.
    """
    try:
        return validate()
    except ValidationError as error:
        # An unknown key explains a missing one (it is its misspelling), so it is told first.
        first = min(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
        raise UserError(_one_line(first, section, where)) from None


def _one_line(error: Any, section: type[BaseModel], where: str) -> str:
    keys = [str(part) for part in error["loc"]]
    separator = "." if ":" in where else ": "
    # A key at the top level stands behind the file's name, a nested one behind its parent's key.
    place = where + (separator + ".".join(keys) if keys else "")
    value = _show(error["input"])
    if error["type"] == "extra_forbidden":
        allowed = _fields_at(section, keys[:-1])
        nearest = _suggest(keys[-1], allowed)
        return f"{place}: unknown key (value {value}){nearest}; allowed: {', '.join(allowed)}"
    if error["type"] == "missing":
        return f"{place}: this key is missing; {_describe(section, keys)}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "value_error":  # a contradiction between keys, which it names itself
        return f"{place}: {message}"
    return f"{place}: {value} is not allowed: {message[0].lower()}{message[1:]}"


def _describe(section: type[BaseModel], keys: list[str]) -> str:
    parent = _section_at(section, keys[:-1])
    field = parent.model_fields.get(keys[-1]) if parent else None
    if field is None:
        return "it has no default"
    name = getattr(field.annotation, "__name__", None) or str(field.annotation)
    return f"it has no default (expected {name.replace('typing.', '')})"


def _section_at(section: type[BaseModel], keys: list[str]) -> type[BaseModel] | None:
    current: Any = section
    for key in keys:
        fields = getattr(current, "model_fields", {})
        current = fields[key].annotation if key in fields else None
    return current if isinstance(current, type) and issubclass(current, BaseModel) else None


def _fields_at(section: type[BaseModel], keys: list[str]) -> list[str]:
    found = _section_at(section, keys)
    return list(found.model_fields) if found else []


def _suggest(word: str, allowed: list[str]) -> str:
    nearest = difflib.get_close_matches(word, allowed, n=1, cutoff=0.5)
    return f", did you mean {nearest[0]!r}?" if nearest else ""


def _show(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


@exit_on_user_error
def main() -> None:
    """Checks params.yaml and says what it holds."""
    params = load()
    print(
        f"params.yaml: {len(params.models)} models ({', '.join(params.models)}), "
        f"seeds {params.seeds}, data set {params.prepare.dataset}"
    )


if __name__ == "__main__":
    main()

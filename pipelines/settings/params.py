"""Reads, resolves and checks params.yaml; a mistake is one line.

The sections are strict: a string in place of a number is an error, and so is an unknown key. No key
has a default, because neither DVC nor MLflow can see a default in code.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from evaluation import metrics
from evaluation.measuring.protocols import LIKELIHOODS
from genmodels import build
from pipelines.settings import paths, presets, sections
from pipelines.settings.errors import UserError
from pipelines.settings.presets import no_such_model
from pipelines.settings.refusals import check, suggest
from pipelines.settings.sections import ALL, CHAMPION, Name, Section, Seeds
from pipelines.settings.yaml_files import read_yaml


class Params(Section):
    """The whole of params.yaml.

    Attributes:
        selected: The selected presets, each with its kind (equal to `kind` in its entry).
        models: All settings of each preset, including those of its base.
    """

    seeds: Seeds
    prepare: sections.Prepare
    features: sections.Features
    train: sections.Train
    selected: Annotated[dict[Name, str], Field(min_length=1)]
    models: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    evaluate: sections.Evaluate
    report: sections.Report

    @property
    def trained(self) -> list[str]:
        """The selected models, in the order of `selected:`."""
        return list(self.selected)

    def require_model(self, name: str) -> None:
        """Raises a `UserError` if `models:` has no such entry; it need not be selected."""
        if name not in self.models:
            raise UserError(f"params.yaml: models.{name}: {no_such_model(name, self.models)}")


def load(path: Path | None = None) -> Params:
    """Reads, resolves and checks params.yaml (default: that of this checkout).

    Raises:
        UserError: The first mistake: its full key, the value and what is allowed.
    """
    path = path or paths.PARAMS
    return checked(read_yaml(path), path.name)


def checked(raw: Any, file: str) -> Params:
    """Resolves and checks the content of params.yaml, like `load`; `file` begins an error."""
    if not isinstance(raw, dict):
        raise UserError(f"{file}: expected sections, found {type(raw).__name__}")
    if isinstance(raw.get("models"), dict):
        raw = {**raw, "models": presets.resolve(raw["models"], f"{file}: models")}
    params = check(Params, raw, file)
    if len(set(params.seeds)) != len(params.seeds):
        raise UserError(f"{file}: seeds: {params.seeds} names a seed twice")
    valid, test = params.prepare.valid_fraction, params.prepare.test_fraction
    if valid + test >= 1:
        raise UserError(
            f"{file}: prepare.valid_fraction + prepare.test_fraction: "
            f"{valid} + {test} leaves no training images"
        )
    _check_selected(params, file)
    try:
        values = measured(params.evaluate.metrics, params.features.extractors)
    except ValueError as error:
        raise UserError(f"{file}: evaluate.metrics: {error}") from None
    _check_report(params, values, file)
    return params


def warn(params: Params, name: str) -> None:
    """Prints warnings about an entry on stderr: settings that are allowed but probably unwanted."""
    entry = params.models[name]
    for caution in build.config_class(entry["kind"]).model_validate(entry).cautions():
        print(f"warning: params.yaml: models.{name}: {caution}", file=sys.stderr)


def _check_selected(params: Params, file: str) -> None:
    for name, kind in params.selected.items():
        if name not in params.models:
            raise UserError(f"{file}: selected.{name}: {no_such_model(name, params.models)}")
        entry_kind = params.models[name]["kind"]
        if kind != entry_kind:
            raise UserError(
                f"{file}: selected.{name}: {kind!r}, but models.{name}.kind is {entry_kind!r}"
            )


def _check_report(params: Params, values: Mapping[str, bool | None], file: str) -> None:
    directed = [name for name, direction in values.items() if direction is not None]
    measures = "evaluate.metrics measures"
    rank_by = params.report.rank_by
    # If models differ in likelihood, each likelihood has its own column: elbo_gaussian.
    suffixed = {f"{value}_{likelihood}" for value in directed for likelihood in LIKELIHOODS}
    if rank_by not in suffixed.union(directed):
        raise UserError(
            f"{file}: report.rank_by: cannot rank by {rank_by!r}: it is not measured or has no "
            f"direction{suggest(rank_by, directed)}; {measures} {', '.join(directed)}"
        )
    models = [ALL, CHAMPION, *params.models]
    for index, gate in enumerate(params.report.gates):
        where = f"{file}: report.gates.{index}"
        if gate.model not in models:
            raise UserError(f"{where}.model: {no_such_model(gate.model, models)}")
        if gate.metric not in values:
            raise UserError(
                f"{where}.metric: {gate.metric!r} is not measured"
                f"{suggest(gate.metric, list(values))}; {measures} {', '.join(values)}"
            )


def measured(names: Sequence[str], extractors: Sequence[str]) -> dict[str, bool | None]:
    """The values of metrics, by name: `higher_is_better`, or None for a diagnostic.

    Raises:
        ValueError: A metric is unknown; the message contains the nearest name.
    """
    return {
        spec.name.format(extractor=extractor): spec.higher_is_better
        for name in names
        for spec in metrics.load_metric(name).values
        for extractor in extractors
    }

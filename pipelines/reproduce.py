"""Published results, reproduced and compared with their claims.

A file of `reproductions/` is a params.yaml plus claims. Keys that it does not set have the values
of params.yaml, and the `base:` of a model is another model of the file or of params.yaml. Finished
models are kept, interrupted ones resume. The models are written to `outputs/reproductions/<name>/`,
the numbers to `reports/reproductions/<name>.json`, and the page is `reports/reproductions.md`.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from evaluation.metrics import load_metric
from pipelines import features, prepare
from pipelines.data import splits
from pipelines.data.prepared import Prepared
from pipelines.reporting import reproductions
from pipelines.settings import command_line, files, params, paths, presets
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.refusals import check, suggest
from pipelines.settings.sections import Evaluate, Features, Name, Prepare, Section, Seeds, Train
from pipelines.settings.yaml_files import read_yaml
from pipelines.training import fingerprint
from pipelines.training.rows import Rows

#: Sections whose missing keys are those of params.yaml.
SECTIONS = ("prepare", "features", "train", "evaluate")


class Value(Section):
    """One value of one model."""

    model: Name
    value: Name


class Along(Section):
    """A value between models: the polyline through them, read where `equal` is the same."""

    models: Annotated[list[Name], Field(min_length=2)]
    value: Name
    equal: Name


class Claim(Section):
    """A published statement, and the range in which a result agrees with it.

    Attributes:
        form: `of` alone, or `of` minus or divided by `against`, seed by seed.
        against: The other side; null for form `value`.
        published: The published value; null if only a direction is published.
        low, high: The smallest and the largest value that agree; null for no limit.
    """

    text: str
    form: Literal["value", "difference", "ratio"]
    of: Value
    against: Value | Along | None = None
    published: float | None = None
    low: float | None = None
    high: float | None = None


class Reproduction(Section):
    """A file of `reproductions/`, with the settings of params.yaml that it does not set.

    Attributes:
        published: The publication, its values and its conditions.
        deviations: Differences from these conditions.
        features: None if no metric needs an extractor.
    """

    title: str
    published: str
    deviations: list[str]
    seeds: Seeds
    prepare: Prepare
    features: Features | None
    train: Train
    evaluate: Evaluate
    models: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    claims: list[Claim]


def names() -> list[str]:
    """The names of all reproductions."""
    return sorted(path.stem for path in paths.REPRODUCTIONS.glob("*.yaml"))


def read(name: str) -> Reproduction:
    """Reads, resolves and checks a reproduction.

    Raises:
        UserError: There is no such file, or its first mistake.
    """
    known = names()
    if name not in known:
        raise UserError(
            f"no reproduction {name!r}{suggest(name, known)}; reproductions/ has {', '.join(known)}"
        )
    path = paths.REPRODUCTIONS / f"{name}.yaml"
    where = f"{path.parent.name}/{path.name}"
    raw = _resolve(read_yaml(path), read_yaml(paths.PARAMS), where)
    reproduction = check(Reproduction, raw, where)
    if len(set(reproduction.seeds)) != len(reproduction.seeds):
        raise UserError(f"{where}: seeds: {reproduction.seeds} names a seed twice")
    assert reproduction.features is not None  # section of params.yaml
    extractors = reproduction.features.extractors
    try:
        values = list(params.measured(reproduction.evaluate.metrics, extractors))
        needed = any(load_metric(name).uses_extractor for name in reproduction.evaluate.metrics)
    except ValueError as error:
        raise UserError(f"{where}: evaluate.metrics: {error}") from None
    for claim in reproduction.claims:
        _check_claim(claim, list(reproduction.models), values, f"{where}: claims: {claim.text!r}")
    return reproduction if needed else reproduction.model_copy(update={"features": None})


def _resolve(own: Any, shipped: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The content of a reproduction with what it takes from params.yaml."""
    if not isinstance(own, dict) or not isinstance(own.get("models"), dict):
        raise UserError(f"{where}: expected sections, models: among them")
    sections = {}
    for key in SECTIONS:
        section = own.get(key, {})
        sections[key] = shipped[key] | section if isinstance(section, dict) else section
    models = presets.resolve(shipped["models"] | own["models"], f"{where}: models")
    resolved = {name: models[name] for name in own["models"]}
    return {"seeds": shipped["seeds"], **own, **sections, "models": resolved}


def _check_claim(claim: Claim, models: Sequence[str], values: Sequence[str], where: str) -> None:
    if (claim.form == "value") != (claim.against is None):
        needs = "no against" if claim.form == "value" else "against"
        raise UserError(f"{where}: form {claim.form!r} needs {needs}")
    if claim.low is None and claim.high is None:
        raise UserError(f"{where}: neither low nor high, so every value agrees")
    sides: list[Value | Along] = [claim.of, *([] if claim.against is None else [claim.against])]
    for side in sides:
        for model in side.models if isinstance(side, Along) else [side.model]:
            if model not in models:
                raise UserError(f"{where}: {presets.no_such_model(model, models)}")
        for value in [side.value, side.equal] if isinstance(side, Along) else [side.value]:
            if value not in values:
                raise UserError(
                    f"{where}: {value!r} is not measured{suggest(value, values)}; "
                    f"evaluate.metrics gives {', '.join(values)}"
                )


def _prepare(reproduction: Reproduction) -> Prepared:
    """The data of a reproduction and its extractor; makes what is missing.

    Their folders are named after their settings, so that reproductions share them.
    """
    data = fingerprint.digest(reproduction.prepare.model_dump())[:12]
    folder = paths.REPRODUCTION_MODELS / ".data" / data
    if not (folder / "manifest.json").is_file():
        prepare.make(reproduction.prepare, folder)
    if reproduction.features is None:
        return Prepared(folder, None, None)
    extractor = fingerprint.digest([reproduction.features.model_dump(), data])[:12]
    extractors = folder.with_name(f"{data}-features-{extractor}")
    if not (extractors / "card.json").is_file():
        torch.set_num_threads(reproduction.train.threads)
        features.make(reproduction.features, folder, extractors)
    return Prepared(folder, extractors, reproduction.features)


def _reproduce(name: str, reproduction: Reproduction, *, force: bool, at_once: int | None) -> None:
    """Trains and measures what is missing; writes the numbers and the page."""
    models = Rows(
        title=name,
        folder=paths.REPRODUCTION_MODELS / name,
        entries=reproduction.models,
        seeds=reproduction.seeds,
        train=reproduction.train,
        data=_prepare(reproduction),
        evaluate=reproduction.evaluate,
        where=f"reproductions/{name}.yaml: models",
    )
    results = models.run(force=force, at_once=at_once)
    accuracy = None
    if reproduction.features is not None:
        card = models.data.content["features"].get("classifier") or {}
        accuracy = card.get("accuracy", {}).get("test")
    parts = splits.load_manifest(models.data.folder)["splits"]
    document = {
        "name": name,
        "settings": reproduction.model_dump(),
        "splits": {split: part["count"] for split, part in parts.items()},
        "accuracy": accuracy,
        "results": results,
    }
    files.write_json(paths.REPRODUCED / f"{name}.json", document)
    _write_page()


def _write_page() -> None:
    """Writes the page from the numbers of all reproductions, in the order of their names."""
    documents = [
        files.read_json(path, "genmodels reproduce")
        for path in sorted(paths.REPRODUCED.glob("*.json"))
    ]
    files.write_text(paths.REPRODUCTIONS_PAGE, reproductions.page(documents))
    page = paths.REPRODUCTIONS_PAGE.name
    print(f"reports/{page}: {len(documents)} of {len(names())} reproductions")


@exit_on_user_error
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command."""
    parser = command_line.parser("reproduce", __doc__)
    parser.add_argument("name", nargs="*", help=f"reproductions (default: {', '.join(names())})")
    parser.add_argument("--page", action="store_true", help="page only, without training")
    parser.add_argument("--force", action="store_true", help="deletes finished results first")
    parser.add_argument(
        "--jobs",
        type=command_line.whole_number(1),
        metavar="N",
        help="largest number of processes on a CPU (default: number of cores)",
    )
    options = parser.parse_args(arguments)
    if options.page:
        _write_page()
        return
    for name, reproduction in {name: read(name) for name in options.name or names()}.items():
        _reproduce(name, reproduction, force=options.force, at_once=options.jobs)


if __name__ == "__main__":
    main()

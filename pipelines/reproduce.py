"""Published results again.

A study is a file of `reproductions/`: the data, complete settings of every model, what is measured
and what is claimed. All of them are made where none is named. What is finished is not made again,
and what was interrupted goes on. The models stay in `outputs/studies/`, the numbers in
`reports/reproductions/<study>.json`, and the page is `reports/reproductions.md`.
"""

import functools
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field

from pipelines import features, prepare, reproduction_page, studies
from pipelines.data import splits
from pipelines.data.prepared import Prepared
from pipelines.settings import command_line, files, paths, presets, sections, yaml_files
from pipelines.settings.code_version import training_version
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.refusals import check, suggest
from pipelines.settings.sections import Name, Section, Seed
from pipelines.studies import Job
from pipelines.study_measures import Measures
from pipelines.training import fingerprint


class Measured(Section):
    """One value of one row.

    Attributes:
        row: The row.
        value: The value's name.
    """

    row: Name
    value: Name


class Along(Section):
    """A value between rows: the polyline through them, read where another value is equal.

    Attributes:
        rows: At least two.
        value: What is read.
        equal: The value in which the other side of the comparison and the polyline agree.
    """

    rows: Annotated[list[Name], Field(min_length=2)]
    value: Name
    equal: Name


class Claim(Section):
    """What a paper or a repository says, and how far off it still counts as found again.

    Attributes:
        text: The claim.
        form: Of `of` by itself, or of `of` minus or divided by `against`, seed by seed.
        of: What is claimed to have a value.
        against: What it is compared with; null for form `value`.
        published: The published value of the form, or null where only a direction is.
        low: The least value that agrees with the claim; null for no limit.
        high: The largest.
    """

    text: str
    form: Literal["value", "difference", "ratio"]
    of: Measured
    against: Measured | Along | None
    published: float | None
    low: float | None
    high: float | None


class Study(Section):
    """A file of `reproductions/`.

    Attributes:
        title: Of its part of the page.
        published: What is published, where, and under which conditions.
        deviations: What is done otherwise here.
        seeds: Of the trainings.
        prepare: The data, as section `prepare` of params.yaml.
        features: The extractor; null where nothing needs one.
        train: As section `train` of params.yaml.
        measures: What is measured.
        rows: Complete settings of each model, as an entry of `models:`.
        claims: What the values are held against; empty where nothing is settled.
    """

    title: str
    published: str
    deviations: list[str]
    seeds: Annotated[list[Seed], Field(min_length=1)]
    prepare: sections.Prepare
    features: sections.Features | None
    train: sections.Train
    measures: Measures
    rows: Annotated[dict[Name, dict[str, Any]], Field(min_length=1)]
    claims: list[Claim]


def names() -> list[str]:
    """All studies, by name."""
    return sorted(path.stem for path in paths.REPRODUCTIONS.glob("*.yaml"))


def read(name: str) -> Study:
    """Reads and checks a study.

    Raises:
        UserError: There is no such study, or its first mistake in one line.
    """
    known = names()
    if name not in known:
        raise UserError(
            f"no study {name!r}{suggest(name, known)}; reproductions/ has {', '.join(known)}"
        )
    path = paths.REPRODUCTIONS / f"{name}.yaml"
    where = f"{path.parent.name}/{path.name}"
    raw = yaml_files.read_yaml(path)
    study = check(functools.partial(Study.model_validate, raw), Study, where)
    if len(set(study.seeds)) != len(study.seeds):
        raise UserError(f"{where}: seeds: {study.seeds} names a seed twice")
    for row, entry in study.rows.items():
        presets.check_entry(entry, f"{where}: rows.{row}")
    try:
        needed = study.measures.need_features
    except ValueError as error:
        raise UserError(f"{where}: measures.metrics: {error}") from None
    if needed and study.features is None:
        raise UserError(f"{where}: features: null, but measures need an extractor")
    for claim in study.claims:
        _check_claim(claim, study, f"{where}: claims: {claim.text!r}")
    return study


def _check_claim(claim: Claim, study: Study, where: str) -> None:
    if (claim.form == "value") != (claim.against is None):
        raise UserError(f"{where}: form {claim.form!r} and against {claim.against!r} contradict")
    if claim.low is None and claim.high is None:
        raise UserError(f"{where}: low and high are both null, so everything would agree")
    sides = [side for side in (claim.of, claim.against) if side is not None]
    for row in [r for s in sides for r in (s.rows if isinstance(s, Along) else [s.row])]:
        if row not in study.rows:
            raise UserError(f"{where}: no row {row!r}; there are {', '.join(study.rows)}")


def prepared(study: Study) -> Prepared:
    """The data of a study and its extractor, made where they are not there yet.

    They lie in a folder that is named after their settings, so that studies share them.

    Raises:
        UserError: The data cannot be had.
    """
    data = fingerprint.digest(study.prepare.model_dump())[:12]
    folder = paths.STUDIES / ".data" / data
    if not (folder / "manifest.json").is_file():
        prepare.make(study.prepare, folder)
    if study.features is None:
        return Prepared(folder, None, None)
    extractor = fingerprint.digest([study.features.model_dump(), data])[:12]
    made = paths.STUDIES / ".data" / f"{data}-features-{extractor}"
    if not (made / "card.json").is_file():
        torch.set_num_threads(study.train.threads)
        features.make(study.features, folder, made)
    return Prepared(folder, made, study.features)


def jobs(name: str, study: Study) -> list[Job]:
    """What is to be trained and measured."""
    data = prepared(study)
    return [
        Job(
            study=name,
            row=row,
            seed=seed,
            entry=entry,
            train=study.train,
            data=data,
            measures=study.measures,
            code=training_version(entry["kind"]),
        )
        for row, entry in study.rows.items()
        for seed in study.seeds
    ]


def reproduce(name: str, study: Study, *, force: bool, at_once: int | None) -> None:
    """Does what is left of a study and writes its numbers.

    Raises:
        UserError: A training failed, or the data cannot be had.
    """
    todo = jobs(name, study)
    results = studies.run(todo, force=force, at_once=at_once)
    data, card = todo[0].data, None
    if data.features is not None:
        card = files.read_json(data.features / "card.json", "the study")
    counts = splits.load_manifest(data.folder)["splits"]
    document = {
        "name": name,
        "study": study.model_dump(),
        "splits": {split: part["count"] for split, part in counts.items()},
        "accuracy": card and card["classifier"]["accuracy"]["test"],
        "results": results,
    }
    files.write_json(paths.REPRODUCED / f"{name}.json", document)


def write_page() -> None:
    """Writes the page from the numbers of all studies, in the order of their names."""
    found = [
        files.read_json(path, "python -m pipelines.reproduce")
        for path in sorted(paths.REPRODUCED.glob("*.json"))
    ]
    files.write_text(paths.REPRODUCTIONS_PAGE, reproduction_page.render(found))
    print(f"reports/{paths.REPRODUCTIONS_PAGE.name}: {len(found)} of {len(names())} studies")


@exit_on_user_error
def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the studies."""
    parser = command_line.parser("reproduce", __doc__)
    parser.add_argument("study", nargs="*", help=f"by default all: {', '.join(names())}")
    parser.add_argument("--page", action="store_true", help="write the page only")
    studies.add_options(parser)
    given = parser.parse_args(arguments)
    if not given.page:
        read_all = {name: read(name) for name in given.study or names()}
        for name, study in read_all.items():
            reproduce(name, study, force=given.force, at_once=given.jobs)
            write_page()
    else:
        write_page()


if __name__ == "__main__":
    main()

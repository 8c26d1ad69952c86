"""Model cards (Mitchell et al. 2019, arXiv 1810.03993), from measured values only."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from evaluation.comparing import significance, tables, value_text, verdict
from evaluation.comparing.leaderboard import Column, Leaderboard, Row
from evaluation.comparing.reference_rows import FLOOR
from evaluation.comparing.value_text import number
from pipelines.reporting.differing import text_of
from pipelines.reporting.inputs import ModelResult, Results
from pipelines.settings.escape import shell

#: What a model can do, by a metric that only such a model has.
ABILITIES = {
    "mse": "encodes images and reconstructs them",
    "elbo": "bounds the likelihood of an image",
    "disc_auroc": "distinguishes generated images from real ones",
}
#: Fraction of an even share; a class that is drawn less often is practically missing.
RARE = 0.2
#: Fraction of the value of held-out images; below it, most of the data is missing.
LITTLE = 0.5
#: Difference of training and test scores in pooled deviations: a small effect (Cohen 1988).
GAP = 0.2
ARCHITECTURE = ("architecture", "width", "depth", "head_width", "head_depth", "latent_dim")
OBJECTIVE = ("likelihood", "sigma", "binarize", "prior", "sampler", "beta", "loss", "penalties")


def cards(results: Results, board: Leaderboard, rank_by: str) -> list[dict[str, Any]]:
    """One card per model, from the best to the worst, as `cards.html.j2` shows it."""
    models = {model.row.name: model for model in results.models}
    measured = [column for column in board.columns if board.families(column)]
    ranks = {column.key: _ranks(board, column) for column in measured}
    groups = board.groups(board.column(rank_by))
    shown = []
    for row in board.ranked(rank_by):
        model, ranking = models[row.name], ranks.get(rank_by, {})
        place = ranking.get(row.name)
        shown.append(
            {
                "name": row.name,
                "summary": f"{place} of {len(ranking)} by {rank_by}" if place else f"no {rank_by}",
                "facts": _facts(model, results.manifest),
                "limits": list(_limits(board, model, measured, rank_by, groups)),
                "scores": _scores(board, row, measured, ranks),
                "commands": _commands(row.name, model.settings),
            }
        )
    return shown


def _facts(model: ModelResult, manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    row, settings = model.row, model.settings
    shape = " × ".join(map(str, manifest["image_shape"]))
    draws = f"draws images of {shape} pixels like those of {manifest['dataset']}"
    conditional = ", of a given class" if settings.get("conditional") else ""
    abilities = [text for name, text in ABILITIES.items() if _mean(row, name) is not None]
    splits = ", ".join(f"{name} {split['count']:,}" for name, split in manifest["splits"].items())
    steps, batch = settings["num_steps"], settings["batch_size"]
    epochs = steps * batch / manifest["splits"]["train"]["count"]
    adam = f"Adam, betas {settings['adam_beta1']:g} and {settings['adam_beta2']:g}"
    rate = f"learning rate {settings['learning_rate']:g}, {settings['learning_rate_schedule']}"
    decay = f", weight decay {settings['weight_decay']:g}" if settings["weight_decay"] else ""
    costs = {key: value_text.count(value) for key, value in row.cost.items()}
    return [
        ("use", "; ".join([draws + conditional, *abilities])),
        ("not for", "images of another kind: the model was only measured on these"),
        ("kind", f"{row.kind} ({row.family.upper()})"),
        ("architecture", _some(settings, ARCHITECTURE)),
        ("objective", _some(settings, OBJECTIVE)),
        ("size", f"{costs['num_parameters']} parameters"),
        ("an image costs", f"{costs['multiply_adds_sample']} multiply-adds"),
        ("data", f"{manifest['dataset']}: {splits}; {manifest['split_design']} split, seed "
                 f"{manifest['split_seed']}"),
        ("training", f"{steps:,} steps of {batch} images, {epochs:.0f} times the train split; "
                     f"{adam}; {rate}{decay}"),
        ("training costs", f"{costs['multiply_adds_run']} multiply-adds a seed"),
        ("training seeds", ", ".join(row.records)),
    ]  # fmt: skip


def _some(settings: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The settings of `keys` that the model has, in words."""
    values = [(key.replace("_", " "), settings[key]) for key in keys if key in settings]
    return ", ".join(f"{name} {text_of(value)}" for name, value in values if value is not None)


def _mean(row: Row, metric: str) -> float | None:
    mean: float | None = row.summary.get(metric, {}).get("mean")
    return mean


def _ranks(board: Leaderboard, column: Column) -> dict[str, int]:
    """The places of the models that have a value; none for a diagnostic."""
    if column.higher_is_better is None:
        return {}
    valued = [r for r in board.ranked(column.key) if board.cell(r, column).mean is not None]
    return {row.name: place for place, row in enumerate(valued, start=1)}


def _scores(
    board: Leaderboard,
    row: Row,
    columns: Sequence[Column],
    ranks: Mapping[str, Mapping[str, int]],
) -> list[tuple[str, str, str, str]]:
    """Name, mean, interval and place of each value that has a direction."""
    lines = []
    for column in columns:
        cell, ranking = board.cell(row, column), ranks[column.key]
        if row.name in ranking:
            places = value_text.decimals(board.cell(r, column).mean for r in board.models)
            bounds = significance.interval(board.values(row, column))
            lines.append(
                (
                    f"{column.key} {column.arrow}",
                    value_text.mean_and_sd(cell.mean, cell.std, places),
                    value_text.interval(bounds, places),
                    f"{ranking[row.name]} of {len(ranking)}",
                )
            )
    return lines


def _limits(
    board: Leaderboard,
    model: ModelResult,
    columns: Sequence[Column],
    rank_by: str,
    groups: Mapping[str, str],
) -> Iterator[str]:
    """Warnings that follow from the measurements, one sentence each."""
    row = model.row
    yield from _copying(board, row)
    yield from _missed_classes(row)
    yield from _missed_data(board, row, columns)
    active = _mean(row, "active_units")
    if active is not None and active < model.settings["latent_dim"]:
        yield (
            f"Uses {active:g} of {model.settings['latent_dim']} latent dimensions (mean of the "
            "seeds); the others carry no information about an image (posterior collapse)."
        )
    gap = _mean(row, "disc_gap")
    if gap is not None and gap >= GAP:
        yield (
            f"The discriminator scores training images {number(gap, 2)} standard deviations above "
            "test images: it overfits."
        )
    seeds = len(row.records)
    if failed := [c.key for c in board.columns if 0 < board.cell(row, c).n < seeds]:
        yield f"Some seeds have no value: {', '.join(failed)}."
    yield from _indistinct(board, row, rank_by, groups)
    if broken := [c.key for c in columns if board.values(row, c) and board.broken(c)]:
        yield f"Misleading here, because they misorder the reference rows: {', '.join(broken)}."
    missing: dict[str, list[str]] = {}
    for column in board.columns:
        cell = board.cell(row, column)
        if cell.mean is None:
            missing.setdefault(tables.in_words(cell.reason), []).append(column.key)
    for reason, names in missing.items():
        yield f"Missing values: {', '.join(names)} ({reason})."


def _copying(board: Leaderboard, row: Row) -> Iterator[str]:
    near = [c.key for c, value in verdict.nearness(board, row) if value < verdict.COPY_BELOW]
    if verdict.is_copy(board, row):
        yield f"The samples are copies of training images, by {' and '.join(near)}."
    elif near:
        limit = number(verdict.COPY_BELOW, 0)
        yield (
            f"Closer to the training images than held-out images are ({', '.join(near)} below "
            f"{limit}), but not in every space: similar or blurred images rather than copies."
        )


def _missed_classes(row: Row) -> Iterator[str]:
    shares = [
        record["params"].get("first_set", {}).get("class_shares")
        for records in row.records.values()
        for record in records
        if record["name"].startswith("is_") and record["value"] is not None
    ]
    means = [fmean(values) for values in zip(*filter(None, shares), strict=True)]
    if rare := [str(i) for i, share in enumerate(means) if share < RARE / len(means)]:
        yield (
            f"Rarely draws class {', '.join(rare)}: less than {RARE:.0%} of an even share, "
            "according to the classifier."
        )


def _missed_data(board: Leaderboard, row: Row, columns: Sequence[Column]) -> Iterator[str]:
    floors = [reference for reference in board.references if reference.name == FLOOR]
    for column in columns:
        if not floors or not column.metric.startswith(("recall_", "coverage_")):
            continue
        value, real = (board.cell(r, column).mean for r in (row, floors[0]))
        if value is not None and real is not None and value < LITTLE * real:
            yield (
                f"Misses much of the data: {column.key} is {number(value, 2)}; held-out images "
                f"have {number(real, 2)}."
            )


def _indistinct(
    board: Leaderboard, row: Row, rank_by: str, groups: Mapping[str, str]
) -> Iterator[str]:
    """That seeds do not distinguish the model from others, or are too few for a test."""
    letters = set(groups.get(row.name, ""))
    if others := [n for n, own in groups.items() if n != row.name and letters & set(own)]:
        yield f"Not distinguishable by {rank_by} from {', '.join(others)}."
    valued = bool(board.values(row, board.column(rank_by)))
    if not groups and valued and len(board.models) > 1:
        seeds = f"{len(row.records)} seed{'s' if len(row.records) != 1 else ''}"
        yield f"Differences in {rank_by} are not testable with {seeds}."


def _commands(name: str, settings: Mapping[str, Any]) -> list[str]:
    lines = [
        shell("dvc", "repro", f"evaluate@{name}"),
        shell("genmodels", "sample", name, "--num", 64, "--out", f"{name}.png"),
    ]
    if settings.get("conditional"):
        lines.append(shell("genmodels", "sample", name, "--class", 0, "--out", f"{name}_0.png"))
    return lines

"""Model cards (Mitchell et al. 2019, arXiv 1810.03993), made from what was measured alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from evaluation.comparing import significance, tables, value_text, verdict
from evaluation.comparing.leaderboard import Column, Leaderboard, Row
from evaluation.comparing.reference_rows import FLOOR
from evaluation.comparing.value_text import number
from pipelines.reporting.inputs import ModelResult, Results
from pipelines.settings.differing import text_of

#: What a model can do, by a value that only such a model has.
ABLE = {
    "mse": "encodes images and reconstructs them",
    "elbo": "bounds the likelihood of an image",
    "disc_auroc": "tells generated images from real ones",
}
#: Of the even share: a class that is drawn less often is as good as missing.
RARE = 0.2
#: Of what held-out images reach: below it, most of the data is missing.
LITTLE = 0.5
#: Pooled deviations between training and test scores: a small effect (Cohen 1988).
GAP = 0.2
ARCHITECTURE = ("architecture", "width", "depth", "head_width", "head_depth", "latent_dim")
OBJECTIVE = ("likelihood", "sigma", "binarize", "prior", "sampler", "beta", "loss", "penalties")

Line = tuple[str, str]


@dataclass(frozen=True)
class Card:
    """One model's card.

    Attributes:
        name: Of the model.
        summary: What stands on the card while it is closed.
        facts: Use, kind, architecture, data, training: name and text.
        scores: One line a value with a direction: name, mean, interval, place.
        limits: Sentences.
        commands: To make it again and to use it.
    """

    name: str
    summary: str
    facts: Sequence[Line]
    scores: Sequence[tuple[str, str, str, str]]
    limits: Sequence[str]
    commands: Sequence[str]


def cards(found: Results, board: Leaderboard, rank_by: str) -> list[Card]:
    """A card a model, from the best to the worst."""
    models = {model.row.name: model for model in found.models}
    ranks = {column.key: _ranks(board, column) for column in board.columns}
    measured = [column for column in board.columns if board.families(column)]
    groups = board.groups(board.column(rank_by))
    made = []
    for row in board.ranked(rank_by):
        model, place = models[row.name], ranks[rank_by].get(row.name)
        rank = f"{place} of {len(ranks[rank_by])} by {rank_by}" if place else f"no {rank_by}"
        limits = list(_limits(board, row, model, measured, rank_by, groups))
        made.append(
            Card(
                row.name,
                rank,
                _facts(model, found.manifest),
                _scores(board, row, measured, ranks),
                limits,
                _commands(row.name, model.settings),
            )
        )
    return made


def _facts(model: ModelResult, manifest: Mapping[str, Any]) -> list[Line]:
    row, settings = model.row, model.settings
    shape = " × ".join(map(str, manifest["image_shape"]))
    draws = f"draws images of {shape} pixels like those of {manifest['dataset']}"
    told = ", of a class that it is told" if settings.get("conditional") else ""
    able = [text for name, text in ABLE.items() if _mean(row, name) is not None]
    splits = ", ".join(f"{name} {split['count']:,}" for name, split in manifest["splits"].items())
    steps, batch = settings["num_steps"], settings["batch_size"]
    epochs = steps * batch / manifest["splits"]["train"]["count"]
    adam = f"Adam, betas {settings['adam_beta1']:g} and {settings['adam_beta2']:g}"
    rate = f"learning rate {settings['learning_rate']:g}, {settings['learning_rate_schedule']}"
    decay = f", weight decay {settings['weight_decay']:g}" if settings["weight_decay"] else ""
    costs = {key: value_text.count(value) for key, value in row.cost.items()}
    return [
        ("use", "; ".join([draws + told, *able])),
        ("not for", "anything but images like these: nothing else was measured"),
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
    """Of the settings those that the model has, in words."""
    found = [(key.replace("_", " "), settings[key]) for key in keys if key in settings]
    return ", ".join(f"{name} {text_of(value)}" for name, value in found if value is not None)


def _mean(row: Row, metric: str) -> float | None:
    found: float | None = row.summary.get(metric, {}).get("mean")
    return found


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
    lines = []
    for column in columns:
        cell = board.cell(row, column)
        if cell.mean is None or column.higher_is_better is None:
            continue
        places = value_text.decimals(board.cell(r, column).mean for r in board.models)
        bounds = significance.interval(board.values(row, column))
        between = value_text.interval(bounds, places)
        place = f"{ranks[column.key][row.name]} of {len(ranks[column.key])}"
        name = f"{column.key} {column.arrow}"
        lines.append((name, value_text.mean_and_sd(cell.mean, cell.std, places), between, place))
    return lines


def _limits(
    board: Leaderboard,
    row: Row,
    model: ModelResult,
    columns: Sequence[Column],
    rank_by: str,
    groups: Mapping[str, str],
) -> Iterator[str]:
    """What the measurements warn of, one sentence each."""
    yield from _copying(board, row)
    yield from _collapse(board, row, columns)
    yield from _posterior_collapse(row, model.settings)
    yield from _overfitting(row)
    yield from _uncertainty(board, row, rank_by, groups)
    broken = [c.key for c in columns if board.cell(row, c).mean is not None and board.broken(c)]
    if broken:
        yield f"In the wrong order on reference rows, so misleading here: {', '.join(broken)}."
    missing: dict[str, list[str]] = {}
    for column in board.columns:
        cell = board.cell(row, column)
        if cell.mean is None:
            missing.setdefault(tables.in_words(cell.reason), []).append(column.key)
    for reason, names in missing.items():
        yield f"Not known: {', '.join(names)} ({reason})."


def _copying(board: Leaderboard, row: Row) -> Iterator[str]:
    near = [c.key for c, value in verdict.nearness(board, row) if value < verdict.COPY_BELOW]
    if verdict.is_copy(board, row):
        yield f"Its samples are copies of training images, by {' and '.join(near)}."
    elif near:
        limit = number(verdict.COPY_BELOW, 0)
        yield (
            f"Nearer to the training images than held-out images are, by {', '.join(near)} below "
            f"{limit}, but not in every space: a likeness or a blur rather than copies."
        )


def _collapse(board: Leaderboard, row: Row, columns: Sequence[Column]) -> Iterator[str]:
    """Classes that it hardly draws, and data that it does not reach."""
    shares = [
        record["params"].get("first_set", {}).get("class_shares")
        for records in row.records.values()
        for record in records
        if record["name"].startswith("is_") and record["value"] is not None
    ]
    told = [found for found in shares if found]
    if told:
        means = [fmean(values) for values in zip(*told, strict=True)]
        rare = [str(i) for i, share in enumerate(means) if share < RARE / len(means)]
        if rare:
            yield (
                f"Hardly draws class {', '.join(rare)}: less than {RARE:.0%} of an even share, as "
                "the classifier sees its samples."
            )
    floor = next((r for r in board.references if r.name == FLOOR), None)
    for column in columns:
        if floor is None or not column.metric.startswith(("recall_", "coverage_")):
            continue
        value, real = (board.cell(r, column).mean for r in (row, floor))
        if value is not None and real is not None and value < LITTLE * real:
            yield (
                f"Misses much of the data: {column.key} {number(value, 2)}, of held-out images "
                f"{number(real, 2)}."
            )


def _posterior_collapse(row: Row, settings: Mapping[str, Any]) -> Iterator[str]:
    active = _mean(row, "active_units")
    if active is not None and active < settings["latent_dim"]:
        yield (
            f"Uses {active:g} of {settings['latent_dim']} latent dimensions, the mean of the "
            "seeds: the others tell nothing about an image (posterior collapse)."
        )


def _overfitting(row: Row) -> Iterator[str]:
    gap = _mean(row, "disc_gap")
    if gap is not None and gap >= GAP:
        yield (
            f"Its discriminator scores training images {number(gap, 2)} deviations above test "
            "images: it has begun to know them."
        )


def _uncertainty(
    board: Leaderboard, row: Row, rank_by: str, groups: Mapping[str, str]
) -> Iterator[str]:
    column = board.column(rank_by)
    seeds = len(row.records)
    failed = [c.key for c in board.columns if 0 < board.cell(row, c).n < seeds]
    if failed:
        yield f"Not every seed has a value: {', '.join(failed)}."
    if not groups:
        if len(board.values(row, column)) and len(board.models) > 1:
            yield f"{seeds} seed{'s' * (seeds != 1)}: too few to test a difference in {rank_by}."
        return
    others = [
        name for name, letters in groups.items()
        if name != row.name and set(letters) & set(groups.get(row.name, ""))
    ]  # fmt: skip
    if others:
        yield f"Not told apart by {rank_by} from {', '.join(others)}."


def _commands(name: str, settings: Mapping[str, Any]) -> list[str]:
    lines = [
        f"dvc repro evaluate@{name}",
        f"python -m pipelines.sample {name} --num 64 --out {name}.png",
    ]
    if settings.get("conditional"):
        lines.append(f"python -m pipelines.sample {name} --class 0 --out {name}_0.png")
    return lines

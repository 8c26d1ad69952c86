"""What changed against another commit: metrics beyond the seeds' interval, and params.

`dvc metrics diff` has a line for each mean, deviation and count of each model, 443 of them where
half of the values moved, and knows neither which direction is better nor what the seeds vary by.
"""

import argparse
import json
import subprocess
import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, get_args

from evaluation import metrics
from evaluation.comparing import significance
from evaluation.comparing.leaderboard import MISSING, Cell, decimals, mean_and_sd, number
from evaluation.comparing.tables import in_words
from pipelines.comparing.text_table import PIPED, cut, text_table
from pipelines.settings import params, paths
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.params import Extractor, measured
from pipelines.tracking.run import flatten

#: A setting's value, such as a schedule, may be of any length.
LONGEST_VALUE = 40

LEGEND = "beyond: each mean lies outside the other's 95 % interval over training seeds."

Summaries = Mapping[str, Mapping[str, Mapping[str, Any]]]


class _Settings(params.Section):
    """What this command reads of params.yaml."""

    report: params.Report


@dataclass(frozen=True)
class Change:
    """One metric of one model whose mean changed, came or went.

    Attributes:
        metric: Its name.
        old: Before; None where it was not measured.
        new: Now; likewise.
        better: Whether it improved; None without a direction or a value on both sides.
        beyond: Whether each mean lies outside Student's 95 % interval of the other over its
            training seeds; None where a side has no such interval.
    """

    metric: str
    old: Cell
    new: Cell
    better: bool | None
    beyond: bool | None


def changes(
    old: Mapping[str, Mapping[str, Any]],
    new: Mapping[str, Mapping[str, Any]],
    directions: Mapping[str, bool | None],
) -> list[Change]:
    """The metrics of a model whose mean differs.

    Args:
        old: Section `metrics` of its reports/metrics/<model>.json.
        new: Likewise.
        directions: By metric whether higher is better.
    """
    found = []
    for name in dict.fromkeys([*new, *old]):
        before, after = _cell(old.get(name)), _cell(new.get(name))
        if before.mean == after.mean:
            continue
        better = beyond = None
        if before.mean is not None and after.mean is not None:
            direction = directions.get(name)
            better = None if direction is None else (after.mean > before.mean) == direction
            beyond = _beyond(before, after)
        found.append(Change(name, before, after, better, beyond))
    return found


def _beyond(one: Cell, other: Cell) -> bool | None:
    for cell, mean in ((one, other.mean), (other, one.mean)):
        if cell.mean is None or cell.std is None or mean is None:
            return None
        bounds = significance.Sample(cell.mean, cell.std, cell.n).interval()
        if bounds is None or bounds[0] <= mean <= bounds[1]:
            return False
    return True


def _cell(value: Mapping[str, Any] | None) -> Cell:
    if value is None:
        return Cell(None, None, 0, "not_measured")
    return Cell(value["mean"], value["std"], value["n"], value.get("reason"))


def changed_params(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """The settings that differ: key, old and new value, a dash where there is none.

    A model's entry that came or went whole is one line.

    Args:
        old: The content of params.yaml.
        new: Likewise.
    """
    shared = set(old.get("models", {})) & set(new.get("models", {}))
    one, other = _flat(old, shared), _flat(new, shared)
    return [
        (key, one.get(key, MISSING), other.get(key, MISSING))
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key)
    ]


def _flat(settings: Mapping[str, Any], shared: set[str]) -> dict[str, str]:
    models = {
        name: entry if name in shared else f"{len(entry)} settings"
        for name, entry in settings.get("models", {}).items()
    }
    return dict(flatten(_by_place({**settings, "models": models})))


def _by_place(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Lists of entries, such as gates, as entries by their place: one that differs is told."""
    found = {}
    for key, value in settings.items():
        content = value
        if isinstance(value, list) and any(isinstance(part, Mapping) for part in value):
            content = {str(place): part for place, part in enumerate(value)}
        found[key] = _by_place(content) if isinstance(content, Mapping) else content
    return found


def metrics_text(
    old: Summaries, new: Summaries, directions: Mapping[str, bool | None], rank_by: str, every: bool
) -> str:
    """The metrics as a table, then what it leaves out; empty where nothing changed.

    Args:
        old: For each model its metrics.
        new: Likewise.
        directions: By metric whether higher is better.
        rank_by: The metric that is shown wherever it changed.
        every: Whether to show the changes within the seeds' interval, too.
    """
    rows, within = [], 0
    both = [model for model in new if model in old]
    for model in both:
        shared = old[model].keys() & new[model].keys()
        found = changes(_only(old[model], shared), _only(new[model], shared), directions)
        shown = [c for c in found if every or c.beyond is not False or c.metric == rank_by]
        within += len(found) - len(shown)
        shown.sort(key=lambda change: change.metric != rank_by)
        rows += [_row(model, change) for change in shown]
    lines = text_table(["model", "metric", "before", "now", "change", "result"], rows, (2, 3, 4))
    parts = [*lines, "", LEGEND] if rows else []
    parts += [_left_out(within)] if within else []
    for title, here, there in (("added", new, old), ("gone", old, new)):
        models = [model for model in here if model not in there]
        values = {m: 0 for model in both for m in here[model] if m not in there[model]}
        for what, names in (("Models", models), ("Metrics", values)):
            parts += textwrap.wrap(f"{what} {title}: {', '.join(names)}.", PIPED) if names else []
    return "\n".join(parts)


def _only(
    metrics: Mapping[str, Mapping[str, Any]], names: Collection[str]
) -> dict[str, Mapping[str, Any]]:
    return {name: value for name, value in metrics.items() if name in names}


def _left_out(count: int) -> str:
    several = count != 1
    return (
        f"{count} more mean{'s' if several else ''} moved within that interval; --all shows "
        f"{'them' if several else 'it'}."
    )


def _row(model: str, change: Change) -> list[str]:
    old, new = change.old, change.new
    places = decimals([old.mean, new.mean])
    moved = MISSING
    if old.mean is not None and new.mean is not None:
        moved = number(new.mean - old.mean, places)
        moved = f"+{moved}" if new.mean > old.mean else moved
    words = {True: "better", False: "worse", None: ""}[change.better]
    range_ = {True: "beyond", False: "within", None: ""}[change.beyond]
    missing = in_words(new.reason) if new.mean is None else ""
    seeds = f"{old.n} → {new.n} seeds" if old.n != new.n and not missing else ""
    result = ", ".join(part for part in (words, range_, seeds, missing) if part)
    cells = [mean_and_sd(old, places), mean_and_sd(new, places), moved]
    return [model, change.metric, *cells, result]


def params_text(changed: Sequence[tuple[str, str, str]]) -> str:
    """The settings as a table; empty where none changed."""
    if not changed:
        return ""
    rows = [[key, cut(old, LONGEST_VALUE), cut(new, LONGEST_VALUE)] for key, old, new in changed]
    return "\n".join(text_table(["setting", "before", "now"], rows))


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def committed(revision: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The metrics of each model and the settings at a commit.

    Raises:
        UserError: There is no such commit, this is no git repository, or a file is broken there.
    """
    try:
        commit = _git(
            "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"
        ).strip()
        folder, file = (
            path.relative_to(paths.ROOT).as_posix() for path in (paths.METRICS, paths.PARAMS)
        )
        names = _git("ls-tree", "--name-only", commit, f"{folder}/", file).splitlines()
        texts = {name: _git("show", f"{commit}:./{name}") for name in names}
    except (OSError, subprocess.CalledProcessError):
        raise UserError(f"{revision}: no such commit (`git log` lists them)") from None
    settings = params.parse_yaml(texts.pop(file, "{}"), f"{revision}:{file}")
    found = {}
    for name, text in texts.items():
        if name.endswith(".json"):
            found[PurePosixPath(name).stem] = _metrics(text, f"{revision}:{name}")
    return found, settings


def _metrics(text: str, where: str) -> dict[str, Any]:
    try:
        metrics: dict[str, Any] = dict(json.loads(text)["metrics"])
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{where}: not the metrics of a model") from None
    return metrics


def present() -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of the working tree."""
    metrics = {
        path.stem: _metrics(path.read_text("utf-8"), str(path))
        for path in sorted(paths.METRICS.glob("*.json"))
    }
    return metrics, params.read_yaml(paths.PARAMS)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipelines.diff", description="Metrics and params against another commit."
    )
    parser.add_argument(
        "revision", nargs="?", default="HEAD", help="a commit, branch or tag (default: HEAD)"
    )
    parser.add_argument(
        "--all", action="store_true", help="also changes within the seeds' interval"
    )
    return parser.parse_args()


@exit_on_user_error
def main() -> None:
    """Prints what changed between a commit and the working tree."""
    given = parse()
    old, old_params = committed(given.revision)
    new, new_params = present()
    directions = measured(metrics.available(), get_args(Extractor))
    rank_by = params.load_part(_Settings).report.rank_by
    texts = [
        metrics_text(old, new, directions, rank_by, given.all),
        params_text(changed_params(old_params, new_params)),
    ]
    if not any(texts):
        print(f"no metric and no setting differs from {given.revision}")
        return
    print(f"The working tree against {given.revision}:\n")
    print("\n\n".join(text for text in texts if text))


if __name__ == "__main__":
    main()

"""Stage `report`: one HTML page that opens offline, one Markdown file, one CSV file.

Writes `reports/index.html`, `reports/comparison.md` and `reports/leaderboard.csv`. Equal inputs
give equal bytes: the files contain no time, host name, commit or run id.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup
from markupsafe import escape as escape_html

from evaluation import metrics
from evaluation.comparing import reference_rows, tables, value_text, verdict
from evaluation.comparing.leaderboard import Leaderboard
from pipelines.comparing import gates
from pipelines.reporting import cards, inputs, panels, pictures
from pipelines.reporting.differing import side_by_side
from pipelines.reporting.inputs import ModelResult, Results
from pipelines.settings import command_line, escape, files, paths, resolving
from pipelines.settings.errors import exit_on_user_error
from pipelines.settings.resolved import ReportSettings

TEMPLATES = Path(__file__).parent / "reporting" / "templates"
#: Size in bytes of a page that is easy to send; for a larger page the command prints a hint.
LARGE = 3_000_000
#: Cost columns of the leaderboard: title and meaning.
COSTS = {
    "num_parameters": ("parameters", "Trained parameters, discriminator included"),
    "multiply_adds_sample": ("sampling", "Multiply-adds to sample one image"),
    "multiply_adds_run": ("training", "Multiply-adds of one training"),
}


def build(settings: ReportSettings, results: Results) -> dict[Path, str]:
    """Renders the report: the text of each file.

    Raises:
        UserError: `report.rank_by` names no measured metric, or values are not comparable.
    """
    rows = [model.row for model in results.models]
    board = inputs.board(rows, results.references, settings.report.rank_by)
    context = _context(settings, results, board)
    templates = _environment()
    return {
        paths.REPORT: templates.get_template("index.html.j2").render(context),
        paths.COMPARISON: templates.get_template("comparison.md.j2").render(context),
        paths.LEADERBOARD: board.frame().to_csv(lineterminator="\n"),
    }


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters: dict[str, Callable[[Any], str]] = {
        # A name may wrap after each underscore.
        "breakable": lambda name: Markup("_<wbr>").join(name.split("_")),
        # In the text of a docstring, text between backticks is code.
        "prose": lambda text: Markup(re.sub("`(.*?)`", r"<code>\1</code>", str(escape_html(text)))),
        "code": escape.markdown_code,
        "markdown": escape.markdown,
        "count": value_text.count,
        "rounded": value_text.rounded,
    }
    environment.filters |= filters
    environment.globals["include_raw"] = lambda name: Markup((TEMPLATES / name).read_text("utf-8"))
    return environment


def _context(settings: ReportSettings, results: Results, board: Leaderboard) -> dict[str, Any]:
    rank_by, looks = settings.report.rank_by, pictures.looks(board)
    return {
        "title": "Generative models compared",
        "board": board,
        "rank_by": board.column(rank_by),
        "verdict": verdict.verdict(board, rank_by),
        "seeds": settings.seeds,
        "looks": looks,
        "costs": COSTS,
        "tables": tables.tables(board, rank_by),
        "empty_columns": tables.empty_columns(board),
        "references": tables.REFERENCE_NAMES,
        "highlights": pictures.highlights(results, board, rank_by),
        "galleries": pictures.galleries(results, board, rank_by, looks),
        "panels": panels.panels(board, rank_by, list(results.cards), looks),
        "training_costs": [row.cost["multiply_adds_run"] for row in board.models],
        "copy_below": value_text.number(verdict.COPY_BELOW, 0),
        "curves": pictures.curves(results.models, looks),
        "manifest": results.manifest,
        "cards": [_facts(card) for card in results.cards.values()],
        "model_cards": cards.cards(results, board, rank_by),
        "warnings": [card["warning"] for card in results.cards.values() if card["warning"]],
        "remarks": [text for text in (_stability(board, rank_by), verdict.copies(board)) if text],
        "reference_rows": [
            {
                "name": tables.REFERENCE_NAMES[name],
                "meaning": reference_rows.MEANING[name],
                "uri": pictures.data_uri(png),
            }
            for name, png in results.reference_pictures.items()
        ],
        "settings": _settings(results.models),
        "studies": results.studies,
        "definitions": _definitions(settings.definitions, board),
        "gates": gates.check_gates(
            settings.report, {row.name: row for row in board.models}, board.champion(rank_by)
        ),
        "scores": _scores(board, rank_by),
    }


def _scores(board: Leaderboard, rank_by: str) -> dict[str, str]:
    cells = {row.name: board.cell(row, board.column(rank_by)) for row in board.models}
    places = value_text.decimals(cell.mean for cell in cells.values())
    return {n: value_text.mean_and_sd(cell.mean, cell.std, places) for n, cell in cells.items()}


def _stability(board: Leaderboard, rank_by: str) -> str:
    """How stable the ranking is when the extractor is retrained with other seeds."""
    least = board.rank_stability(board.column(rank_by))
    if least is None:
        return ""
    return (
        f"Rank correlation (Spearman) of {rank_by} with the same distance under extractors that "
        f"were trained with other seeds: at least {value_text.number(least, 3)}."
    )


def _definitions(texts: Mapping[str, str], board: Leaderboard) -> list[dict[str, Any]]:
    """For each metric its definition and the protocol of each of its values."""
    groups = []
    for name, text in texts.items():
        patterns = [v.name.replace("{extractor}", "*") for v in metrics.load_metric(name).values]
        columns = [c for c in board.columns if any(fnmatchcase(c.metric, p) for p in patterns)]
        groups.append({"name": name, "text": text, "columns": columns})
    return groups


def _facts(card: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The numbers and words of an extractor's card; long lists and tables stay in the file."""
    lines: list[tuple[str, str]] = []
    for key, value in card.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            lines += _facts(value, f"{prefix}{key} ")
        elif isinstance(value, float):
            lines.append((name, value_text.rounded(value)))
        elif isinstance(value, list):
            if all(isinstance(part, int) for part in value) and len(value) <= 4:
                lines.append((name, " × ".join(map(str, value))))
        elif value is not None:
            lines.append((name, f"{value:,}" if isinstance(value, int) else str(value)))
    return lines


def _settings(models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """A table per family: its settings down, its models across, lines that differ marked."""
    families: dict[str, list[ModelResult]] = {}
    for model in models:
        families.setdefault(model.row.family, []).append(model)
    return [
        {
            "family": family,
            "models": [model.row.name for model in members],
            "lines": side_by_side([model.settings for model in members]),
        }
        for family, members in families.items()
    ]


@exit_on_user_error
def main() -> None:
    """Runs the stage."""
    command_line.parser("report", __doc__).parse_args()
    settings = resolving.load(ReportSettings)
    results = inputs.read(settings.selected, settings.seeds)
    for path, text in build(settings, results).items():
        files.write_text(path, text)
    size = paths.REPORT.stat().st_size
    hint = "; lower evaluate.grid_images to make it smaller" if size > LARGE else ""
    print(f"reports/index.html: {len(results.models)} models, {size / 1e6:.1f} MB{hint}")


if __name__ == "__main__":
    main()

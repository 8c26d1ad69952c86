"""Stage `report`: one HTML page that opens offline, one Markdown file, one CSV file.

Writes `reports/index.html`, `reports/comparison.md` and `reports/leaderboard.csv`. Equal inputs
give equal bytes: the files contain no time, host name, commit or run id.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from evaluation import metrics
from evaluation.comparing import reference_rows, tables, value_text, verdict
from evaluation.comparing.leaderboard import Column, Leaderboard, leaderboard
from pipelines.comparing import gates
from pipelines.reporting import cards, inputs, panels, pictures, plots, settings_table, tradeoffs
from pipelines.reporting.inputs import Results
from pipelines.settings import command_line, escape, files, paths, resolving
from pipelines.settings.errors import UserError, exit_on_user_error
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

LIMITS = (
    "Values in feature space are valid for this extractor, this data and this number of images. "
    "fid_classifier is not the Inception FID of papers and is not comparable with published values "
    "or with other extractors, data sets or numbers of images.",
    "The Fréchet distance of finite sets is biased upwards, about as 1/n, so even real images do "
    "not score 0. Do not rank two models whose difference is smaller than the variation of the "
    "rows of real images.",
    "With up to three training seeds per model, no difference is testable: no permutation test can "
    "reach p = 0.05. The value of a seed is the mean over its sets of samples; standard deviation "
    "and Student's interval are over the seeds.",
    "A conditional model draws the classes of the test images, one by one. So it has the correct "
    "share of each class by construction, which other models have to learn, and its distances can "
    "be lower than those of the held-out row, which is drawn at random.",
    "Discriminators of two models are not comparable: a low accuracy means a good generator or a "
    "weak discriminator. Likelihoods are comparable only within one observation model, and "
    "likelihoods given the class (given_class in the column's name) only with each other: one of "
    "ten classes is worth up to ln 10 nats.",
    "A distance to the test images rewards copies of training images as much as new images of the "
    "same quality.",
)


def build(settings: ReportSettings, results: Results) -> dict[Path, str]:
    """Renders the report.

    Args:
        settings: The settings of the stage.
        results: The outputs of the other stages.

    Returns:
        The text of each file.

    Raises:
        UserError: `report.rank_by` names no measured metric, or values are not comparable.
    """
    rank_by = settings.report.rank_by
    try:
        board = leaderboard([model.row for model in results.models], results.references)
    except ValueError as error:
        raise UserError(f"{error}; `dvc repro` measures them again") from None
    try:
        board.ranked(rank_by)
    except ValueError as error:
        raise UserError(f"params.yaml: report.rank_by: {error}") from None
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
    environment.filters["breakable"] = breakable
    environment.filters["prose"] = prose
    environment.filters["code"] = escape.markdown_code
    environment.filters["markdown"] = escape.markdown
    environment.filters["count"] = value_text.count
    environment.filters["rounded"] = value_text.rounded
    environment.globals["include_raw"] = lambda name: Markup((TEMPLATES / name).read_text("utf-8"))
    return environment


def breakable(name: str) -> Markup:
    """A name that may wrap after each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def prose(text: str) -> Markup:
    """The text of a docstring; text between backticks is code."""
    parts = text.split("`")
    return Markup().join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(parts)
    )


def _context(settings: ReportSettings, results: Results, board: Leaderboard) -> dict[str, Any]:
    rank_by, looks = settings.report.rank_by, plots.looks(board)
    extractors = list(results.cards)
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
        "panels": {
            "tradeoffs": ("Trade-offs", tradeoffs.tradeoffs(board, rank_by, looks)),
            "judges": (
                "Discriminators and judges",
                panels.judges(board, rank_by, extractors, looks),
            ),
            "memorisation": (
                "Memorisation",
                panels.memorisation(board, rank_by, extractors, looks),
            ),
        },
        "curves": plots.curves(results.models, looks),
        "manifest": results.manifest,
        "cards": [settings_table.facts(card) for card in results.cards.values()],
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
        "settings": settings_table.settings(results.models),
        "studies": results.studies,
        "definitions": _definitions(settings.definitions, board),
        "limits": LIMITS,
        "gates": gates.check_gates(
            settings.report, {row.name: row for row in board.models}, board.champion(rank_by)
        ),
        "scores": _scores(board, rank_by),
    }


def _scores(board: Leaderboard, rank_by: str) -> dict[str, str]:
    column = board.column(rank_by)
    places = value_text.decimals(board.cell(row, column).mean for row in board.models)
    cells = {row.name: board.cell(row, column) for row in board.models}
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
        specs = metrics.load_metric(name).values
        matching = {c.metric for c in board.columns for spec in specs if _matches(spec.name, c)}
        columns = [column for column in board.columns if column.metric in matching]
        groups.append({"name": name, "text": text, "columns": columns})
    return groups


def _matches(pattern: str, column: Column) -> bool:
    before, placeholder, after = pattern.partition("{extractor}")
    if not placeholder:
        return column.metric == pattern
    return column.metric.startswith(before) and column.metric.endswith(after)


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

"""Stage `report`: one page that opens offline, one Markdown file, one CSV file.

Writes `reports/index.html`, `reports/comparison.md` and `reports/leaderboard.csv`. Equal inputs
give equal bytes: nothing in them comes from a clock, a host, a commit or a store.
"""

import base64
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from evaluation import comparison, pictures, reference_rows, tables, verdict
from evaluation.comparison import Leaderboard
from pipelines import files, gates, params, paths, report_inputs, report_plots
from pipelines.errors import UserError, exit_on_user_error
from pipelines.report_inputs import ModelResult, Results
from pipelines.report_plots import Look

TEMPLATES = Path(__file__).parent / "templates"
#: A page that people send to one another; a larger one is written, too, but said to be large.
LARGE = 3_000_000
CAPTIONS = {
    "samples": ("Samples", "Drawn from the same sampling seed for every model, not picked."),
    "classes": (
        "Classes",
        "Samples of the conditional models: a class a row, the same latent codes in every row.",
    ),
    "reconstructions": (
        "Reconstructions",
        "The same test images for every model: each row of originals stands above the row of "
        "their reconstructions. Models without an encoder have none.",
    ),
    "nearest": (
        "Nearest training images",
        "Of all samples those that lie nearest to a training image, in pixels: each row of samples "
        "stands above the row of their neighbours. Copies would be alike to the last pixel.",
    ),
    "interpolations": (
        "Interpolations",
        "From one latent code to another, in equal steps; a conditional model keeps the class of "
        "a row.",
    ),
    "traversals": (
        "Traversals",
        "A latent dimension a row, the largest rate first, at most 16: from -2.5 to 2.5, with the "
        "other dimensions at 0. A row in which nothing changes is a dimension that the model does "
        "not use. Of an autoencoder and a VampPrior, which have no such rates: the largest "
        "variance of the code first, and 2.5 standard deviations to either side of its mean, over "
        "the test images. A conditional model keeps the class of the first test image.",
    ),
    "rates": (
        "Rate of each dimension",
        "What a latent dimension tells about an image on average, KL(q(z|x) || p(z)) on the test "
        "split; together they are the rate of the table. A hollow, crossed bar is a dimension that "
        "is not active: its mean varies by less than 0.01 over the images. Many of them are "
        "posterior collapse.",
    ),
    "plane": (
        "Latent plane",
        "Models of two latent dimensions: images at the quantiles of the prior, evenly spaced in "
        "probability, z_0 to the right and z_1 upwards, and the codes of test images. The images "
        "of a conditional model have the class of the first test image.",
    ),
}

#: The picture of a gallery where it is called otherwise.
PICTURES = {"plane": "manifold"}

LIMITS = (
    "Values in feature space belong to this extractor, this data and this number of images. "
    "fid_classifier is not the Inception FID of papers: it is comparable neither with published "
    "numbers nor across extractors, data sets or n.",
    "The Fréchet distance of finite sets is biased upwards, about as 1/n, so even real images do "
    "not score 0. Two models closer to each other than such rows vary should not be ranked.",
    "Few training seeds say little: up to three a side, no permutation test can reach 0.05, "
    "whatever the values. The interval is Student's, over training seeds, each the mean over its "
    "sets of samples; the standard deviation is that of the seeds.",
    "A conditional model draws the classes of the test images, row by row: it has the right share "
    "of each class by construction, which any other model has to learn, and its distances can be "
    "lower than those of real images drawn at random, which the held-out row is.",
    "Discriminators of two models are not comparable: a low accuracy is a good generator or a bad "
    "discriminator. Likelihoods compare only within one observation model.",
    "A distance to the test images rewards copies of the training images as much as new images of "
    "the same quality.",
)


def build(settings: params.Params, found: Results) -> dict[Path, str]:
    """Renders the report.

    Args:
        settings: The whole of params.yaml.
        found: What the stages before have left.

    Returns:
        For each file its text.

    Raises:
        UserError: `report.rank_by` names no measured metric, or values are not comparable.
    """
    rank_by = settings.report.rank_by
    try:
        board = comparison.leaderboard([model.row for model in found.models], found.references)
    except ValueError as error:
        raise UserError(f"{error}; `dvc repro` makes them anew") from None
    try:
        board.ranked(rank_by)
    except ValueError as error:
        raise UserError(f"params.yaml: report.rank_by: {error}") from None
    context = _context(settings, found, board)
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
    environment.filters["code"] = _markdown_code
    environment.filters["count"] = comparison.count
    environment.globals["include_raw"] = lambda name: Markup((TEMPLATES / name).read_text("utf-8"))
    return environment


def breakable(name: str) -> Markup:
    """A name that may wrap behind each underscore."""
    return Markup("_<wbr>").join(name.split("_"))


def prose(text: str) -> Markup:
    """A docstring's text: what stands between backticks is code."""
    parts = text.split("`")
    return Markup().join(
        Markup("<code>{}</code>").format(part) if index % 2 else part
        for index, part in enumerate(parts)
    )


def _markdown_code(text: object) -> str:
    """Inline code that cannot leave its table cell."""
    return "`" + str(text).replace("`", "'").replace("|", r"\|") + "`"


def _context(settings: params.Params, found: Results, board: Leaderboard) -> dict[str, Any]:
    rank_by, looks = settings.report.rank_by, report_plots.looks(board)
    return {
        "title": "Generative models compared",
        "board": board,
        "rank_by": board.column(rank_by),
        "verdict": verdict.verdict(board, rank_by),
        "seeds": settings.seeds,
        "looks": looks,
        "tables": tables.tables(board, rank_by),
        "empty_columns": tables.empty_columns(board),
        "references": tables.REFERENCE_NAMES,
        "highlights": _highlights(found, board, rank_by),
        "galleries": _galleries(found, looks),
        "curves": report_plots.curves(found.models, looks),
        "tradeoffs": report_plots.tradeoffs(board, rank_by, looks),
        "manifest": found.manifest,
        "cards": [_flat(card) for card in found.cards.values()],
        "warnings": [card["warning"] for card in found.cards.values() if card["warning"]],
        "remarks": [text for text in (_stability(board, rank_by), verdict.copies(board)) if text],
        "reference_rows": [
            {
                "name": tables.REFERENCE_NAMES[name],
                "meaning": reference_rows.MEANING[name],
                "uri": _data_uri(png),
            }
            for name, png in found.reference_pictures.items()
        ],
        "settings": _settings(found.models),
        "definitions": _definitions(settings.evaluate.metrics, board),
        "limits": LIMITS,
        "gates": gates.outcomes(
            settings.report, {row.name: row for row in board.models}, board.champion(rank_by)
        ),
        "scores": _scores(board, rank_by),
    }


def _data_uri(png: bytes) -> str:
    # The page enlarges them itself: a quarter less to send.
    return f"data:image/png;base64,{base64.b64encode(pictures.undoubled(png)).decode()}"


def _scores(board: Leaderboard, rank_by: str) -> dict[str, str]:
    column = board.column(rank_by)
    places = comparison.decimals(board.cell(row, column).mean for row in board.models)
    return {
        row.name: comparison.mean_and_sd(board.cell(row, column), places) for row in board.models
    }


def _stability(board: Leaderboard, rank_by: str) -> str:
    """Whether the ranking is that of one training of the extractor."""
    least = board.rank_stability(board.column(rank_by))
    if least is None:
        return ""
    return (
        f"Rank correlation (Spearman) of {rank_by} with the same distance under extractors "
        f"trained from other seeds: at least {comparison.number(least, 3)}."
    )


def _highlights(found: Results, board: Leaderboard, rank_by: str) -> list[dict[str, str]]:
    """The samples of the best model of each family."""
    shown = {model.row.name: model.pictures for model in found.models}
    chosen = []
    for family in dict.fromkeys(row.family for row in board.models):
        best = next(row for row in board.ranked(rank_by, family))
        if "samples" in shown[best.name]:
            uri = _data_uri(shown[best.name]["samples"])
            chosen.append({"family": family, "name": best.name, "uri": uri})
    return chosen


def _galleries(found: Results, looks: Mapping[str, Look]) -> list[dict[str, Any]]:
    """For each sort of picture those of all models that have it, as `uri` or as `plot`."""
    plots = {
        "rates": report_plots.rates(found.models, looks),
        "plane": report_plots.planes(found.models, found.manifest["class_names"] or []),
    }
    galleries = []
    for key, (title, caption) in CAPTIONS.items():
        picture = PICTURES.get(key, key)
        shown = []
        for model in found.models:
            name = model.row.name
            if picture in model.pictures:
                shown.append({"name": name, "uri": _data_uri(model.pictures[picture])})
            if name in plots.get(key, {}):
                shown.append({"name": name, "plot": plots[key][name]})
        if shown:
            galleries.append({"key": key, "title": title, "caption": caption, "pictures": shown})
    return galleries


def _flat(value: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """The numbers and words of a nested mapping; long lists and tables are left to the file."""
    lines: list[tuple[str, str]] = []
    for key, item in value.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(item, Mapping):
            lines += _flat(item, f"{prefix}{key} ")
        elif isinstance(item, float):
            lines.append((name, f"{item:.4g}"))
        elif isinstance(item, list):
            if all(isinstance(part, int) for part in item) and len(item) <= 4:
                lines.append((name, " × ".join(map(str, item))))
        elif item is not None:
            lines.append((name, f"{item:,}" if isinstance(item, int) else str(item)))
    return lines


def _settings(models: Sequence[ModelResult]) -> list[dict[str, Any]]:
    """For each family a table: its settings down, its models across, what differs marked."""
    blocks = []
    for family in dict.fromkeys(model.row.family for model in models):
        members = [model for model in models if model.row.family == family]
        lines = []
        for key in dict.fromkeys(key for model in members for key in model.settings):
            values = [
                _show(model.settings[key]) if key in model.settings else "" for model in members
            ]
            lines.append({"key": key, "values": values, "differs": len(set(values)) > 1})
        blocks.append({"family": family, "models": [m.row.name for m in members], "lines": lines})
    return blocks


def _show(value: Any) -> str:
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )


def _definitions(names: Sequence[str], board: Leaderboard) -> list[dict[str, Any]]:
    """For each metric what its file says about it, and the protocol of each of its values."""
    from evaluation import metric as registry  # noqa: PLC0415  (loads every metric)

    groups = []
    for name in names:
        metric = registry.load(name)
        doc = " ".join((sys.modules[metric.compute.__module__].__doc__ or "").split())
        found = {
            column.metric
            for column in board.columns
            for spec in metric.values
            if _matches(spec.name, column)
        }
        columns = [column for column in board.columns if column.metric in found]
        groups.append({"name": name, "text": doc, "columns": columns})
    return groups


def _matches(pattern: str, column: comparison.Column) -> bool:
    before, placeholder, after = pattern.partition("{extractor}")
    if not placeholder:
        return column.metric == pattern
    return column.metric.startswith(before) and column.metric.endswith(after)


@exit_on_user_error
def main() -> None:
    """Runs the stage."""
    settings = params.load()
    found = report_inputs.read(settings)
    for path, text in build(settings, found).items():
        files.write_text(path, text)
    size = paths.REPORT.stat().st_size
    hint = "; lower evaluate.grid_images to make it smaller" if size > LARGE else ""
    print(f"reports/index.html: {len(found.models)} models, {size / 1e6:.1f} MB{hint}")


if __name__ == "__main__":
    main()

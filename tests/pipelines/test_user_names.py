"""Names that a user chose stand in the report and in MLflow as they are, and break nothing."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from markupsafe import escape

from evaluation.comparing import leaderboard
from pipelines import report
from pipelines.reporting import inputs
from pipelines.settings import paths
from pipelines.tracking import from_files
from pipelines.tracking.run import Identity
from tests.pipelines.report_project import report_settings

NAMES = [
    "price_$5_to_$10",
    "a|b",
    "<b>&x",
    "_`x`_",
    "[link](x)",
    "\"'",
    "c\nd",
    "$",
    "\udcff",
    "猫",
]


def test_class_folders_may_have_any_name(before_report: Path) -> None:
    path = paths.PREPARE / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["class_names"] = NAMES
    path.write_text(json.dumps(manifest))
    for path in paths.EVALUATE.rglob("latents.json"):
        latents = json.loads(path.read_text())
        if latents.get("plane"):
            labels = list(range(len(NAMES)))
            latents["plane"] = {"codes": [[label, label] for label in labels], "labels": labels}
            path.write_text(json.dumps(latents))
    report.main()
    page = paths.REPORT.read_text("utf-8")
    legend = {unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", page)}
    shown = {text.removeprefix("\N{ZERO WIDTH SPACE}") for text in legend}
    for name in NAMES:
        assert re.sub("[\udcff\n]", "\N{REPLACEMENT CHARACTER}", name) in shown


@pytest.mark.parametrize("name", ["a|b", "`x` | y", "<b>&x", "*a*_b_", "[x](y)"])
def test_a_model_may_have_any_name(name: str, before_report: Path) -> None:
    settings = report_settings()
    results = inputs.read(settings.selected, settings.seeds)
    before = table(report.build(settings, results)[paths.COMPARISON])
    first = results.models[0]
    row = leaderboard.Row(name, **{k: v for k, v in vars(first.row).items() if k != "name"})
    results.models[0] = replace(first, row=row)
    texts = report.build(settings, results)
    after = table(texts[paths.COMPARISON])
    renamed = [[name if cell == first.row.name else cell for cell in line] for line in before]
    assert after == renamed
    assert str(escape(name)) in texts[paths.REPORT]
    assert escape(name) == name or name not in texts[paths.REPORT]
    first_lines = MarkdownIt().parse(texts[paths.COMPARISON])[:8]
    assert not [
        t for t in first_lines for c in t.children or [] if c.type in {"link_open", "em_open"}
    ]


def test_the_description_of_a_run_may_hold_any_name() -> None:
    name = "a|b <i> `c`"
    record = {"name": name, "value": 1.0, "higher_is_better": True}
    summary = {"cost": {"num_parameters": 1}, "metrics": {}}
    text = from_files.describe(Identity(name, "vae", "vae", 0, "f" * 64), [record], summary)
    assert table(text)[1:] == [[name, "1", "", "higher"]]


def table(markdown: str) -> list[list[str]]:
    """The cells of the first table, row by row."""
    rows: list[list[str]] = []
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(markdown)
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "table_close":
            break
        elif token.type == "inline" and rows:
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows

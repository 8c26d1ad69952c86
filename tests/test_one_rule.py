"""One rule for "is A better than B?": nothing outside of significance.py tests a difference itself.

Metrics and measures have intervals and tests of their own (of a share, of a judge), which compare
no two models; everything that compares models, or draws or prints a comparison, is checked.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RULE = ROOT / "evaluation/comparing/significance.py"
COMPARING = ("pipelines", "evaluation/comparing", "evaluation/figures")
FILES = sorted(
    path for folder in COMPARING for path in (ROOT / folder).rglob("*.py") if path != RULE
)
#: The steps of the rule: only `Difference` combines them.
STEPS = {"welch", "holm", "ttest_ind", "ttest_ind_from_stats", "pvalue", "ppf"}
LOW, HIGH = {"low", "lower"}, {"high", "higher", "upper"}


def own_rules(source: str) -> list[str]:
    """The parts of a file that test a difference: steps of a test, overlap of ranges, intervals."""
    return [text for node in ast.walk(ast.parse(source)) if (text := _own_rule(node))]


def _own_rule(node: ast.AST) -> str:
    if isinstance(node, ast.Import | ast.ImportFrom) and "scipy.stats" in ast.unparse(node):
        return ast.unparse(node)
    if isinstance(node, ast.ImportFrom) and node.module == "scipy":
        return ast.unparse(node) if "stats" in {name.name for name in node.names} else ""
    if isinstance(node, ast.Attribute) and node.attr in STEPS:
        return ast.unparse(node)
    if not isinstance(node, ast.Compare):
        return ""
    sides = [_end(side) for side in (node.left, *node.comparators)]
    ends, owners = [end for end, _ in sides], {owner for _, owner in sides}
    overlap = sorted(ends) == ["high", "low"] and len(owners) == 2
    inside = len(ends) == 3 and (ends[0], ends[2]) == ("low", "high")
    return ast.unparse(node) if overlap or inside else ""


def _end(side: ast.expr) -> tuple[str, str]:
    """Which end of an interval an expression is, `low` or `high` or empty, and of what."""
    if isinstance(side, ast.Subscript) and isinstance(side.slice, ast.Constant):
        ends = {0: "low", 1: "high", "low": "low", "high": "high"}
        return ends.get(side.slice.value, ""), ast.unparse(side.value)
    if isinstance(side, ast.Call) and isinstance(side.func, ast.Name) and len(side.args) == 1:
        return {"min": "low", "max": "high"}.get(side.func.id, ""), ast.unparse(side.args[0])
    name, owner = getattr(side, "id", ""), ""
    if isinstance(side, ast.Attribute):
        name, owner = side.attr, ast.unparse(side.value)
    return ("low" if name in LOW else "high" if name in HIGH else ""), owner


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_else_tests_a_difference(path: Path) -> None:
    assert own_rules(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "apart = min(first) > max(second) or max(first) < min(second)",
        "if low <= mean <= high: pass",
        "apart = one[1] < other[0] or other[1] < one[0]",
        "apart = one.high < other.low",
        "p = stats.ttest_ind(one, other).pvalue",
        "from scipy import stats",
        "p = significance.welch(one, other)",
    ],
)
def test_the_check_finds_the_rules_that_there_were(source: str) -> None:
    assert own_rules(source)


@pytest.mark.parametrize(
    "source",
    [
        "if 0 < x < 1: pass",
        "if sizes[0] == sizes[1]: pass",
        "if self.low > self.high: pass",
        "while low < high: pass",
        "if difference.is_testable: pass",
    ],
)
def test_the_check_leaves_other_comparisons_alone(source: str) -> None:
    assert not own_rules(source)

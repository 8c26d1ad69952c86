"""Escaped names keep their text and do not change the text around them."""

import re
import subprocess
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from mlflow.utils.search_utils import SearchUtils  # noqa: TID251
from mlflow.utils.validation import _validate_metric_name  # noqa: TID251

from pipelines.settings import escape

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), min_size=1)
SPECIAL = st.text("ab_ |`*<>\\$[]()#&~!'\"-/.", min_size=1)
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def cells(markdown: str) -> list[tuple[str, str]]:
    """The Markdown types and the text of each cell of a table with one body row."""
    row = []
    tokens = PARSER.parse(f"| a | b | c |\n| --- | --- | --- |\n{markdown}\n")
    for opening, inline in pairwise(tokens):
        if opening.type == "td_open":
            children = [child for child in inline.children or [] if child.content]
            kinds = {child.type for child in children} - {"text_special"}
            text = "".join(child.content for child in children)
            row.append((" ".join(sorted(kinds or {"text"})), text))
    assert [token.type for token in tokens].count("tr_open") == 2
    return row


@given(NAMES | SPECIAL)
def test_text_in_a_markdown_table_is_unchanged(name: str) -> None:
    row = f"| left | {escape.markdown(name)} | right |"
    # Spaces at the ends of a cell are not part of it.
    assert cells(row) == [("text", "left"), ("text", name.strip(" \t\xa0")), ("text", "right")]


@given(NAMES | SPECIAL)
def test_code_in_a_markdown_table_is_unchanged(name: str) -> None:
    row = f"| left | {escape.markdown_code(name)} | right |"
    assert cells(row) == [("text", "left"), ("code_inline", name), ("text", "right")]


def test_names_without_special_characters_are_unchanged() -> None:
    assert escape.markdown("fid_per_class 2 (n=3)") == "fid_per_class 2 (n=3)"
    assert escape.markdown_code("gan_r1") == "`gan_r1`"
    assert escape.markdown("a\nb") == "a b"


@given(st.lists(NAMES | SPECIAL, min_size=1))
def test_a_shell_reads_the_words_of_a_command(words: list[str]) -> None:
    command = escape.shell("printf", r"%s\0", *words)
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.split("\0")[:-1] == words


@given(st.text())
def test_mlflow_accepts_any_name_as_a_key(name: str) -> None:
    _validate_metric_name(escape.mlflow_key(name))


@pytest.mark.parametrize("name", ["evaluate/fid_classifier", "train.threads", "valid/a b"])
def test_a_key_that_mlflow_accepts_is_unchanged(name: str) -> None:
    assert escape.mlflow_key(name) == name


@given(NAMES | SPECIAL)
def test_a_filter_of_mlflow_reads_the_value(value: str) -> None:
    text = escape.mlflow_text(value)
    parsed = SearchUtils.parse_search_filter(f"tags.model = {text}")
    if not ("'" in value and '"' in value):
        assert re.sub(r"\s", " ", parsed[0]["value"]) == re.sub(r"\s", " ", value)

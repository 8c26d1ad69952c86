"""Changes params.yaml in place: every byte that is not changed stays, comments and spellings too.

The text is spliced where the parser says that a value stands. What comes out is parsed again and
held against what was meant before it is written, so a spelling that this does not know (an anchor,
say) is refused, and nothing else is changed by it.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML  # noqa: TID251
from ruamel.yaml.nodes import CollectionNode, MappingNode, Node, SequenceNode  # noqa: TID251

from pipelines.settings import files, params, paths, yaml_files
from pipelines.settings.errors import UserError

_OF_A_TRIAL = re.compile(r"# trial \d+ of study .*")
#: A string that YAML takes for nothing else once it is read back.
_PLAIN = re.compile(r"[A-Za-z_][\w.-]*")


class _Edit(NamedTuple):
    """Characters from `start` to `end`, and what takes their place."""

    start: int
    end: int
    text: str


def write_model(
    name: str, model: str, entry: Mapping[str, Any], comment: str, path: Path | None = None
) -> str:
    """Writes an entry of `models:` and selects it.

    Args:
        name: The entry; where there is none it is made, behind `model`.
        model: The entry that a new one is a copy of.
        entry: What is set in it, by key.
        comment: Stands beside a new entry, and beside one that had such a comment.
        path: The file; by default the one of this checkout.

    Returns:
        The difference, in unified form; empty where nothing changes.

    Raises:
        UserError: The result would be refused, or the place cannot be changed by itself; the file
            is as it was.
    """
    path = path or paths.PARAMS
    before = path.read_bytes().decode("utf-8")  # as bytes: line ends stay what they are
    was = yaml_files.parse_yaml(before, path.name)
    now = _changed(was, name, model, entry)
    if _same(was, now):
        return ""
    after = before
    text = _Text(before)
    edits = [*text.of_entry(name, model, was, now, comment), *text.of_selected(name, model, now)]
    for edit in sorted(edits, reverse=True):
        after = after[: edit.start] + edit.text + after[edit.end :]
    _check(after, now, f"{path.name}: models.{name}")
    _check_accepted(after, path)
    files.write_text(path, after)
    old, new = (found.splitlines(keepends=True) for found in (before, after))
    return "".join(difflib.unified_diff(old, new, f"a/{path.name}", f"b/{path.name}"))


def _changed(was: Any, name: str, model: str, entry: Mapping[str, Any]) -> Any:
    """The parsed file as it is to be, in its order."""
    models, selected = was["models"], was["selected"]
    whole = {**models.get(name, models[model]), **entry}
    return {
        **was,
        "models": _with(models, name, whole, behind=model),
        "selected": _with(selected, name, whole["kind"], behind=model),
    }


def _with(found: Mapping[str, Any], key: str, value: Any, *, behind: str) -> dict[str, Any]:
    if key in found:
        return {**found, key: value}
    items = list(found.items())
    place = list(found).index(behind) + 1 if behind in found else len(items)
    return dict([*items[:place], (key, value), *items[place:]])


def _same(one: Any, other: Any) -> bool:
    """Whether two parsed files are equal, in order and in types: 1, 1.0 and true are not."""
    return json.dumps(one, default=repr) == json.dumps(other, default=repr)


class _Text:
    """A file's text and where in it the parser has found what."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.newline = "\r\n" if "\r\n" in text else "\n"
        sections = _children(YAML(typ="safe", pure=True).compose(text))
        self.models, self.selected = sections["models"][1], sections["selected"][1]

    def of_entry(self, name: str, model: str, was: Any, now: Any, comment: str) -> Iterator[_Edit]:
        """What makes the entry, or changes it."""
        found = _children(self.models)
        entry = now["models"][name]
        if name not in found:
            yield self._new_entry(name, *found[model], entry, comment)
        elif not _same(was["models"][name], entry):
            key, node = found[name]
            yield from self._values(node, was["models"][name], entry)
            told = _OF_A_TRIAL.search(self.text, key.end_mark.index, self._line_end(key))
            if told:  # of an earlier trial; a comment that somebody wrote stays
                yield _Edit(*told.span(), f"# {comment}")

    def of_selected(self, name: str, model: str, now: Any) -> Iterator[_Edit]:
        """What selects the entry, where it is not selected."""
        found, kind = _children(self.selected), now["selected"][name]
        if name not in found:
            key, node = found.get(model) or list(found.values())[-1]
            yield self._behind(self.selected, key, node, [f"{name}: {_scalar(kind)}"], {name: kind})

    def _new_entry(self, name: str, key: Node, node: Node, entry: Any, comment: str) -> _Edit:
        spelt = {} if _is_flow(node) else _children(node)
        inner = " " * (_indent(next(iter(spelt.values()))[0]) - _indent(key)) if spelt else "  "
        lines = ["", f"{name}: # {comment}"]
        for setting, value in entry.items():
            _, old = spelt.get(setting, (None, None))
            if old is not None and not isinstance(old, CollectionNode) and self._is(old, value):
                lines.append(f"{inner}{setting}: {self._source(old)}")  # in its spelling: 2e-3
            else:
                lines += [inner + line for line in _lines(setting, value)]
        return self._behind(self.models, key, node, lines, {name: entry})

    def _behind(
        self, parent: Node, key: Node, node: Node, lines: list[str], content: Mapping[str, Any]
    ) -> _Edit:
        """Puts an item behind another one, which the comments that follow it belong to."""
        if _is_flow(parent):
            place = node.end_mark.index
            return _Edit(place, place, ", " + json.dumps(content)[1:-1])
        indent, place = " " * _indent(key), self._line_end(_last(node))
        deeper = re.compile(rf"(\r?\n {{{_indent(key) + 1},}}#[^\r\n]*)+")
        if isinstance(node, CollectionNode) and (comments := deeper.match(self.text, place)):
            place = comments.end()
        text = "".join(self.newline + (indent + line if line else "") for line in lines)
        return _Edit(place, place, text)

    def _values(self, node: Node, was: Any, now: Any, *, in_flow: bool = False) -> Iterator[_Edit]:
        """Leaf by leaf where both have the same form, else the value of the key as a whole."""
        in_flow = in_flow or _is_flow(node)
        if isinstance(node, MappingNode):
            for setting, (key, value) in _children(node).items():
                if setting not in now:  # `<<`: what it merges is refused by `_check`
                    continue
                if _has_form(was[setting], now[setting]):
                    yield from self._values(value, was[setting], now[setting], in_flow=in_flow)
                elif in_flow or _is_flow(value):
                    yield _replaced(value, json.dumps(now[setting]))
                else:
                    yield from self._whole(key, value, now[setting])
        elif isinstance(node, SequenceNode):
            for item, old, new in zip(node.value, was, now, strict=True):
                yield from self._values(item, old, new, in_flow=in_flow)
        elif not _same(was, now):
            yield _replaced(node, json.dumps(now) if in_flow else _scalar(now))

    def _whole(self, key: Node, node: Node, value: Any) -> Iterator[_Edit]:
        """Puts a list where a number stood, or the other way round, and keeps the key's comment."""
        colon, end_of_line = self.text.index(":", key.end_mark.index) + 1, self._line_end(key)
        was_below = isinstance(node, CollectionNode)
        behind, below = _rendered(value)
        yield _Edit(colon, colon if was_below else node.end_mark.index, behind)
        end = self._line_end(_last(node)) if was_below else end_of_line
        indent = self.newline + " " * _indent(key)
        yield _Edit(end_of_line, end, "".join(indent + line for line in below))

    def _line_end(self, node: Node) -> int:
        """Where the line on which a node ends is over, its comment included."""
        found = re.compile(r"\r?\n").search(self.text, node.end_mark.index)
        return found.start() if found else len(self.text)

    def _source(self, node: Node) -> str:
        return self.text[node.start_mark.index : node.end_mark.index]

    def _is(self, node: Node, value: Any) -> bool:
        """Whether a scalar, as it is spelt, is this value; one with an anchor is spelt anew."""
        source = self._source(node)
        if not source or source[0] in "&*!":
            return False
        return _same(yaml_files.parse_yaml(source, ""), value)


def _children(node: Any) -> dict[str, tuple[Node, Node]]:
    """By key the nodes of a mapping's key and value."""
    return {key.value: (key, value) for key, value in node.value}


def _indent(node: Node) -> int:
    column: int = node.start_mark.column
    return column


def _is_flow(node: Node) -> bool:
    return isinstance(node, CollectionNode) and bool(node.flow_style)


def _last(node: Node) -> Node:
    """The node that ends where this one does: a block's own end is where the next one begins."""
    while isinstance(node, CollectionNode) and not node.flow_style:
        node = node.value[-1][1] if isinstance(node, MappingNode) else node.value[-1]
    return node


def _replaced(node: Node, text: str) -> _Edit:
    start, end = node.start_mark.index, node.end_mark.index
    return _Edit(start, end, text if start < end else f" {text}")  # nothing at all is null, too


def _has_form(one: Any, other: Any) -> bool:
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(_has_form(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_has_form, one, other))
    return not isinstance(one, dict | list) and not isinstance(other, dict | list)


def _scalar(value: Any) -> str:
    """A number, a truth value, null or a string, as YAML and, quoted, as JSON reads it."""
    is_word = isinstance(value, str) and _PLAIN.fullmatch(value) is not None
    return value if is_word and yaml_files.parse_yaml(value, "") == value else json.dumps(value)


def _lines(key: str, value: Any) -> list[str]:
    """A key and its value as block lines, as DVC wants its lists."""
    behind, below = _rendered(value)
    return [f"{key}:{behind}", *below]


def _rendered(value: Any) -> tuple[str, list[str]]:
    """What stands behind a key's colon, and the lines below it, seen from the key."""
    if isinstance(value, dict) and value:
        return "", [f"  {line}" for part, one in value.items() for line in _lines(part, one)]
    if isinstance(value, list) and value:
        return "", [f"  {line}" for item in value for line in _item(item)]
    return f" {_scalar(value)}", []


def _item(item: Any) -> list[str]:
    if not isinstance(item, dict) or not item:
        return [f"- {_scalar(item)}"]
    first, *rest = [line for part, one in item.items() for line in _lines(part, one)]
    return [f"- {first}", *(f"  {line}" for line in rest)]


def _check(text: str, wanted: Any, where: str) -> None:
    """Refuses a text that does not say what was meant."""
    try:
        found = yaml_files.parse_yaml(text, "")
    except UserError:
        found = None
    if not _same(found, wanted):
        raise UserError(
            f"{where}: cannot be changed without changing something else, as where values are "
            "shared by an anchor (&, *): write them out"
        )


def _check_accepted(text: str, path: Path) -> None:
    beside = path.with_name(f".{path.name}.new")
    try:
        files.write_text(beside, text)
        params.load(beside)
    except UserError as error:
        raise UserError(str(error).replace(beside.name, path.name)) from None
    finally:
        beside.unlink(missing_ok=True)

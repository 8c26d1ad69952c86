"""Writes the settings of a trial into params.yaml."""

import contextlib
import difflib
import io
import re
import sys
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from pipelines.settings import files, params, paths, yaml_files
from pipelines.settings.errors import UserError
from pipelines.settings.sections import NAME_PATTERN
from pipelines.tuning import results as tune_results
from pipelines.tuning import space
from pipelines.tuning.results import Results


def apply(study: str, trial: int | None, name: str | None) -> str:
    """Writes an entry of `models:` with the settings of a trial, and selects it.

    `trial` None is the winner; `name` None is `<model>_tuned`. The study's model itself keeps its
    other lines; any other entry becomes `base: <model>` and the settings of the trial. A line on
    stderr says so if the winner is not measurably better than the original settings.

    Returns:
        The difference of params.yaml, or a sentence if there is none.

    Raises:
        UserError: There is no such trial, no winner, or the entry would be refused.
    """
    results = tune_results.load(paths.TUNE / study)
    base, model = results.study["base"], results.study["model"]
    name = name or f"{model}_tuned"
    if not re.match(NAME_PATTERN, name):
        raise UserError(f"--as {name}: a name consists of a-z, 0-9 and _")
    settings = params.load()
    settings.require_model(model)
    number = _winner(results) if trial is None else trial
    chosen = next((t for t in results.trials if t.number == number), None)
    if chosen is None:
        raise UserError(f"--trial {number}: {study} has trials 0 to {len(results.trials) - 1}")
    if not chosen.is_complete:
        reason = f" ({chosen.reason})" if chosen.reason else ""
        raise UserError(f"--trial {number}: is {chosen.state}{reason}; only complete trials apply")
    kind = settings.models.get(name, base)["kind"]
    if kind != base["kind"]:
        raise UserError(f"--as {name}: has kind {kind!r}, not {base['kind']!r}")
    _check_unchanged(settings.models[model], results, f"models.{model}")
    if trial is None and not results.best["winner"]["is_better"]:
        print(f"{study}: {results.best['winner']['sentence']}", file=sys.stderr)
    entry = space.changed(base, chosen.settings)
    tuned = {key: entry[key] for key in dict.fromkeys(k.split(".")[0] for k in chosen.settings)}
    before = paths.PARAMS.read_text("utf-8")
    after = _changed(before, name, model, kind, tuned, f"trial {number} of study {study}")
    params.checked(yaml_files.parse_yaml(after, paths.PARAMS.name), paths.PARAMS.name)
    if after == before:
        return f"models.{name} already has the settings of trial {number}\n"
    files.write_text(paths.PARAMS, after)
    lines = (before.splitlines(keepends=True), after.splitlines(keepends=True))
    return "".join(difflib.unified_diff(*lines, "a/params.yaml", "b/params.yaml"))


def _changed(
    text: str, name: str, model: str, kind: str, tuned: Mapping[str, Any], comment: str
) -> str:
    """The text of params.yaml with the entry, in DVC's own style."""
    yaml, out = YAML(), io.StringIO()
    yaml.default_flow_style = False
    document = yaml.load(text)
    models = document["models"]
    if name == model:
        models[name].update(tuned)
    elif dict(models.get(name, {})) != {"base": model, **tuned}:
        _insert(models, name, CommentedMap({"base": model, **tuned}), behind=model)
        if not models.fa.flow_style():
            models.yaml_add_eol_comment(comment, name, column=len(f"  {name}: "))
    if name not in document["selected"]:
        _insert(document["selected"], name, kind, behind=model)
    yaml.dump(document, out)
    return out.getvalue()


def _insert(section: CommentedMap, name: str, value: Any, *, behind: str) -> None:
    if name in section:
        section[name] = value
    else:
        place = list(section).index(behind) + 1 if behind in section else len(section)
        # Comments above the next section belong to the last item.
        section.insert(min(place, max(1, len(section) - 1)), name, value)


def _check_unchanged(now: Mapping[str, Any], results: Results, where: str) -> None:
    """Refuses if the study's model has changed since the study, but for the searched settings."""
    then, study = results.study["base"], results.study["study"]
    for key in results.study["space"]:
        # Where a list has become a word, the setting differs as a whole.
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):
            space.look_up(now, key)
            now = space.changed(now, {key: space.look_up(then, key)})
    if differing := [key for key in then | now if then.get(key) != now.get(key)]:
        raise UserError(
            f"params.yaml: {where}: {', '.join(differing)} changed since study {study}; "
            f"its results are out of date; rerun `{tune_results.MADE_BY} {study}`"
        )


def _winner(results: Results) -> int:
    best, winner = results.best, results.best.get("winner", {})
    if len(results.study["objectives"]) > 1:
        front = ", ".join(map(str, results.front))
        reason = f"two objectives have no winner: choose from the front with --trial {front}"
    elif not best["trials"]:
        reason = "no trial is complete; there is nothing to apply"
    elif winner == {}:
        reason = (
            "the top trials are not retrained yet: run the study to its end, or choose a trial "
            "with --trial"
        )
    elif winner is None:
        reason = "no retrained model has a value; choose a trial with --trial"
    elif winner["trial"] is None:
        reason = "the original settings win; there is nothing to apply (see --trial)"
    else:
        return winner["trial"]
    raise UserError(reason)

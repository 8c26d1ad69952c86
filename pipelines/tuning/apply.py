"""Writes what a study has found into params.yaml."""

import contextlib
import re
import sys
from collections.abc import Mapping
from typing import Any

from pipelines.settings import params, params_writer, paths
from pipelines.settings.errors import UserError
from pipelines.settings.sections import NAME_PATTERN
from pipelines.tuning import best as tune_best
from pipelines.tuning import page, space


def apply(study: str, trial: int | None, name: str | None) -> str:
    """Writes a trial's settings into an entry, which `dvc repro` then trains.

    Args:
        study: A key of `tune:` that was run.
        trial: Its number; None for the winner.
        name: The entry; None for `<model>_tuned`. One that is there is changed as a whole, to the
            entry that the study started from with the trial's settings in it.

    Returns:
        The difference of params.yaml; a sentence where nothing changes. What is in doubt of the
        winner is a line on stderr.

    Raises:
        UserError: There is no such trial, no winner, or the entry would be refused.
    """
    found = page.load(paths.TUNE / study)
    model = found.study["model"]
    name = name or f"{model}_tuned"
    if not re.match(NAME_PATTERN, name):
        raise UserError(f"--as {name}: a name is made of a-z, 0-9 and _")
    settings = params.load()
    settings.require_model(model)
    number = _winner(found) if trial is None else trial
    chosen = next((t for t in found.trials if t.number == number), None)
    if chosen is None:
        raise UserError(f"--trial {number}: {study} has the trials 0 to {len(found.trials) - 1}")
    if not chosen.is_complete:
        why = f" ({chosen.told})" if chosen.told else ""
        raise UserError(f"--trial {number}: is {chosen.state}{why}, not complete")
    if name in settings.models and settings.models[name]["kind"] != found.study["base"]["kind"]:
        raise UserError(f"--as {name}: is of another kind than {model}")
    _check_unchanged(settings.models[model], found, f"models.{model}")
    told = tune_best.settings({"settings": chosen.settings})
    comment = f"trial {number} of study {study}: {told}"
    # Whole, also where an entry is there: it may hold what another study has found.
    entry = space.changed(found.study["base"], chosen.settings)
    if trial is None and not found.best["winner"]["apart"]:
        print(f"{study}: {tune_best.doubt(found.study, found.best)}", file=sys.stderr)
    difference = params_writer.write_model(name, model, entry, comment)
    return difference or f"models.{name} has the settings of trial {number} already\n"


def _check_unchanged(now: Mapping[str, Any], found: page.Found, where: str) -> None:
    """Refuses where the study's model is no longer the one that its trials were of.

    What the space searches may differ: an earlier `apply --as` of the model itself wrote it.
    """
    then = found.study["base"]
    for key in found.study["space"]:
        # A list that has become a word since has no places to be filled; it differs as a whole.
        with contextlib.suppress(KeyError, IndexError, TypeError, ValueError):
            space.look_up(now, key)
            now = space.changed(now, {key: space.look_up(then, key)})
    differing = [key for key in then | now if then.get(key) != now.get(key)]
    if differing:
        name = found.study["study"]
        raise UserError(
            f"params.yaml: {where}: {', '.join(differing)} changed since study {name}, so its "
            f"trials say nothing of it: `python -m pipelines.tune run {name}` asks anew"
        )


def _winner(found: page.Found) -> int:
    best = found.best
    if len(found.study["objectives"]) > 1:
        front = ", ".join(map(str, found.front))
        raise UserError(f"two objectives have no winner: choose of the front with --trial {front}")
    if not best["trials"]:
        raise UserError("no trial is complete, so there is nothing to apply")
    if "winner" not in best:
        raise UserError(
            "the best trials were not trained anew yet: run the study to its end, or choose one "
            "with --trial"
        )
    if best["winner"] is None:
        raise UserError("no training at the full budget has a value; choose one with --trial")
    if best["winner"]["trial"] is None:
        raise UserError("the present settings win, so there is nothing to apply; see --trial")
    trial: int = best["winner"]["trial"]
    return trial

"""Writes what a study has found into params.yaml."""

import re

from pipelines import params, params_writer, paths, tune_best, tune_page
from pipelines.errors import UserError
from pipelines.sections import NAME_PATTERN


def apply(study: str, trial: int | None, name: str | None) -> str:
    """Writes a trial's settings into an entry, which `dvc repro` then trains.

    Args:
        study: A key of `tune:` that was run.
        trial: Its number; None for the winner.
        name: The entry; None for `<model>_tuned`. One that is there is changed.

    Returns:
        The difference of params.yaml; a sentence where nothing changes.

    Raises:
        UserError: There is no such trial, no winner, or the entry would be refused.
    """
    found = tune_page.load(paths.TUNE / study)
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
        raise UserError(f"--trial {number}: is {chosen.state} ({chosen.reason}), not complete")
    if name in settings.models and settings.models[name]["kind"] != found.study["base"]["kind"]:
        raise UserError(f"--as {name}: is of another kind than {model}")
    told = tune_best.settings({"settings": chosen.settings})
    comment = f"trial {number} of study {study}: {told}"
    difference = params_writer.write_model(name, model, chosen.settings, comment)
    return difference or f"models.{name} has the settings of trial {number} already\n"


def _winner(found: tune_page.Found) -> int:
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
    if best["winner"]["trial"] is None:
        raise UserError("the present settings win, so there is nothing to apply; see --trial")
    trial: int = best["winner"]["trial"]
    return trial

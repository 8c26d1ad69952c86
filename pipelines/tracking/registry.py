"""The registered model of the MLflow store: a version for each training, aliases for the best.

`publish` alone writes it, from the files, so that it can be rebuilt. A version is looked up by the
fingerprint of its training before one is made. `python -m pipelines.sample champion` and
`mlflow.pyfunc.load_model("models:/genmodels@champion")` read it.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.tracking import mlmodel
from pipelines.tracking.from_files import CompletedRun
from pipelines.tracking.store import Store

REGISTERED = "genmodels"
#: By alias the family of which it names the best model; None for all models.
FAMILIES = {"champion": None, "best-vae": "vae", "best-gan": "gan"}
ALIASES = tuple(FAMILIES)

_DESCRIPTION = (
    "One version for each training (model and seed), found by its fingerprint. The aliases are set "
    "by `python -m pipelines.publish` alone; the version says by which rule. `predict` of "
    "`mlflow.pyfunc` takes a table with a column `seed`, of models with an encoder also one with a "
    "column `image`."
)
#: Stands before the part of a description that goes when the alias goes.
_CHOSEN = "\n\n### Chosen\n"


@dataclass(frozen=True)
class Choice:
    """What an alias is to name.

    Attributes:
        fingerprint: Of the training.
        name: The training's name, for people.
        model: What was trained.
        metric: What it was chosen by.
        value: Its mean over the training seeds.
        reason: The rule and the values it saw, as Markdown.
    """

    fingerprint: str
    name: str
    model: str
    metric: str
    value: float
    reason: str


@dataclass(frozen=True)
class Registered:
    """What an alias names.

    Attributes:
        version: The version's number.
        run: The id of its run.
        tags: `model`, `seed`, `fingerprint`, the keys of `mlmodel.FILES` and more.
        folder: A local folder with its files; None where one of them is gone.
    """

    version: str
    run: str
    tags: Mapping[str, str]
    folder: Path | None


def choose(
    found: Sequence[CompletedRun], rank_by: str, higher_is_better: bool
) -> dict[str, Choice]:
    """What the aliases are to name: the model with the best mean over its training seeds.

    Ties go to the order of `found`, as in the report. Of the model's trainings it is the first one,
    whatever its value: the luckiest one on the test split would be chosen by that very split, and
    its value would be too good to be true (the winner's curse).

    Args:
        found: All trainings, in the order of params.yaml.
        rank_by: The metric.
        higher_is_better: Its direction.

    Returns:
        By alias; without an alias for which no model has a value.
    """
    choices = {}
    for alias, family in FAMILIES.items():
        valued: dict[str, list[tuple[CompletedRun, float]]] = {}
        for done in found:
            value = _value(done, rank_by)
            if value is not None and family in (None, done.identity.family):
                valued.setdefault(done.identity.model, []).append((done, value))
        means = {name: statistics.fmean(v for _, v in runs) for name, runs in valued.items()}
        # Stable in both directions: of equal means the first stays first.
        order = sorted(means, key=lambda name: means[name], reverse=higher_is_better)
        if order:
            identity = valued[order[0]][0][0].identity
            values = [value for _, value in valued[order[0]]]
            reason = _reason(alias, rank_by, higher_is_better, means, order, values)
            chosen = (identity.fingerprint, identity.name, identity.model)
            choices[alias] = Choice(*chosen, rank_by, means[order[0]], reason)
    return choices


def _value(done: CompletedRun, name: str) -> float | None:
    values: list[float | None] = [r["value"] for r in done.records if r["name"] == name]
    return values[0] if values else None


def _reason(
    alias: str,
    rank_by: str,
    higher_is_better: bool,
    means: Mapping[str, float],
    order: Sequence[str],
    values: Sequence[float],
) -> str:
    family = FAMILIES[alias]
    among = f"{len(order)} {'model' if len(order) == 1 else 'models'}"
    among += f" of family {family}" if family else ""
    others = ", ".join(f"{name} {means[name]:.4g}" for name in order[1:4])
    return (
        f"**{alias}**: {order[0]} has the {'highest' if higher_is_better else 'lowest'} mean of "
        f"`{rank_by}` over the training seeds (test split), {means[order[0]]:.4g} (of "
        f"{', '.join(f'{value:.4g}' for value in values)}), among {among}"
        f"{f'; then {others}' if others else ''}. Of its trainings this is the first seed, "
        "whatever its value: the luckiest one would be chosen by the test split itself (winner's "
        "curse). Ties go to the order of `selected:` in params.yaml."
    )


def update(
    store: Store,
    found: Sequence[CompletedRun],
    run_ids: Mapping[str, str],
    choices: Mapping[str, Choice],
) -> None:
    """Makes the versions that are missing, moves the aliases, and writes what differs.

    Args:
        store: The store.
        found: All trainings.
        run_ids: Of those whose model is in the store, by fingerprint.
        choices: Of `choose`.
    """

    def write(client: Any) -> None:
        if not client.search_registered_models(f"name = '{REGISTERED}'"):
            client.create_registered_model(REGISTERED, description=_DESCRIPTION)
        versions = _only_versions(client)
        for done in found:
            fingerprint = done.identity.fingerprint
            if fingerprint in run_ids:
                present = versions.get(fingerprint)
                versions[fingerprint] = _version(client, done, run_ids[fingerprint], present)
        _move_aliases(client, versions, choices)
        cards = {done.identity.fingerprint: done.card for done in found}
        for fingerprint, version in versions.items():
            # Of a training of the past only the text of an alias that has moved on changes.
            card = cards.get(fingerprint, (version.description or "").partition(_CHOSEN)[0])
            reasons = [c.reason for c in choices.values() if c.fingerprint == fingerprint]
            wanted = card + (_CHOSEN + "\n\n".join(reasons) if reasons else "")
            if version.description != wanted:
                client.update_model_version(REGISTERED, version.version, wanted)

    store.attempt(write, None)


def _only_versions(client: Any) -> dict[str, Any]:
    """The versions by fingerprint, of which there are no two afterwards.

    One that somebody made by hand has none and is left alone.
    """
    found, page = [], client.search_model_versions(f"name = '{REGISTERED}'")
    while page:
        found += page
        token = page.token
        page = token and client.search_model_versions(f"name = '{REGISTERED}'", page_token=token)
    versions: dict[str, Any] = {}
    # Publications from two checkouts at once may have made a training's version twice.
    for version in sorted(found, key=lambda version: int(version.version)):
        fingerprint = version.tags.get("fingerprint")
        if fingerprint in versions:
            client.delete_model_version(REGISTERED, version.version)
        elif fingerprint is not None:
            versions[fingerprint] = version
    return versions


def _version(client: Any, done: CompletedRun, run_id: str, present: Any) -> Any:
    """The version of a training, made where it is missing, with its tags as they should be."""
    tags = {**done.identity.tags(), **done.digests}
    if present is not None and present.run_id != run_id:
        # Somebody deleted its run, and another one was made from the files.
        client.delete_model_version(REGISTERED, present.version)
        present = None
    if present is None:
        source = f"runs:/{run_id}/{mlmodel.FOLDER}"
        return client.create_model_version(REGISTERED, source, run_id, tags=tags)
    for key, value in tags.items():
        if present.tags.get(key) != value:
            client.set_model_version_tag(REGISTERED, present.version, key, value)
    return present


def _move_aliases(client: Any, versions: Mapping[str, Any], choices: Mapping[str, Choice]) -> None:
    aliases = client.get_registered_model(REGISTERED).aliases
    for alias in ALIASES:
        choice = choices.get(alias)
        if choice is None:
            if alias in aliases:
                client.delete_registered_model_alias(REGISTERED, alias)
        elif choice.fingerprint in versions:
            version = str(versions[choice.fingerprint].version)
            if str(aliases.get(alias)) != version:
                client.set_registered_model_alias(REGISTERED, alias, version)


def find(store: Store, alias: str) -> Registered | None:
    """The version that an alias names; None if no version has the alias."""

    def ask(client: Any) -> Registered | None:
        found = client.search_registered_models(f"name = '{REGISTERED}'")
        number = found[0].aliases.get(alias) if found else None
        if number is None:
            return None
        version = client.get_model_version(REGISTERED, str(number))
        folder, run_id = None, version.run_id
        artifacts = client.list_artifacts(run_id, mlmodel.FOLDER) if run_id else []
        if set(mlmodel.FILES.values()) <= {Path(item.path).name for item in artifacts}:
            folder = Path(client.download_artifacts(run_id, mlmodel.FOLDER))
        return Registered(str(number), run_id or "", dict(version.tags), folder)

    return store.attempt(ask, None)


def link(store: Store, server: str) -> str | None:
    """The address of the registered model on a server; None where there is none yet."""
    found: list[Any] = store.attempt(
        lambda client: client.search_registered_models(f"name = '{REGISTERED}'"), []
    )
    # Without the workflow type the menu offers prompts and gateways, and no way back to the runs.
    return f"{server}/#/models/{REGISTERED}?workflowType=machine_learning" if found else None

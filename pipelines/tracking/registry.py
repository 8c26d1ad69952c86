"""The registered model of the MLflow store: a version per training, aliases for the best ones.

Only `publish` writes it, from files, so that it can be rebuilt. A version is looked up by the
fingerprint of its training before one is created. `genmodels sample champion` and
`mlflow.pyfunc.load_model("models:/genmodels@champion")` read it.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.settings.escape import markdown, markdown_code
from pipelines.tracking import mlmodel
from pipelines.tracking.from_files import CompletedRun
from pipelines.tracking.store import Store

REGISTERED = "genmodels"
#: By alias: the family whose best model it names; None for all families.
FAMILIES = {"champion": None, "best-vae": "vae", "best-gan": "gan"}
ALIASES = tuple(FAMILIES)

_DESCRIPTION = (
    "One version per training (model and seed). Aliases are set by `make publish`; each version's "
    "description states the rule. `predict` of `mlflow.pyfunc` takes a table with a column `seed`; "
    "models with an encoder also accept a column `image`."
)
#: Starts the part of a description that belongs to an alias and is removed with it.
_CHOSEN = "\n\n### Chosen\n"


@dataclass(frozen=True)
class Choice:
    """The training that an alias should name.

    Attributes:
        fingerprint: Of the training.
        name: The name of its run.
        model: The model.
        metric: The metric that decided.
        value: Its mean over the training seeds.
        reason: The rule and the compared values, as Markdown.
    """

    fingerprint: str
    name: str
    model: str
    metric: str
    value: float
    reason: str


@dataclass(frozen=True)
class Registered:
    """The version that an alias names.

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


def choose(runs: Sequence[CompletedRun], rank_by: str, higher_is_better: bool) -> dict[str, Choice]:
    """The training for each alias: the model with the best mean over its training seeds.

    Of equal means the first in `runs` wins, as in the report. An alias names the first training of
    the model, whatever its value: to choose the best one on the test split would bias its value
    (the winner's curse).

    Args:
        runs: All trainings, in the order of params.yaml.
        rank_by: The metric.
        higher_is_better: Its direction.

    Returns:
        By alias; an alias is missing if no model has a value.
    """
    choices = {}
    for alias, family in FAMILIES.items():
        valued: dict[str, list[tuple[CompletedRun, float]]] = {}
        for run in runs:
            value = _value(run, rank_by)
            if value is not None and family in (None, run.identity.family):
                valued.setdefault(run.identity.model, []).append((run, value))
        means = {name: statistics.fmean(v for _, v in pairs) for name, pairs in valued.items()}
        # The sort is stable in both directions: of equal means the first stays first.
        order = sorted(means, key=lambda name: means[name], reverse=higher_is_better)
        if order:
            identity = valued[order[0]][0][0].identity
            values = [value for _, value in valued[order[0]]]
            reason = _reason(alias, rank_by, higher_is_better, means, order, values)
            chosen = (identity.fingerprint, identity.name, identity.model)
            choices[alias] = Choice(*chosen, rank_by, means[order[0]], reason)
    return choices


def _value(run: CompletedRun, name: str) -> float | None:
    values: list[float | None] = [r["value"] for r in run.records if r["name"] == name]
    return values[0] if values else None


def _reason(
    alias: str,
    rank_by: str,
    higher_is_better: bool,
    means: Mapping[str, float],
    order: Sequence[str],
    values: Sequence[float],
) -> str:
    from evaluation.comparing.value_text import rounded  # noqa: PLC0415  (it loads torch)

    family = FAMILIES[alias]
    among = f"{len(order)} {'model' if len(order) == 1 else 'models'}"
    among += f" of family {family}" if family else ""
    best, *others = (f"{markdown(name)} {rounded(means[name])}" for name in order[:4])
    following = f"; next: {', '.join(others)}" if others else ""
    return (
        f"**{alias}**: {best} has the {'highest' if higher_is_better else 'lowest'} mean of "
        f"{markdown_code(rank_by)} over the training seeds (test split; values "
        f"{', '.join(map(rounded, values))}) among {among}"
        f"{following}. The version is the training with the "
        "model's first seed: the choice of the best seed on the test split would bias its value "
        "(winner's curse). Of equal means the first in `selected:` of params.yaml wins."
    )


def update(
    store: Store,
    runs: Sequence[CompletedRun],
    run_ids: Mapping[str, str],
    choices: Mapping[str, Choice],
) -> None:
    """Creates missing versions, moves the aliases and updates tags and descriptions that differ.

    Args:
        store: The store.
        runs: All trainings.
        run_ids: The runs whose model is in the store, by fingerprint.
        choices: The result of `choose`.
    """

    def write(client: Any) -> None:
        if not client.search_registered_models(f"name = '{REGISTERED}'"):
            client.create_registered_model(REGISTERED, description=_DESCRIPTION)
        versions = _only_versions(client)
        for run in runs:
            fingerprint = run.identity.fingerprint
            if fingerprint in run_ids:
                present = versions.get(fingerprint)
                versions[fingerprint] = _version(client, run, run_ids[fingerprint], present)
        _move_aliases(client, versions, choices)
        cards = {run.identity.fingerprint: run.card for run in runs}
        for fingerprint, version in versions.items():
            # Of an earlier training only the text about an alias can change.
            card = cards.get(fingerprint, (version.description or "").partition(_CHOSEN)[0])
            reasons = [c.reason for c in choices.values() if c.fingerprint == fingerprint]
            wanted = card + (_CHOSEN + "\n\n".join(reasons) if reasons else "")
            if version.description != wanted:
                client.update_model_version(REGISTERED, version.version, wanted)

    store.attempt(write, None)


def _only_versions(client: Any) -> dict[str, Any]:
    """The versions by fingerprint; deletes the second version of a training.

    A version without a fingerprint was created by hand and stays unchanged.
    """
    all_versions, page = [], client.search_model_versions(f"name = '{REGISTERED}'")
    while page:
        all_versions += page
        token = page.token
        page = token and client.search_model_versions(f"name = '{REGISTERED}'", page_token=token)
    versions: dict[str, Any] = {}
    # Two checkouts that publish at once may both have created the version of a training.
    for version in sorted(all_versions, key=lambda version: int(version.version)):
        fingerprint = version.tags.get("fingerprint")
        if fingerprint in versions:
            client.delete_model_version(REGISTERED, version.version)
        elif fingerprint is not None:
            versions[fingerprint] = version
    return versions


def _version(client: Any, run: CompletedRun, run_id: str, present: Any) -> Any:
    """Finds or creates the version of a training and updates its tags."""
    tags = {**run.identity.tags(), **run.digests}
    if present is not None and present.run_id != run_id:
        # Its run was deleted, and `publish` created another one.
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
        models = client.search_registered_models(f"name = '{REGISTERED}'")
        number = models[0].aliases.get(alias) if models else None
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
    """The address of the registered model on a server; None if it does not exist yet."""
    models: list[Any] = store.attempt(
        lambda client: client.search_registered_models(f"name = '{REGISTERED}'"), []
    )
    # Without the workflow type the menu shows prompts and gateways, and no link to the runs.
    return f"{server}/#/models/{REGISTERED}?workflowType=machine_learning" if models else None

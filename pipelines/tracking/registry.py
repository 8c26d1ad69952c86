"""The registered model of the MLflow store: a version per training, aliases for the best ones.

Only `publish` writes it, from files, so that it can be rebuilt. A version is looked up by the
fingerprint of its training before one is created. `genmodels sample champion` and
`mlflow.pyfunc.load_model("models:/genmodels@champion")` read it.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evaluation.comparing.leaderboard import Column, Leaderboard
from evaluation.comparing.value_text import rounded
from pipelines.settings.escape import markdown, markdown_code
from pipelines.tracking import mlmodel
from pipelines.tracking.from_files import CompletedRun
from pipelines.tracking.run import Identity, Run
from pipelines.tracking.store import Store

REGISTERED = "genmodels"
_NAMED = f"name = '{REGISTERED}'"
#: By alias: the family whose best model it names; None for all families.
ALIASES = {"champion": None, "best-vae": "vae", "best-gan": "gan"}

_MAX_VERSIONS = 200_000  # MLflow's limit for one search
_DESCRIPTION = (
    "One version per training (model and seed). Aliases are set by `make publish`; each version's "
    "description states the rule. `predict` of `mlflow.pyfunc` takes a table with a column `seed`; "
    "models with an encoder also accept a column `image`."
)
#: Starts the part of a description that belongs to an alias and is removed with it.
_CHOSEN = "\n\n### Chosen\n"


class Choice(NamedTuple):
    """The training that an alias should name, its model's mean over the seeds, and why."""

    identity: Identity
    mean: float
    reason: str


def choose(identities: Sequence[Identity], board: Leaderboard, rank_by: str) -> dict[str, Choice]:
    """The training for each alias: of the best model of its family, ranked as in the report.

    It is the first training of the model that has a value: to choose the best one on the test split
    would bias its value (the winner's curse). An alias is missing if no model has a value.
    """
    column, choices = board.column(rank_by), {}
    for alias, family in ALIASES.items():
        means = {
            row.name: mean
            for row in board.ranked(rank_by, family)
            if (mean := board.cell(row, column).mean) is not None
        }
        if means:
            best = board.ranked(rank_by, family)[0]
            valued = [
                identity
                for identity in identities
                if identity.model == best.name
                for record in best.records[str(identity.seed)]
                if record["name"] == column.metric and record["value"] is not None
            ]
            reason = _reason(alias, column, means, board.values(best, column))
            choices[alias] = Choice(valued[0], means[best.name], reason)
    return choices


def _reason(alias: str, column: Column, means: Mapping[str, float], values: Sequence[float]) -> str:
    family = ALIASES[alias]
    among = f"{len(means)} {'model' if len(means) == 1 else 'models'}"
    among += f" of family {family}" if family else ""
    best, *others = (f"{markdown(name)} {rounded(mean)}" for name, mean in [*means.items()][:4])
    following = f"; next: {', '.join(others)}" if others else ""
    return (
        f"**{alias}**: {best} has the {'highest' if column.higher_is_better else 'lowest'} mean of "
        f"{markdown_code(column.key)} over the training seeds (test split; values "
        f"{', '.join(map(rounded, values))}) among {among}"
        f"{following}. The version is the training with the "
        "model's first seed: the choice of the best seed on the test split would bias its value "
        "(winner's curse). Of equal means the first in `selected:` of params.yaml wins."
    )


def update(
    store: Store, runs: Sequence[tuple[CompletedRun, Run]], choices: Mapping[str, Choice]
) -> None:
    """Creates missing versions, moves the aliases and updates tags and descriptions that differ."""

    def write(client: Any) -> None:
        if not client.search_registered_models(_NAMED):
            client.create_registered_model(REGISTERED, description=_DESCRIPTION)
        versions = _only_versions(client)
        for content, run in runs:
            if "evaluated" in run.tags:  # a run that another process is writing has no model yet
                key = content.identity.fingerprint
                versions[key] = _version(client, content, run.id, versions.get(key))
        _move_aliases(client, versions, choices)
        cards = {content.identity.fingerprint: content.card for content, _ in runs}
        for key, version in versions.items():
            # Of an earlier training only the text about an alias can change.
            card = cards.get(key, (version.description or "").partition(_CHOSEN)[0])
            reasons = [c.reason for c in choices.values() if c.identity.fingerprint == key]
            wanted = card + (_CHOSEN + "\n\n".join(reasons) if reasons else "")
            if version.description != wanted:
                client.update_model_version(REGISTERED, version.version, wanted)

    store.attempt(write, None)


def _only_versions(client: Any) -> dict[str, Any]:
    """The versions by fingerprint (one created by hand has none); deletes second ones."""
    found = client.search_model_versions(_NAMED, _MAX_VERSIONS, order_by=["version_number ASC"])
    versions: dict[str, Any] = {}
    for version in found:
        fingerprint = version.tags.get("fingerprint")
        # Two checkouts that publish at once may both have created the version of a training.
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
    for alias in (ALIASES.keys() & aliases.keys()) - choices.keys():
        client.delete_registered_model_alias(REGISTERED, alias)
    for alias, choice in choices.items():
        version = versions.get(choice.identity.fingerprint)
        if version is not None and str(aliases.get(alias)) != str(version.version):
            client.set_registered_model_alias(REGISTERED, alias, str(version.version))


def find(store: Store, alias: str) -> tuple[Any, Path | None] | None:
    """MLflow's version of an alias, and a local folder with its files; None without the alias.

    The folder is None where a file is gone.
    """

    def ask(client: Any) -> tuple[Any, Path | None] | None:
        models = client.search_registered_models(_NAMED)
        number = models[0].aliases.get(alias) if models else None
        if number is None:
            return None
        version = client.get_model_version(REGISTERED, str(number))
        folder, run_id = None, version.run_id
        artifacts = client.list_artifacts(run_id, mlmodel.FOLDER) if run_id else []
        if set(mlmodel.FILES.values()) <= {Path(item.path).name for item in artifacts}:
            folder = Path(client.download_artifacts(run_id, mlmodel.FOLDER))
        return version, folder

    return store.attempt(ask, None)


def link(store: Store, server: str) -> str | None:
    """The address of the registered model on a server; None if it does not exist yet."""
    models: list[Any] = store.attempt(lambda client: client.search_registered_models(_NAMED), [])
    # Without the workflow type the menu shows prompts and gateways, and no link to the runs.
    return f"{server}/#/models/{REGISTERED}?workflowType=machine_learning" if models else None

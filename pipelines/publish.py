"""Stage `publish`: completes the MLflow store from the files of the other stages.

A training logs its run live; evaluation, pictures and weights are added here. After a cache hit, a
lost database or a failure of the server this stage creates the whole run. It describes the last
reproduction: it reads dvc.lock, not the working tree, and does not change runs whose fingerprint is
not in dvc.lock. A second call writes nothing.

Writes `reports/tracking.json`: fingerprints without run ids and times.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import filelock

from evaluation.comparing.leaderboard import Leaderboard
from pipelines.reporting import inputs
from pipelines.settings import command_line, files, paths, resolved
from pipelines.settings.errors import exit_on_user_error
from pipelines.settings.resolved import PublishSettings
from pipelines.tracking import from_files, origin, registry, saved_views
from pipelines.tracking.address import is_remote
from pipelines.tracking.from_files import MADE_BY, CompletedRun
from pipelines.tracking.registry import ALIASES, Choice
from pipelines.tracking.run import Run, metric_name
from pipelines.tracking.store import CURRENT, PIPELINE, REPORTS, Store, open_store
from pipelines.training import fingerprint

#: The changes of a publication, as they are counted and printed.
CREATED = "created from the files"
EVALUATED = "completed after training with evaluation and files"
UPDATED = "updated to the new evaluation"
RESTORED = "with lost files restored"
REPORT_ADDED = "report added"
CHANGES = (CREATED, EVALUATED, UPDATED, RESTORED, REPORT_ADDED)


def publish() -> None:
    """Completes the store and writes reports/tracking.json.

    Raises:
        UserError: A model or file is missing (no `dvc repro` yet), or models cannot be ranked.
    """
    settings = resolved.read(PublishSettings, resolved.path(PublishSettings.stage))
    lock = fingerprint.read_lock()
    models = [from_files.read(model, lock) for model in settings.selected]
    completed = [content for _, runs in models for content in runs]
    identities = [content.identity for content in completed]
    report = {path.name: path for path in (paths.REPORT, paths.COMPARISON, paths.LEADERBOARD)}
    from_files.require(report.values())
    hashes = [hashlib.sha256(path.read_bytes()).digest() for path in report.values()]
    report_hash = hashlib.sha256(b"".join(hashes)).hexdigest()
    dataset = str(files.read_json(paths.PREPARE / "manifest.json", MADE_BY)["dataset"])
    rank_by = settings.report.rank_by
    board = inputs.board([row for row, _ in models], [], rank_by)
    choices = registry.choose(identities, board, rank_by)
    store = open_store()
    store.is_publishing = True
    # Two publications at once would write the same values twice.
    with filelock.FileLock(f"{paths.MLFLOW_DB}.publish.lock"):
        store.reap()
        store.supersede(identities)
        results = [_complete(store, content, dataset) for content in completed]
        runs, changes = [run for run, _ in results], Counter(change for _, change in results)
        changes[REPORT_ADDED] = int(_add_report(store, report, report_hash, choices, rank_by))
        _write_views(store, completed, board, rank_by)
        registry.update(store, list(zip(completed, runs, strict=True)), choices)
    seeds: dict[str, dict[str, str]] = {model: {} for model in settings.selected}
    for identity in identities:
        seeds[identity.model][str(identity.seed)] = identity.fingerprint
    files.write_json(paths.TRACKING, {"runs": seeds, "report": report_hash})
    if store.is_on:
        _print_summary(store, runs, changes, choices, rank_by)


def _print_summary(
    store: Store,
    runs: Sequence[Run],
    changes: Counter[str],
    choices: Mapping[str, Choice],
    rank_by: str,
) -> None:
    training = {run.tags["fingerprint"]: run for run in runs if run.is_training}
    num_complete = len(runs) - len(training)
    written = [f"{count} {change}" for change in CHANGES if (count := changes[change])]
    print(
        f"MLflow: {num_complete} {'run is' if num_complete == 1 else 'runs are'} complete; "
        f"{', '.join(written) or 'nothing was missing'}"
    )
    for run in training.values():
        host = run.tags["host"]
        print(f"{run.name} is still in training on {host}; {store.completion} afterwards")
    named = [
        f"{alias} {'waits for' if identity.fingerprint in training else 'is'} {identity.name}"
        for alias, (identity, *_) in choices.items()
    ]
    print(f"registry: {', '.join(named) or 'no model has a value of ' + rank_by}")


def _complete(store: Store, content: CompletedRun, dataset: str) -> tuple[Run, str]:
    """Adds what a run lacks; returns the run, or its replacement, and the change."""
    identity, digest = content.identity, content.digest()
    run = store.run(PIPELINE, identity.name, identity.fingerprint, identity.tags() | CURRENT)
    run.set_tags(CURRENT)
    old_digest = run.tags.get("evaluated")
    # The tag is set last, so the run was complete. Files of a local store can be lost; those of a
    # server are not checked, because listing them takes half a second per run.
    is_done = old_digest == digest and is_remote(store.uri)
    if not run.id or run.is_training or is_done:
        return run, ""
    change = UPDATED if old_digest else EVALUATED if origin.TRAINED in run.tags else CREATED
    present = run.files()
    if content.contradicts(run, present):
        run, present, old_digest = store.remake(run), {}, None
    snapshots = {
        step: path
        for step, path in content.snapshots.items()
        if not any(name.startswith(f"images/samples+step+{step}+") for name in present)
    }
    missing = content.missing(present)
    if old_digest == digest:
        if not snapshots and not missing:
            return run, ""
        change = RESTORED
    run.add_params(content.params)
    run.log_rows(content.rows)
    timings = {key: value for key, value in content.timings.items() if key not in run.metrics}
    run.log_metrics({**content.metrics, **timings})
    for name in missing if old_digest == digest else sorted(content.files):
        run.add_file(name, content.files[name])
    for step, path in snapshots.items():
        run.add_image(path, "samples", step)
    if data_md5 := content.tags.get("dvc.data_md5"):
        run.add_dataset(dataset, data_md5, "outputs/prepare")
    # Last, because an equal tag means that everything else was written.
    run.finish("FINISHED")
    note = {"mlflow.note.content": content.described(run.id)}
    run.set_tags({**content.tags, **note, "evaluated": digest})
    return run, change


def _add_report(
    store: Store,
    report: Mapping[str, Path],
    digest: str,
    choices: Mapping[str, Choice],
    rank_by: str,
) -> bool:
    """Completes the run of the report; returns whether it lacked a file."""
    run = store.run(REPORTS, f"report-{digest[:8]}", digest, {})
    present = run.files()
    missing = [name for name, path in report.items() if present.get(name) != path.stat().st_size]
    if not store.is_on or not missing:
        return False
    for name in sorted(missing):
        run.add_file(name, report[name])
    # The collapsed tables exceed the maximum length of a description.
    text = report[paths.COMPARISON.name].read_text("utf-8").partition("<details>")[0]
    run.log_metrics({f"{alias}/{rank_by}": choice.mean for alias, choice in choices.items()})
    run.finish("FINISHED")
    best = {alias: choice.identity.model for alias, choice in choices.items()}
    run.set_tags({**best, "mlflow.note.content": text})
    return True


def _write_views(
    store: Store, completed: Sequence[CompletedRun], board: Leaderboard, rank_by: str
) -> None:
    ranking = board.column(rank_by)
    # A diagnostic has no direction, so it is no column of a leaderboard.
    directed = [column for column in board.columns if column.higher_is_better is not None]
    metrics = [column.metric for column in directed if column.protocol["value"] is not None]
    curves = dict.fromkeys(name for run in completed for row in run.rows[:1] for name in row)
    tags = saved_views.tags(
        metrics=list(dict.fromkeys([ranking.metric, *metrics])),
        higher_is_better=bool(ranking.higher_is_better),
        models=[row.name for row in board.models],
        curves=[metric_name(name) for name in curves if "/" in name],
    )
    store.tag_experiment(PIPELINE, tags)
    chosen = saved_views.columns_of("metrics", [f"{alias}/{rank_by}" for alias in ALIASES])
    columns = [*saved_views.columns_of("tags", ALIASES), *chosen]
    reports = saved_views.table_tags(columns, saved_views.AGE, ascending=False)
    store.tag_experiment(REPORTS, reports)


@exit_on_user_error
def main() -> None:
    """Completes the MLflow store from the files of the last `dvc repro`."""
    command_line.parser("publish", __doc__).parse_args()
    publish()


if __name__ == "__main__":
    main()

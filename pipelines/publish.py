"""Stage `publish`: completes the MLflow store from the files of the other stages.

A training logs its run live; evaluation, pictures and weights are added here. After a cache hit, a
lost database or a failure of the server this stage creates the whole run. It describes the last
reproduction: it reads dvc.lock, not the working tree, and does not change runs whose fingerprint is
not in dvc.lock. A second call writes nothing.

Writes `reports/tracking.json`: fingerprints without run ids and times.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import filelock

from pipelines.settings import command_line, files, paths, resolved
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.resolved import PublishSettings
from pipelines.tracking import from_files, origin, registry, saved_views
from pipelines.tracking.address import is_remote
from pipelines.tracking.from_files import MADE_BY, CompletedRun
from pipelines.tracking.run import Run, metric_name
from pipelines.tracking.store import CURRENT, IS_CURRENT, PIPELINE, REPORTS, Store, open_store
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
        UserError: A model or file is missing, because `dvc repro` has not run yet.
    """
    settings = resolved.read(PublishSettings, resolved.path(PublishSettings.stage))
    lock = fingerprint.read_lock()
    completed = [run for model in settings.selected for run in from_files.read(model, lock)]
    report = _report_files()
    report_hash = _hash(report.values())
    store = open_store()
    store.is_publishing = True
    # Two publications at once would write the same values twice.
    with filelock.FileLock(f"{paths.MLFLOW_DB}.publish.lock"):
        store.reap()
        data = (_dataset(), from_files.data_md5(lock))
        runs = [_find_or_create(store, run) for run in completed]
        store.supersede([run.identity for run in completed])
        results = [
            _complete(store, run, content, data)
            for run, content in zip(runs, completed, strict=True)
        ]
        runs, changes = [run for run, _ in results], Counter(change for _, change in results)
        rank_by, directions = settings.report.rank_by, _directions(completed)
        choices = registry.choose(completed, rank_by, bool(directions.get(rank_by)))
        changes[REPORT_ADDED] = int(_complete_report(store, report, report_hash, choices))
        _write_views(store, completed, rank_by, directions)
        # A run that another process is writing has no model yet.
        run_ids = {run.tags["fingerprint"]: run.id for run in runs if "evaluated" in run.tags}
        registry.update(store, completed, run_ids, choices)
    _write_tracking(completed, report_hash)
    if store.is_on:
        _print_summary(store, runs, changes, choices, rank_by)


def _print_summary(
    store: Store,
    runs: Sequence[Run],
    changes: Counter[str],
    choices: Mapping[str, registry.Choice],
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
        f"{alias} {'waits for' if choice.fingerprint in training else 'is'} {choice.name}"
        for alias, choice in choices.items()
    ]
    print(f"registry: {', '.join(named) or 'no model has a value of ' + rank_by}")


def _dataset() -> str:
    return str(files.read_json(paths.PREPARE / "manifest.json", MADE_BY)["dataset"])


def _find_or_create(store: Store, content: CompletedRun) -> Run:
    identity = content.identity
    run = store.run(PIPELINE, identity.name, identity.fingerprint, identity.tags() | CURRENT)
    run.set_tags(CURRENT)
    return run


def _complete(
    store: Store, run: Run, content: CompletedRun, data: tuple[str, str | None]
) -> tuple[Run, str]:
    """Adds the missing values and files; returns the run, or its replacement, and the change."""
    if not run.id or run.is_training:
        return run, ""
    digest, old_digest = content.digest(), run.tags.get("evaluated")
    # The tag is set last, so the run was complete. Files of a local store can be lost; those of a
    # server are not checked, because listing them takes half a second per run.
    if old_digest == digest and is_remote(store.uri):
        return run, ""
    change = UPDATED if old_digest else EVALUATED if origin.TRAINED in run.tags else CREATED
    present = run.files()
    if content.contradicts(run.metrics, run.tags, present):
        run, present, old_digest = store.remake(run), {}, None
    snapshots = _missing_snapshots(content.snapshots, present)
    # By size: a file that was cut off is written again.
    missing = {name for name, size in content.sizes().items() if present.get(name) != size}
    if old_digest == digest:
        if not snapshots and not missing:
            return run, ""
        change = RESTORED
    run.add_params(content.params)
    run.log_rows(content.rows)
    timings = {key: value for key, value in content.timings.items() if key not in run.metrics}
    run.log_metrics({**content.metrics, **timings})
    for name in sorted(missing if old_digest == digest else content.sizes()):
        _add_artifact(run, name, content)
    for step, path in snapshots.items():
        run.add_image(path, "samples", step)
    if data[1]:
        run.add_dataset(data[0], data[1], "outputs/prepare")
    # Last, because an equal tag means that everything else was written.
    run.finish("FINISHED")
    note = {"mlflow.note.content": content.described(run.id)}
    run.set_tags({**content.tags, **note, "evaluated": digest})
    return run, change


def _missing_snapshots(snapshots: Mapping[int, Path], present: Iterable[str]) -> dict[int, Path]:
    return {
        step: path
        for step, path in snapshots.items()
        if not any(name.startswith(f"images/samples+step+{step}+") for name in present)
    }


def _add_artifact(run: Run, name: str, content: CompletedRun) -> None:
    if name in content.texts:
        run.add_text(content.texts[name], name)
        return
    folder = Path(name).parent.as_posix()
    run.add_file(content.files[name], None if folder == "." else folder)


def _report_files() -> dict[str, Path]:
    report = {path.name: path for path in (paths.REPORT, paths.COMPARISON, paths.LEADERBOARD)}
    for path in report.values():
        if not path.is_file():
            raise UserError(f"{path}: no such file; `{MADE_BY}` makes it")
    return report


def _hash(contents: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in contents:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _complete_report(
    store: Store, report: Mapping[str, Path], digest: str, choices: Mapping[str, registry.Choice]
) -> bool:
    run = store.run(REPORTS, f"report-{digest[:8]}", digest, {})
    present = run.files()
    missing = {name for name, path in report.items() if present.get(name) != path.stat().st_size}
    if not store.is_on or not missing:
        return False
    for name in sorted(missing):
        run.add_file(report[name])
    # The collapsed tables exceed the maximum length of a description.
    text = report[paths.COMPARISON.name].read_text("utf-8").partition("<details>")[0]
    best = {alias: choice.model for alias, choice in choices.items()}
    run.log_metrics({f"{alias}/{c.metric}": c.value for alias, c in choices.items()})
    run.finish("FINISHED")
    run.set_tags({**best, "mlflow.note.content": text})
    return True


def _directions(completed: Sequence[CompletedRun]) -> dict[str, bool | None]:
    """By metric with a value: whether higher is better."""
    directions: dict[str, bool | None] = {}
    for run in completed:
        for record in run.records:
            if record["value"] is not None:
                directions.setdefault(record["name"], record["higher_is_better"])
    return directions


def _write_views(
    store: Store,
    completed: Sequence[CompletedRun],
    rank_by: str,
    directions: Mapping[str, bool | None],
) -> None:
    tags = saved_views.tags(
        # A diagnostic has no direction, so it is no column of a leaderboard.
        metrics=[name for name, better in directions.items() if better is not None],
        rank_by=rank_by,
        higher_is_better=bool(directions.get(rank_by)),
        models=dict.fromkeys(run.identity.model for run in completed),
        curves=dict.fromkeys(
            metric_name(column)
            for run in completed
            for row in run.rows[:1]
            for column in row
            if "/" in column
        ),
        only=IS_CURRENT,
    )
    store.tag_experiment(PIPELINE, tags)
    chosen = [saved_views.metric(f"{alias}/{rank_by}") for alias in registry.ALIASES]
    columns = [*map(saved_views.tag, registry.ALIASES), *chosen]
    reports = saved_views.table_tags(columns, saved_views.AGE, ascending=False)
    store.tag_experiment(REPORTS, reports)


def _write_tracking(completed: Sequence[CompletedRun], report_hash: str) -> None:
    runs: dict[str, dict[str, str]] = {}
    for run in completed:
        seeds = runs.setdefault(run.identity.model, {})
        seeds[str(run.identity.seed)] = run.identity.fingerprint
    files.write_json(paths.TRACKING, {"runs": runs, "report": report_hash})


@exit_on_user_error
def main() -> None:
    """Completes the MLflow store from the files of the last `dvc repro`."""
    command_line.parser("publish", __doc__).parse_args()
    publish()


if __name__ == "__main__":
    main()

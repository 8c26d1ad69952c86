"""Stage `publish`: makes the MLflow store complete from what the other stages wrote.

Needed after a cache hit (no training ran, so nothing was logged), a lost database or a server that
was away. It describes what ran: it trusts dvc.lock, not the working tree. Runs whose fingerprint is
not in dvc.lock are history and left alone. A second call finds everything there and writes nothing.

Writes `reports/tracking.json`: the fingerprints, no run ids and no time.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import filelock

from pipelines.settings import command_line, files, paths, resolved
from pipelines.settings.errors import UserError, exit_on_user_error
from pipelines.settings.resolved import PublishSettings
from pipelines.tracking import from_files, registry, saved_views
from pipelines.tracking import store as tracking
from pipelines.tracking.from_files import MADE_BY, CompletedRun
from pipelines.tracking.run import Run, metric_name
from pipelines.tracking.store import Store
from pipelines.training import fingerprint


def publish() -> None:
    """Completes the store and writes reports/tracking.json.

    Raises:
        UserError: A model or file is missing because nothing was reproduced yet.
    """
    settings = resolved.read(PublishSettings, resolved.path(PublishSettings.stage))
    lock = fingerprint.read_lock()
    found = [done for model in settings.selected for done in from_files.read(model, lock)]
    report = _report_files()
    report_hash = _hash(report.values())
    store = tracking.open_store()
    # Two publications at once would each write what the other is about to write.
    with filelock.FileLock(f"{paths.MLFLOW_DB}.publish.lock"):
        store.reap()
        data = (_dataset(), from_files.data_md5(lock))
        runs = [_run(store, done) for done in found]
        store.supersede([done.identity for done in found])
        now, written = [], 0
        for run, done in zip(runs, found, strict=True):
            complete, was_written = _complete(store, run, done, data)
            now.append(complete)
            written += was_written
        rank_by, directions = settings.report.rank_by, _directions(found)
        choices = registry.choose(found, rank_by, bool(directions.get(rank_by)))
        written += _complete_report(store, report, report_hash, choices)
        _write_views(store, found, rank_by, directions)
        # A run that a living process is still writing has no model yet.
        run_ids = {run.tags["fingerprint"]: run.id for run in now if "evaluated" in run.tags}
        registry.update(store, found, run_ids, choices)
    _write_tracking(found, report_hash)
    if store.is_on:
        _tell(now, written, choices, rank_by)


def _tell(
    runs: Sequence[Run], written: int, choices: Mapping[str, registry.Choice], rank_by: str
) -> None:
    training = {run.tags["fingerprint"]: run for run in runs if run.is_training}
    there = len(runs) - len(training)
    print(f"MLflow: {there} runs and the report are there, {written} of them written now")
    for run in training.values():
        print(f"{run.name} is still in training on {run.tags['host']}; `make publish` completes it")
    named = [
        f"{alias} {'waits for' if choice.fingerprint in training else 'is'} {choice.name}"
        for alias, choice in choices.items()
    ]
    print(f"registry: {', '.join(named) or 'no model has a value of ' + rank_by}")


def _dataset() -> str:
    return str(files.read_json(paths.PREPARE / "manifest.json", MADE_BY)["dataset"])


def _run(store: Store, done: CompletedRun) -> Run:
    identity = done.identity
    tags = identity.tags() | tracking.CURRENT
    run = store.run(tracking.PIPELINE, identity.name, identity.fingerprint, tags)
    run.set_tags(tracking.CURRENT)
    return run


def _complete(
    store: Store, run: Run, done: CompletedRun, data: tuple[str, str | None]
) -> tuple[Run, bool]:
    """Adds to a run what it lacks; returns it, or what replaces it, and whether it was written."""
    if not run.id or run.is_training:
        return run, False
    digest = done.digest()
    evaluated_before = run.tags.get("evaluated") == digest
    # The tag is set last, so everything was there. A file beside a local store can be lost; those
    # of a server are its own affair, and asking for them takes it half a second a run.
    if evaluated_before and tracking.is_remote(store.uri):
        return run, False
    present = run.files()
    if done.contradicts(run.metrics, run.tags, present):
        run, present, evaluated_before = store.remake(run), {}, False
    snapshots = _missing_snapshots(done.snapshots, present)
    # By size: what was cut off is written again, as what is missing.
    lacking = {name for name, size in done.sizes().items() if present.get(name) != size}
    if evaluated_before and not snapshots and not lacking:
        return run, False
    run.add_params(done.params)
    run.log_rows(done.rows)
    timings = {key: value for key, value in done.timings.items() if key not in run.metrics}
    run.log_metrics({**done.metrics, **timings})
    for name in sorted(lacking if evaluated_before else done.sizes()):
        _add_artifact(run, name, done)
    for step, path in snapshots.items():
        run.add_image(path, "samples", step)
    if data[1]:
        run.add_dataset(data[0], data[1], "outputs/prepare")
    # Last: an equal tag says that everything before it was written.
    run.finish("FINISHED")
    note = {"mlflow.note.content": done.described(run.id)}
    run.set_tags({**done.tags, **note, "evaluated": digest})
    return run, True


def _missing_snapshots(snapshots: Mapping[int, Path], present: Iterable[str]) -> dict[int, Path]:
    return {
        step: path
        for step, path in snapshots.items()
        if not any(name.startswith(f"images/samples+step+{step}+") for name in present)
    }


def _add_artifact(run: Run, name: str, done: CompletedRun) -> None:
    if name in done.texts:
        run.add_text(done.texts[name], name)
        return
    folder = Path(name).parent.as_posix()
    run.add_file(done.files[name], None if folder == "." else folder)


def _report_files() -> dict[str, Path]:
    found = {path.name: path for path in (paths.REPORT, paths.COMPARISON, paths.LEADERBOARD)}
    for path in found.values():
        if not path.is_file():
            raise UserError(f"{path}: no such file; `{MADE_BY}` makes it")
    return found


def _hash(contents: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in contents:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _complete_report(
    store: Store, report: Mapping[str, Path], digest: str, choices: Mapping[str, registry.Choice]
) -> bool:
    run = store.run(tracking.REPORTS, f"report-{digest[:8]}", digest, {})
    present = run.files()
    missing = {name for name, path in report.items() if present.get(name) != path.stat().st_size}
    if not store.is_on or not missing:
        return False
    for name in sorted(missing):
        run.add_file(report[name])
    # The tables that are folded away there are longer than a description may be.
    text = report[paths.COMPARISON.name].read_text("utf-8").partition("<details>")[0]
    best = {alias: choice.model for alias, choice in choices.items()}
    run.log_metrics({f"{alias}/{c.metric}": c.value for alias, c in choices.items()})
    run.finish("FINISHED")
    run.set_tags({**best, "mlflow.note.content": text})
    return True


def _directions(found: Sequence[CompletedRun]) -> dict[str, bool | None]:
    """Whether higher is better, of each metric of which a model has a value."""
    directions: dict[str, bool | None] = {}
    for done in found:
        for record in done.records:
            if record["value"] is not None:
                directions.setdefault(record["name"], record["higher_is_better"])
    return directions


def _write_views(
    store: Store,
    found: Sequence[CompletedRun],
    rank_by: str,
    directions: Mapping[str, bool | None],
) -> None:
    tags = saved_views.tags(
        # A diagnostic has no better or worse, so it is no column of a leaderboard.
        metrics=[name for name, better in directions.items() if better is not None],
        rank_by=rank_by,
        higher_is_better=bool(directions.get(rank_by)),
        models=dict.fromkeys(done.identity.model for done in found),
        curves=dict.fromkeys(
            metric_name(column)
            for done in found
            for row in done.rows[:1]
            for column in row
            if "/" in column
        ),
        only=tracking.IS_CURRENT,
    )
    store.tag_experiment(tracking.PIPELINE, tags)
    chosen = [saved_views.metric(f"{alias}/{rank_by}") for alias in registry.ALIASES]
    columns = [*map(saved_views.tag, registry.ALIASES), *chosen]
    reports = saved_views.table_tags(columns, saved_views.AGE, ascending=False)
    store.tag_experiment(tracking.REPORTS, reports)


def _write_tracking(found: Sequence[CompletedRun], report_hash: str) -> None:
    runs: dict[str, dict[str, str]] = {}
    for done in found:
        seeds = runs.setdefault(done.identity.model, {})
        seeds[str(done.identity.seed)] = done.identity.fingerprint
    files.write_json(paths.TRACKING, {"runs": runs, "report": report_hash})


@exit_on_user_error
def main() -> None:
    """Completes the MLflow store from the files of the last `dvc repro`."""
    command_line.parser("publish", __doc__).parse_args()
    publish()


if __name__ == "__main__":
    main()

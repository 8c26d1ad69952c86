"""Trials on 200 digits: which are begun, what they cost, why they end."""

import itertools
from statistics import median

import filelock
import pytest
import sqlalchemy

from pipelines import tune
from pipelines.settings import params, paths
from pipelines.settings.errors import UserError
from pipelines.training import fingerprint, one_run, workers
from pipelines.tuning import page, results, worker
from pipelines.tuning import storage as tune_storage
from pipelines.tuning import study as tune_study
from pipelines.tuning import trial as tune_trial
from pipelines.tuning.trial import Bench, Outcome, Run
from tests.pipelines.tiny_study import BETA, URL, ignore, points, search, work


def test_a_trial_is_trained_as_train_does_it(project, tmp_path):
    one = project()
    bench = Bench.load(one, "cpu")
    entry = one.entry({"beta": 2.0})
    run = Run(bench, entry, 0, ignore)
    trainer = run.train(lambda message: None)
    settings = one.train.model_copy(update={"num_snapshots": 3, "snapshot_images": 4})
    seed, checkpoint = one.settings.training_seed, tmp_path / "c.pt"
    training = one_run.Training("t", entry, seed, settings, None, tmp_path, checkpoint, "here")
    other, _ = one_run.fit(training, "cpu", lambda m: None)
    for name, value in other.model.state_dict().items():
        assert value.equal(trainer.model.state_dict()[name]), name
    assert trainer.history == other.history


def test_the_objective_is_that_of_the_validation_split(project):
    one = project()
    bench = Bench.load(one, "cpu")
    assert bench.real.reference.split == "valid"
    assert bench.real.train.split == "train"
    outcome = Run(bench, one.entry({"beta": 2.0}), 0, ignore)(lambda message: None)
    assert set(outcome.values) == {"fid_classifier", "rate"}
    assert outcome.steps == 6
    assert outcome.picture.startswith(b"\x89PNG")


def test_the_first_trial_is_the_present_settings_and_one_worker_repeats_itself(project):
    one = project()
    storage = search(one)
    assert points(storage)[0] == {"beta": 1.0}
    first = [(t.params, t.values) for t in storage.trials]
    assert len({p["beta"] for p, _ in first}) == 4
    storage.close()
    paths.OPTUNA_DB.unlink()
    assert [(t.params, t.values) for t in search(one).trials] == first


def test_a_study_in_two_parts_has_the_trials_of_one_that_was_not_stopped(project):
    whole = points(search(project(trials=5)))
    paths.OPTUNA_DB.unlink()
    search(project(trials=2)).close()
    assert points(search(project(trials=5))) == whole
    assert len(search(project(trials=5)).trials) == 5


def test_a_changed_space_is_another_study_and_the_old_one_stays(project):
    one = project()
    search(one)
    other = project(space={"beta": BETA["beta"] | {"high": 5.0}})
    assert other.full_name != one.full_name
    search(other)
    assert len(tune_storage.open_study(one, URL()).trials) == 4
    assert project(trials=9, seconds=3.0).full_name == one.full_name


def test_repetitions_with_seeds_side_by_side_share_no_point(project):
    drawn = []
    for seed in (0, 1):
        storage = search(project(seed=seed, sampler={"name": "random", "startup_trials": 1}))
        drawn.append({t.params["beta"] for t in storage.trials[1:]})
        storage.close()
        paths.OPTUNA_DB.unlink()
    assert len(drawn[0] | drawn[1]) == 6


def test_a_model_that_is_too_large_is_not_trained(project):
    limits = {"num_parameters": 30_000, "cpu_seconds": None}
    space = {"width": {"type": "int", "low": 8, "high": 200, "step": 1, "log": True}}
    storage = search(project(constraints=limits, space=space, trials=6))
    trials = results.ended(storage)
    assert {t.state for t in trials} == {"complete", "infeasible"}
    for trial in (t for t in trials if t.same_as is None):
        assert (trial.num_parameters > 30_000) == (trial.state == "infeasible")
        assert (trial.steps == 0) == (trial.state == "infeasible")


def test_settings_that_were_tried_are_not_trained_again(project):
    space = {"kl_cycles": {"type": "categorical", "choices": [1, 2]}}
    trials = results.ended(search(project(space=space, trials=5)))
    again = [t for t in trials if t.same_as is not None]
    assert len(again) == 3
    for trial in again:
        assert trial.objectives == trials[trial.same_as].objectives
        assert trial.steps == 0


def test_settings_that_cost_too_much_are_infeasible_again(project, monkeypatch):
    monkeypatch.setattr(Outcome, "excess", lambda outcome, study: {"cpu_seconds": 0.5})
    space = {"kl_cycles": {"type": "categorical", "choices": [1, 2]}}
    storage = search(project(space=space, trials=3))
    again = [t for t in storage.trials if t.user_attrs["outcome"]["same_as"] is not None]
    assert again
    assert [t.constraints for t in again] == [{"cpu_seconds": 0.5}] * len(again)
    assert {t.state for t in results.ended(storage)} == {"infeasible"}


def test_a_diverging_trial_fails_with_its_reason_and_counts(project, monkeypatch):
    def diverge(*_):
        raise FloatingPointError("phase vae, step 3: loss = nan is not finite")

    monkeypatch.setattr(tune_trial.Trainer, "run", diverge)
    storage = search(project(trials=2))
    trials = results.ended(storage)
    assert [t.state for t in trials] == ["failed", "failed"]
    assert "nan is not finite" in trials[0].reason


WIDTHS = {"width": {"type": "categorical", "choices": [8, 10**11]}}


def test_a_trial_without_memory_fails_and_the_study_goes_on(project):
    random = {"name": "random", "startup_trials": 1}
    trials = results.ended(search(project(space=WIDTHS, trials=5, sampler=random)))
    assert {(t.point["width"], t.state, t.reason) for t in trials} == {
        (8, "complete", None),
        (10**11, "failed", "out of memory"),
    }


def test_a_mistake_of_ours_is_not_taken_for_memory(project, monkeypatch):
    def broken(*_):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(tune_trial.Trainer, "run", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        search(project())


def test_a_model_that_does_not_fit_is_counted_before_it_is_made(project):
    limits = {"num_parameters": 30_000, "cpu_seconds": None}
    random = {"name": "random", "startup_trials": 1}
    one = project(space=WIDTHS, trials=5, sampler=random, constraints=limits)
    trials = results.ended(search(one))
    large = [t for t in trials if t.point["width"] == 10**11]
    assert large
    assert {t.state for t in large} == {"infeasible"}
    assert large[0].num_parameters > 10**12


def test_a_gpu_has_one_worker(monkeypatch):
    monkeypatch.setattr(workers, "num_cores", lambda: 16)
    assert [worker.default_workers(device) for device in ("cpu", "cuda")] == [16, 1]


def test_overhead_beyond_training_and_scoring_is_small(project):
    """From the beginning of a trial to that of the next: storage, sampler and turn are in it."""
    trials = search(project(trials=8)).trials
    spent = [
        (after.datetime_start - trial.datetime_start).total_seconds()
        - trial.user_attrs["outcome"]["seconds"]["training"]
        - trial.user_attrs["outcome"]["seconds"]["scoring"]
        for trial, after in itertools.pairwise(trials)
    ]
    assert median(spent) < 1.5  # 0.5 s on two cores that others use


def test_importances_are_empty_where_trials_are_too_few_or_equal(project, monkeypatch):
    space = {**BETA, "kl_cycles": {"type": "categorical", "choices": [1, 2]}}
    monkeypatch.setattr(tune.runs, "log", lambda storage, content: 0)

    def importances(trials):
        storage = search(project(space=space, trials=trials))
        tune.finish(storage, 1, is_complete=False)
        plots = page.draw(storage, results.load(paths.TUNE / "s"))["search"]
        return [plot for plot in plots if "Importance of settings for fid_classifier" in plot]

    for trials in (1, page.FEWEST_FOR_IMPORTANCE - 1):
        assert importances(trials) == []
    (plot,) = importances(page.FEWEST_FOR_IMPORTANCE)
    assert all(f">{name}<" in plot for name in space)
    monkeypatch.setattr(page, "_target", lambda *_: lambda trial: 1.0)
    assert importances(page.FEWEST_FOR_IMPORTANCE) == []


def test_processes_times_threads_never_exceed_the_cores(monkeypatch):
    for cores, num_workers in ((2, 1), (2, 2), (8, 3), (16, 4)):
        monkeypatch.setattr(workers, "num_cores", lambda cores=cores: cores)
        assert worker.threads_of(num_workers) * num_workers <= cores
    assert worker.threads_of(64) == 1


def test_a_study_that_is_not_there_is_one_line(project):
    project()
    with pytest.raises(UserError, match=r"tune\.t: no such study; there are s"):
        tune_study.load("t", params.load())


def test_a_storage_that_does_not_answer_is_one_line_without_the_password(project):
    with pytest.raises(UserError) as error:
        tune_storage.open_study(project(), "postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


def test_a_lock_that_another_checkout_holds_is_one_line(project, tmp_path, monkeypatch):
    one, url = project(), f"sqlite:///{tmp_path / 'shared.db'}"
    monkeypatch.setattr(tune_storage, "LOCK_TIMEOUT", 0.2)
    with (
        filelock.FileLock(tmp_path / "shared.db.lock"),
        pytest.raises(UserError, match=r"shared\.db\.lock: another process has held this lock"),
    ):
        tune_storage.open_study(one, url)
    assert tune_storage.open_study(one, url).num_missing == 4


def test_tables_of_another_version_of_optuna_are_one_line(project):
    one = project()
    storage = tune_storage.open_study(one, URL())
    with storage.database.engine.begin() as connection:
        connection.execute(sqlalchemy.text("update alembic_version set version_num = 'v9.9.9'"))
    storage.close()
    with pytest.raises(UserError, match="is no longer compatible with the table schema") as error:
        tune_storage.open_study(one, URL())
    assert "\n" not in str(error.value)


def test_a_study_that_is_deleted_while_it_runs_is_one_line(project):
    one = project()
    storage = tune_storage.open_study(one, URL())

    def delete(message):
        if isinstance(message, worker.TrialStarted) and message.number == 1:
            tune_storage.optuna.delete_study(study_name=one.full_name, storage=storage.database)

    with pytest.raises(UserError, match=r"^--storage sqlite:.*: the study was deleted$"):
        work(one, delete)


@pytest.mark.parametrize("table", ["trial_heartbeats", "version_info", "alembic_version"])
def test_tables_whose_creation_was_cut_are_completed(project, table):
    one = project(trials=1)
    storage = tune_storage.open_study(one, URL())
    with storage.database.engine.begin() as connection:
        connection.execute(sqlalchemy.text(f"drop table {table}"))
    storage.close()
    assert [t.state for t in results.ended(search(one))] == ["complete"]


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:"])
def test_a_storage_in_memory_is_refused_in_one_line(project, url):
    with pytest.raises(UserError, match=rf"^--storage {url}: is in memory, which other"):
        tune_storage.open_study(project(), url)


def test_a_hash_does_not_depend_on_the_order_of_keys(project):
    one = project()
    assert one.digest == project().digest
    assert len(one.full_name) == len("s-") + 8
    assert fingerprint.digest({"a": 1, "b": 2}) == fingerprint.digest({"b": 2, "a": 1})

"""Studies on 200 digits: what is begun, what is lost and taken up again, what is chosen."""

import json
import multiprocessing
import os
import signal
import time
from statistics import fmean, median

import pytest
import sqlalchemy
from mlflow import MlflowClient  # noqa: TID251

from genmodels import checkpoint
from genmodels.training import LoopSettings
from pipelines import (
    datasets,
    features,
    fingerprint,
    params,
    paths,
    prepare,
    train,
    tune,
    tune_apply,
    tune_files,
    tune_page,
    tune_retrain,
    tune_storage,
    tune_study,
    tune_trial,
    tune_worker,
    workers,
)
from pipelines.errors import UserError
from pipelines.runs import ROW_MARK
from pipelines.tune_trial import Bench, Outcome, Run, Watcher

RAW = params.read_yaml(paths.PARAMS)
TINY = {"architecture": "mlp", "width": 8, "head_depth": 0, "latent_dim": 2, "num_steps": 24}
TINY |= {"batch_size": 16, "kl_warmup": 0.0}
BETA = {"beta": {"type": "float", "low": 0.1, "high": 10.0, "log": True}}


@pytest.fixture(scope="session")
def few_digits():
    source = datasets.mnist5k(None)
    return datasets.Source(
        source.images[::25], source.labels[::25], source.class_names, len(source.images[::25])
    )


@pytest.fixture(scope="session")
def made(few_digits, tmp_path_factory):
    """Prepared data and features, made once."""
    folder = tmp_path_factory.mktemp("made")
    settings = raw_params()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(datasets.LOADERS, "mnist5k", lambda _: few_digits)
        prepare.make(params.Prepare(**settings["prepare"]), folder / "prepare")
    extractor = params.Features(**settings["features"])
    features.make(extractor, folder / "prepare", folder / "features")
    return folder


def raw_params():
    settings = json.loads(json.dumps(RAW))
    settings["prepare"] |= {"split_design": "stratified"}
    settings["features"] |= {"replicas": 0, "width": 2, "num_features": 4, "epochs": 1}
    settings["train"] |= {"num_snapshots": 1, "snapshot_images": 32, "device": "cpu"}
    models = settings["models"]
    settings["models"] = {"vae": models["vae"] | TINY}
    settings["selected"] = {"vae": "vae"}
    return settings


def study(**changes):
    wanted = json.loads(json.dumps(RAW["tune"]["vae_beta"]))
    wanted |= {"trials": 4, "num_steps": 6, "watch": ["rate"], "space": BETA}
    wanted["sampler"] = {"name": "tpe", "startup_trials": 2}
    wanted["retrain"] = {"top": 1, "seeds": [7, 8]}
    return wanted | changes


@pytest.fixture
def project(checkout, made):
    """A checkout with data, and a function that gives it a study `s`."""
    paths.PREPARE.parent.mkdir(parents=True)
    paths.PREPARE.symlink_to(made / "prepare")
    paths.FEATURES.symlink_to(made / "features")

    def write(**changes):
        paths.PARAMS.write_text(json.dumps(raw_params() | {"tune": {"s": study(**changes)}}))
        return tune_study.load("s", params.load())

    return write


URL = tune_storage.default_url


def search(one, **options):
    """Runs a study in this process."""
    storage = tune_storage.create(one, URL())
    tune_worker.work(one, URL(), "cpu", None, options.get("send", lambda message: None))
    return storage


def points(storage):
    return [trial.params for trial in storage.trials]


def test_a_trial_is_trained_as_train_does_it(project, tmp_path):
    one = project()
    bench = Bench.load(one, "cpu")
    entry = one.entry({"beta": 2.0})
    run = Run(bench, entry, 0, Watcher())
    trainer = run._train(lambda message: None)
    loop = LoopSettings(one.settings.training_seed, one.train.precision, 3, 4)
    data = train.load_images("cpu")
    other, _ = train.fit(entry, data, loop, tmp_path / "c.pt", "cpu", lambda m: None, "here")
    for name, value in other.model.state_dict().items():
        assert value.equal(trainer.model.state_dict()[name]), name
    assert trainer.history == other.history


def test_the_objective_is_that_of_the_validation_split(project):
    one = project()
    bench = Bench.load(one, "cpu")
    assert bench.real.reference.split == "valid"
    assert bench.real.train.split == "train"
    outcome = Run(bench, one.entry({"beta": 2.0}), 0, Watcher())(lambda message: None)
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
    assert len(tune_storage.join(one, URL()).trials) == 4
    assert project(trials=9, seconds=3.0).full_name == one.full_name


def test_repetitions_with_seeds_side_by_side_share_no_point(project):
    drawn = []
    for seed in (0, 1):
        storage = search(project(seed=seed, sampler={"name": "random", "startup_trials": 1}))
        drawn.append({t.params["beta"] for t in storage.trials[1:]})
        storage.close()
        paths.OPTUNA_DB.unlink()
    assert len(drawn[0] | drawn[1]) == 6


def _begin_and_hang(one, url, ready):
    storage = tune_storage.join(one, url)
    trial = storage.next_trial()
    trial.suggest_float("beta", 0.1, 10.0, log=True)
    ready.send(trial.number)
    time.sleep(600)


def test_a_killed_worker_leaves_nothing_running_and_its_point_is_tried_again(project):
    one = project()
    storage = tune_storage.create(one, URL())
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_begin_and_hang, args=(one, URL(), theirs)
    )
    process.start()
    number = ours.recv()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert [t.state.name for t in storage.trials] == ["RUNNING"]
    tune_worker.work(one, URL(), "cpu", None, lambda message: None)
    trials = tune_files.ended(storage)
    assert [t.state for t in trials] == ["lost", *["complete"] * 4]
    retried = next(t for t in trials[1:] if t.first == number)
    assert retried.point == trials[0].point == {"beta": 1.0}
    assert len({t.point["beta"] for t in trials[1:]}) == 4
    assert tune_storage.num_begun(storage.trials) == 4


def test_the_start_is_not_lost_with_a_worker_that_had_suggested_nothing(project):
    one = project(trials=1)
    storage = tune_storage.create(one, URL())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tune_storage.provenance, "is_alive", lambda owner: False)
        for _ in range(2):
            assert storage.next_trial() is not None
        storage.reap()
    search(one)
    *_, last = tune_files.ended(storage)
    assert (last.state, last.point, last.is_start) == ("complete", {"beta": 1.0}, True)


def _silence(storage, trial):
    """The last heartbeat was an hour ago."""
    storage.database.record_heartbeat(trial._trial_id)
    with storage.database.engine.begin() as connection:
        long_ago = sqlalchemy.text(
            "update trial_heartbeats set heartbeat = datetime('now', '-1 hour')"
        )
        connection.execute(long_ago)


def test_a_machine_that_slept_has_lost_no_trial(project):
    storage = tune_storage.create(project(), URL())
    trial = storage.next_trial()
    _silence(storage, trial)
    storage.reap()
    assert [t.state.name for t in storage.trials] == ["RUNNING"]


def test_another_host_that_is_silent_has_lost_its_trial_even_before_it_said_anything(project):
    storage = tune_storage.create(project(), URL())
    trial = storage.next_trial()
    with storage.database.engine.begin() as connection:
        beats = connection.execute(sqlalchemy.text("select count(*) from trial_heartbeats"))
        assert beats.scalar() == 1
    trial.set_user_attr("owner", {"host": "elsewhere", "pid": "1", "process_start": "1.0"})
    storage.reap()
    assert [t.state.name for t in storage.trials] == ["RUNNING"]
    _silence(storage, trial)
    storage.reap()
    assert [t.state.name for t in storage.trials] == ["FAIL", "WAITING"]


def test_a_worker_whose_trial_was_taken_for_lost_goes_on_with_the_next(project, monkeypatch):
    one = project(trials=2)
    storage = tune_storage.create(one, URL())
    whole, taken = Run.__call__, []

    def slow(run, send):
        if not taken:  # what another host does meanwhile
            taken.append(storage.trials[0])
            storage.inner.tell(0, state=tune_storage.TrialState.FAIL)
            tune_storage._retry(storage.inner, taken[0])
        return whole(run, send)

    monkeypatch.setattr(Run, "__call__", slow)
    search(one)
    states = [(t.state, t.point.get("beta")) for t in tune_files.ended(storage)]
    assert states[:2] == [("lost", 1.0), ("complete", 1.0)]
    assert [state for state, _ in states] == ["lost", "complete", "complete"]


def test_a_trial_of_another_host_that_never_said_more_is_taken_for_lost(project):
    one = project(trials=1)
    storage = tune_storage.create(one, URL(), grace=1)
    storage.next_trial().set_user_attr("owner", {"host": "another", "pid": "1"})
    storage.reap()
    assert (storage.num_running, storage.num_waiting) == (1, 0)
    time.sleep(3)  # SQLite's clock has whole seconds
    storage.reap()
    assert (storage.num_running, storage.num_waiting) == (0, 1)


def test_a_worker_whose_trial_was_taken_over_goes_on_with_another(project, monkeypatch):
    one = project(trials=3)
    other, said = tune_storage.create(one, URL()), []

    def send(message):
        said.append(message)
        if message == tune_worker.Begun(1):  # while this machine sleeps, its trial is given away
            with monkeypatch.context() as patch:
                patch.setattr(tune_storage.provenance, "is_alive", lambda owner: False)
                other.reap()

    tune_worker.work(one, URL(), "cpu", None, send)
    trials = tune_files.ended(other)
    assert [t.state for t in trials] == ["complete", "lost", "complete", "complete"]
    assert [t.first for t in trials] == [0, 1, 1, 3]
    assert [m.reason for m in said if isinstance(m, tune_worker.Ended) and m.number == 1] == [
        "was taken for lost and is tried again"
    ]


def test_a_point_that_loses_every_worker_is_given_up(project, monkeypatch):
    one = project(trials=1)
    storage = tune_storage.create(one, URL())
    monkeypatch.setattr(tune_storage.provenance, "is_alive", lambda owner: False)
    for _ in range(tune_storage.MOST_ATTEMPTS):
        assert storage.next_trial() is not None
    assert storage.next_trial() is None
    states = [t.state for t in tune_files.ended(storage)]
    assert states == ["lost"] * (tune_storage.MOST_ATTEMPTS - 1) + ["failed"]


def test_a_retry_goes_on_from_the_checkpoint(project, monkeypatch):
    monkeypatch.setattr(train, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    pruner = {"name": "median", "startup_trials": 9, "checks": 2}
    one = project(pruner=pruner)
    bench, entry = Bench.load(one, "cpu"), one.entry({"beta": 2.0})

    class Notes(Watcher):
        def __init__(self, stop_at=None):
            self.seen, self.stop_at = {}, stop_at

        def report(self, value, step):
            if step == self.stop_at:
                raise KeyboardInterrupt
            self.seen[step] = value
            return False

    plain = Notes()
    whole = Run(bench, entry, 1, plain)(lambda message: None)
    with pytest.raises(KeyboardInterrupt):
        Run(bench, entry, 2, Notes(stop_at=4))(lambda message: None)
    assert checkpoint.load(one.checkpoint(2, entry))["step"] == 3
    again, said = Notes(), []
    resumed = Run(bench, entry, 2, again)(said.append)
    assert resumed.values == whole.values
    assert again.seen == plain.seen
    assert list(plain.seen) == [2, 4]


def test_a_trial_does_not_go_on_from_another_one_of_its_number(project, monkeypatch):
    monkeypatch.setattr(train, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    one = project(pruner={"name": "median", "startup_trials": 9, "checks": 2})
    bench = Bench.load(one, "cpu")

    class Interrupts(Watcher):
        def report(self, value, step):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Run(bench, one.entry({"beta": 2.0}), 1, Interrupts())(lambda message: None)
    other = one.entry({"beta": 9.0})
    expected = Run(bench, other, 5, Watcher())(lambda message: None)
    assert Run(bench, other, 1, Watcher())(lambda message: None).values == expected.values


def test_a_trial_that_is_behind_is_given_up(project):
    one = project(pruner={"name": "median", "startup_trials": 1, "checks": 2})

    class Harsh(Watcher):
        def report(self, value, step):
            return step == 2

    outcome = Run(Bench.load(one, "cpu"), one.entry({"beta": 2.0}), 0, Harsh())(lambda m: None)
    assert outcome.stopped == "pruned"
    assert outcome.steps == 2
    assert outcome.values == {}
    assert outcome.seconds["training"] > 0


def test_a_trial_that_was_lost_when_it_was_behind_is_given_up_as_it_was(project, monkeypatch):
    monkeypatch.setattr(train, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    one = project(pruner={"name": "median", "startup_trials": 1, "checks": 2})
    bench, entry = Bench.load(one, "cpu"), one.entry({"beta": 2.0})

    class Notes(Watcher):
        def report(self, value, step):
            if step == 4:
                raise KeyboardInterrupt
            return False

    class Harsh(Watcher):
        def report(self, value, step):
            return True

    with pytest.raises(KeyboardInterrupt):
        Run(bench, entry, 0, Notes())(lambda message: None)
    outcome = Run(bench, entry, 0, Harsh())(lambda message: None)
    assert (outcome.stopped, outcome.steps) == ("pruned", 3)


def test_two_objectives_report_nothing_and_their_front_is_that_of_brute_force(project, monkeypatch):
    def refuse(*_):
        raise AssertionError("a trial of two objectives was reported")

    monkeypatch.setattr("optuna.trial.Trial.report", refuse)
    objectives = [{"metric": m, "direction": None} for m in ("fid_classifier", "mse")]
    one = project(objectives=objectives, trials=8)
    storage = search(one)
    trials = tune_files.ended(storage)

    def beaten(trial):
        return any(
            all(a <= b for a, b in zip(other.objectives, trial.objectives, strict=True))
            and other.objectives != trial.objectives
            for other in trials
        )

    assert tune_files.front(storage) == [t.number for t in trials if not beaten(t)]
    chosen = tune_retrain.chosen(one, trials, tune_files.front(storage))
    assert {t.number for t in chosen} <= set(tune_files.front(storage))


def test_a_model_that_is_too_large_is_not_trained(project):
    limits = {"num_parameters": 30_000, "cpu_seconds": None}
    space = {"width": {"type": "int", "low": 8, "high": 200, "step": 1, "log": True}}
    storage = search(project(constraints=limits, space=space, trials=6))
    trials = tune_files.ended(storage)
    assert {t.state for t in trials} == {"complete", "infeasible"}
    for trial in (t for t in trials if t.same_as is None):
        assert (trial.num_parameters > 30_000) == (trial.state == "infeasible")
        assert (trial.steps == 0) == (trial.state == "infeasible")


def test_settings_that_were_tried_are_not_trained_again(project):
    space = {"kl_cycles": {"type": "categorical", "choices": [1, 2]}}
    trials = tune_files.ended(search(project(space=space, trials=5)))
    again = [t for t in trials if t.same_as is not None]
    assert len(again) == 3
    for trial in again:
        assert trial.objectives == trials[trial.same_as].objectives
        assert trial.steps == 0


def test_settings_that_cost_too_much_are_infeasible_again(project, monkeypatch):
    monkeypatch.setattr(Outcome, "excess", lambda outcome, study: {"cpu_seconds": 0.5})
    space = {"kl_cycles": {"type": "categorical", "choices": [1, 2]}}
    storage = search(project(space=space, trials=3))
    again = [t for t in storage.trials if "same_as" in t.user_attrs]
    assert again
    assert [t.constraints for t in again] == [{"cpu_seconds": 0.5}] * len(again)
    assert {t.state for t in tune_files.ended(storage)} == {"infeasible"}


def test_a_diverging_trial_fails_with_its_reason_and_counts(project, monkeypatch):
    def diverge(*_):
        raise FloatingPointError("phase vae, step 3: loss = nan is not finite")

    monkeypatch.setattr(tune_trial.Trainer, "run", diverge)
    storage = search(project(trials=2))
    trials = tune_files.ended(storage)
    assert [t.state for t in trials] == ["failed", "failed"]
    assert "nan is not finite" in trials[0].reason


def test_overhead_beyond_training_and_scoring_is_small(project):
    storage = search(project(trials=6))
    spent = [t.user_attrs["seconds"] for t in storage.trials]
    assert median(s["all"] - s["training"] - s["scoring"] for s in spent) < 0.5


def test_processes_times_threads_never_exceed_the_cores(monkeypatch):
    for cores, num_workers in ((2, 1), (2, 2), (8, 3), (16, 4)):
        monkeypatch.setattr(workers, "num_cores", lambda cores=cores: cores)
        assert tune_worker.threads_of(num_workers) * num_workers <= cores
    assert tune_worker.threads_of(64) == 1


@pytest.fixture
def no_store(monkeypatch):
    """Tracking is tested for itself."""
    monkeypatch.setattr(tune.tune_tracking, "log", lambda storage, found: 0)


def test_a_study_ends_with_a_verdict_a_page_and_an_entry(project, no_store, monkeypatch):
    one = project()
    storage = search(one)
    told = tune.finish(storage, 1, retrained=True)
    found = tune_page.load(paths.TUNE / "s")
    assert next(iter(found.best["retrained"])) == "start"
    for row in found.best["retrained"].values():
        fid = row["values"]["fid_classifier"]
        assert fid["mean"] == pytest.approx(fmean(fid["seeds"]))
        assert fid["interval"][0] < fid["mean"] < fid["interval"][1]
    assert "fresh seeds" in told
    page = (paths.TUNE / "s" / "index.html").read_text()
    assert tune_page.render(found) == page
    assert "http" not in page.replace("http://www.w3.org", "")
    csv = (paths.TUNE / "s" / "trials.csv").read_text().splitlines()
    assert csv[0] == "number,state,reason,num_parameters,steps,beta,fid_classifier,rate"
    assert len(csv) == 5
    # Trained at the full budget of the entry, not at that of the trials.
    config = paths.STUDIES / "tune_s" / "start" / "7" / "config.json"
    assert json.loads(config.read_text())["settings"]["num_steps"] == TINY["num_steps"]

    number = found.trials[1].number
    difference = tune_apply.apply("s", number, None)
    settings = params.load()
    assert settings.models["vae_tuned"] == one.full_entry(found.trials[1].settings)
    assert settings.selected == {"vae": "vae", "vae_tuned": "vae"}
    assert difference.count("vae_tuned") >= 2
    before = paths.PARAMS.read_text()
    assert "already" in tune_apply.apply("s", number, None)
    assert paths.PARAMS.read_text() == before


BRANCHES = {
    "architecture": {"type": "categorical", "choices": ["mlp", "conv"]},
    "width": [
        {"type": "int", "low": 4, "high": 9, "step": 1, "log": True, "when": when}
        for when in ({"architecture": ["mlp"]}, {"architecture": ["conv"]})
    ],
    "beta": BETA["beta"],
}


def test_the_page_of_a_pruned_study_with_conditions(project, no_store, tmp_path):
    pruner = {"name": "median", "startup_trials": 1, "checks": 2}
    one = project(space=BRANCHES, pruner=pruner, trials=8, retrain={"top": 1, "seeds": [7, 8]})
    storage = search(one)
    trials = tune_files.ended(storage)
    assert {t.state for t in trials} == {"complete", "pruned"}
    for trial in trials:
        assert trial.steps == (
            6 if trial.state == "complete" else max(map(int, trial.intermediate))
        )
    tune.finish(storage, 1, retrained=False)
    page = (paths.TUNE / "s" / "index.html").read_text()
    for title in ("settings of each trial", "fid_classifier during the trials", "width@mlp"):
        assert title in page
    assert "width@conv" in (paths.TUNE / "s" / "trials.csv").read_text()


def test_the_page_of_two_objectives_shows_the_front(project, no_store):
    objectives = [{"metric": m, "direction": None} for m in ("fid_classifier", "elbo")]
    one = project(objectives=objectives, trials=5)
    assert one.directions == ("minimize", "maximize")
    told = tune.finish(search(one), 1, retrained=True)
    assert "two objectives have a front, not a winner" in told
    found = tune_page.load(paths.TUNE / "s")
    assert found.front
    assert "Pareto front" in (paths.TUNE / "s" / "index.html").read_text()
    with pytest.raises(UserError, match=r"choose of the front with --trial \d"):
        tune_apply.apply("s", None, None)
    assert "vae_tuned" in tune_apply.apply("s", found.front[0], None)


def test_apply_says_what_it_cannot_do(project, no_store):
    one = project()
    with pytest.raises(UserError, match=r"python -m pipelines\.tune run s` makes it"):
        tune_apply.apply("s", None, None)
    tune.finish(search(one), 1, retrained=False)
    with pytest.raises(UserError, match="were not trained anew yet"):
        tune_apply.apply("s", None, None)
    with pytest.raises(UserError, match="--trial 99: s has the trials 0 to 3"):
        tune_apply.apply("s", 99, None)
    with pytest.raises(UserError, match="--as Vae: a name is made of"):
        tune_apply.apply("s", 1, "Vae")


def test_apply_keeps_comments_and_touches_the_named_values(project, no_store):
    one = project()
    search_and_finish = tune.finish(search(one), 1, retrained=False)
    assert "best so far" in search_and_finish
    paths.PARAMS.write_text(SHIPPED_TEXT)
    file = paths.TUNE / "s" / "trials.json"  # as if it had been of the shipped entry
    file.write_text(json.dumps(json.loads(file.read_text()) | {"base": RAW["models"]["vae"]}))
    tune_apply.apply("s", 1, "vae")
    changed = [
        (old, new)
        for old, new in zip(
            SHIPPED_TEXT.splitlines(), paths.PARAMS.read_text().splitlines(), strict=True
        )
        if old != new
    ]
    beta = tune_page.load(paths.TUNE / "s").trials[1].settings["beta"]
    assert changed == [("    beta: 1.0", f"    beta: {beta!r}")]
    tune_apply.apply("s", 1, "vae_tuned")
    after = paths.PARAMS.read_text()
    for line in SHIPPED_TEXT.splitlines():
        assert line in after or line == "    beta: 1.0"
    assert "  vae_tuned: # trial 1 of study s: beta" in after
    tune_apply.apply("s", 2, "vae_tuned")
    again = paths.PARAMS.read_text()
    assert "  vae_tuned: # trial 2 of study s: beta" in again
    assert "trial 1 of study s" not in again
    assert len(again.splitlines()) == len(after.splitlines())


def test_apply_leaves_nothing_of_another_trial_behind(project, no_store):
    space = {
        "likelihood": {"type": "categorical", "choices": ["bernoulli", "gaussian"]},
        "binarize": {"type": "fixed", "value": "none", "when": {"likelihood": ["gaussian"]}},
        "sigma": {"type": "fixed", "value": "optimal", "when": {"likelihood": ["gaussian"]}},
        "beta": BETA["beta"],
    }
    one = project(space=space, trials=6, sampler={"name": "random", "startup_trials": 1})
    tune.finish(search(one), 1, retrained=False)
    trials = tune_page.load(paths.TUNE / "s").trials
    numbers = [
        next(t.number for t in trials if t.settings["likelihood"] == likelihood)
        for likelihood in ("gaussian", "bernoulli")
    ]
    for number in numbers:
        tune_apply.apply("s", number, "vae_tuned")
        expected = one.full_entry(trials[number].settings)
        assert params.load().models["vae_tuned"] == expected


def test_apply_refuses_where_the_entry_is_no_longer_that_of_the_trials(project, no_store):
    one = project()
    tune.finish(search(one), 1, retrained=False)
    settings = json.loads(paths.PARAMS.read_text())
    settings["models"]["vae"] |= {"learning_rate": 0.5, "beta": 3.0}
    before = json.dumps(settings)
    paths.PARAMS.write_text(before)
    with pytest.raises(UserError, match=r"models\.vae: learning_rate changed since study s"):
        tune_apply.apply("s", 1, None)
    assert paths.PARAMS.read_text() == before


SHIPPED_TEXT = paths.PARAMS.read_text()


def test_a_study_that_is_not_there_is_one_line(project):
    project()
    with pytest.raises(UserError, match=r"tune\.t: no such study; there are s"):
        tune_study.load("t", params.load())


def test_a_storage_that_does_not_answer_is_one_line_without_the_password(project):
    with pytest.raises(UserError) as error:
        tune_storage.create(project(), "postgresql+psycopg://me:secret@127.0.0.1:1/none")
    assert "\n" not in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The ``noload`` loader")  # of MLflow's, with this SQLAlchemy
def test_a_study_in_mlflow_has_a_parent_and_a_run_a_trial_written_once(project, store_home):
    storage = search(project())
    tune.finish(storage, 1, retrained=False)
    client = MlflowClient(f"sqlite:///{store_home / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tuning/s").experiment_id

    def stored():
        runs = client.search_runs([experiment])
        steps = {r.info.run_id: client.get_metric_history(r.info.run_id, ROW_MARK) for r in runs}
        return {
            r.info.run_id: (r.data.metrics, r.data.params, len(steps[r.info.run_id])) for r in runs
        }

    before = stored()
    assert len(before) == 5
    parents = [r.data.tags.get("mlflow.parentRunId") for r in client.search_runs([experiment])]
    assert parents.count(None) == 1
    assert set(parents) - {None} <= set(before)
    assert {r.info.status for r in client.search_runs([experiment])} == {"FINISHED"}
    assert tune.tune_tracking.log(storage, tune_page.load(paths.TUNE / "s")) == 0
    assert stored() == before

    # In a new storage, with another seed, the same numbers are other trials.
    storage.close()
    paths.OPTUNA_DB.unlink()
    other = search(project(seed=1))
    tune.finish(other, 1, retrained=False)
    after = stored()
    added = {float(told["beta"]) for run, (_, told, _) in after.items() if run not in before}
    assert added == {t.params["beta"] for t in other.trials[1:]}


def test_a_hash_does_not_depend_on_the_order_of_keys(project):
    one = project()
    assert one.digest == project().digest
    assert len(one.full_name) == len("s-") + 8
    assert fingerprint.digest({"a": 1, "b": 2}) == fingerprint.digest({"b": 2, "a": 1})

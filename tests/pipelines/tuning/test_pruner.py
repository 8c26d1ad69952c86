"""Trials that are given up because others are better."""

import pytest

from pipelines.training import one_run
from pipelines.tuning import results, retrain
from pipelines.tuning.trial import Bench, Run
from tests.pipelines.tiny_study import search


def test_a_trial_that_is_behind_is_given_up(project):
    one = project(pruner={"name": "median", "startup_trials": 1, "checks": 2})

    run = Run(Bench.load(one, "cpu"), one.entry({"beta": 2.0}), 0, lambda value, step: step == 2)
    outcome = run(lambda message: None)
    assert outcome.stopped == "pruned"
    assert outcome.steps == 2
    assert outcome.values == {}
    assert outcome.seconds["training"] > 0


def test_a_trial_that_was_lost_when_it_was_behind_is_given_up_as_it_was(project, monkeypatch):
    monkeypatch.setattr(one_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    one = project(pruner={"name": "median", "startup_trials": 1, "checks": 2})
    bench, entry = Bench.load(one, "cpu"), one.entry({"beta": 2.0})

    def interrupt(value, step):
        if step == 4:
            raise KeyboardInterrupt
        return False

    with pytest.raises(KeyboardInterrupt):
        Run(bench, entry, 0, interrupt)(lambda message: None)
    outcome = Run(bench, entry, 0, lambda value, step: True)(lambda message: None)
    assert (outcome.stopped, outcome.steps) == ("pruned", 3)


def test_two_objectives_report_nothing_and_their_front_is_that_of_brute_force(project, monkeypatch):
    def refuse(*_):
        raise AssertionError("a trial of two objectives was reported")

    monkeypatch.setattr("optuna.trial.Trial.report", refuse)
    objectives = [{"metric": m, "direction": None} for m in ("fid_classifier", "mse")]
    one = project(objectives=objectives, trials=8)
    storage = search(one)
    trials = results.ended(storage)

    def beaten(trial):
        return any(
            all(a <= b for a, b in zip(other.objectives, trial.objectives, strict=True))
            and other.objectives != trial.objectives
            for other in trials
        )

    assert results.front(storage) == [t.number for t in trials if not beaten(t)]
    chosen = retrain.top(one, trials, results.front(storage))
    assert {t.number for t in chosen} <= set(results.front(storage))

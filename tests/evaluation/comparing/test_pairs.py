import math

import pytest

from evaluation.comparing import pairs as pairwise
from evaluation.comparing import significance
from evaluation.comparing.leaderboard import Row
from evaluation.comparing.significance import Sample, seeds_needed, welch

DIRECTIONS = {"fid": False, "score": True, "rate": None}


def make_record(metric, value, **changes):
    record = {
        "name": metric,
        "value": value,
        "unit": "raw",
        "n_real": 1000,
        "n_fake": 1000,
        "reference": {"dataset": "digits", "split": "test", "sha256": "beef"},
        "extractor": None,
        "higher_is_better": DIRECTIONS.get(metric, False),
        "ideal": None,
        "order": "quality",
        "params": {},
        "reason": None if value is not None else "not_supported",
    }
    return record | changes


def make_row(name, values, **changes):
    """A row of one value a seed for each metric."""
    seeds = len(next(iter(values.values())))
    records = {
        str(seed): [
            make_record(metric, found[seed], **changes.get(metric, {}))
            for metric, found in values.items()
        ]
        for seed in range(seeds)
    }
    summary = {}
    for metric, found in values.items():
        present = [v for v in found if v is not None]
        mean = sum(present) / len(present) if present else None
        reason = None if present else "not_supported"
        summary[metric] = {"mean": mean, "std": None, "n": len(present), "reason": reason}
    return Row(name, "vae", "vae", {}, summary, records)


LOW, HIGH = [1.0, 1.1, 0.9, 1.05], [2.0, 2.1, 1.9, 2.05]


def line(first, other, metric="fid"):
    rows = [make_row("a", {metric: first}), make_row("b", {metric: other})]
    return pairwise.compare(rows).lines(rows[1])[0]


@pytest.mark.parametrize(
    ("metric", "first", "other", "verdict", "improves"),
    [
        ("fid", HIGH, LOW, "better", True),
        ("fid", LOW, HIGH, "worse", False),
        ("score", HIGH, LOW, "worse", False),
        ("score", LOW, HIGH, "better", True),
        ("rate", LOW, HIGH, "different", None),
        ("rate", LOW, [1.1, 0.9, 1.0, 1.1], "not distinguishable", None),
        ("fid", LOW, [1.1, 0.9, 1.0, 1.1], "not distinguishable", False),
        ("fid", LOW[:2], HIGH[:2], "not testable", False),
        ("fid", LOW[:1], HIGH[:1], "not testable", False),
        ("fid", LOW, LOW, "not distinguishable", None),
    ],
)
def test_the_verdict_is_on_the_other_and_follows_the_direction(
    metric, first, other, verdict, improves
):
    found = line(first, other, metric)
    assert (found.difference.verdict, found.improves) == (verdict, improves)
    assert found.difference.value == pytest.approx(
        sum(other) / len(other) - sum(first) / len(first)
    )


def test_p_and_intervals_are_those_of_the_values():
    found = line(LOW, HIGH)
    assert found.difference.p == pytest.approx(welch(Sample.of(LOW), Sample.of(HIGH)))
    assert found.baseline.interval == significance.interval(LOW)
    assert found.model.interval == significance.interval(HIGH)
    assert line(LOW[:2], HIGH[:2]).difference.p is None
    assert line(LOW[:1], HIGH[:1]).baseline.interval is None


def test_among_three_models_p_is_adjusted_for_all_pairs():
    values = {"a": [*LOW, 1.02], "b": [1.2, 1.0, 1.3, 1.1, 1.2], "c": [*HIGH, 2.02]}
    rows = [make_row(name, {"fid": found}) for name, found in values.items()]
    found = pairwise.compare(rows)
    pairs = significance.all_pairs(values, higher_is_better=False)
    assert found.lines(rows[1])[0].difference == pairs["a", "b"].reversed()
    far = found.lines(rows[2])[0].difference
    assert far.p == pairs["a", "c"].p == 3 * far.unadjusted


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"n_fake": 500}, "n_fake is 1000 and 500"),
        ({"extractor": "sha256:1"}, "extractor is None and sha256:1"),
        ({"reference": {"dataset": "other"}}, "reference is "),
    ],
)
def test_one_incomparable_metric_is_refused_and_the_others_stay(changes, told):
    values = {"fid": LOW, "score": HIGH}
    rows = [make_row("a", values), make_row("b", values, fid=changes)]
    found = pairwise.compare(rows)
    assert list(found.boards) == ["score"]
    assert told in found.refused["fid"]
    assert found.refused["fid"].startswith("a and b are not comparable")


def test_likelihoods_of_different_things_are_refused():
    rows = [
        make_row(name, {"elbo": LOW}, elbo={"params": {"observation": observation}})
        for name, observation in (("a", "gaussian"), ("b", "bernoulli_binary"))
    ]
    found = pairwise.compare(rows)
    assert not found.boards
    assert found.refused["elbo"] == "likelihoods of different things: gaussian, bernoulli_binary"


def test_what_a_model_lacks_is_told_with_the_reason():
    rows = [make_row("a", {"fid": LOW, "mse": LOW}), make_row("b", {"fid": LOW, "mse": [None] * 4})]
    found = pairwise.compare(rows)
    assert list(found.boards) == ["fid"]
    assert found.lacking == {"mse": "b: the model cannot do what this metric needs"}
    assert pairwise.compare(rows, ["nothing"]).lacking == {
        "nothing": "a: not measured; b: not measured"
    }


def test_metrics_come_in_the_order_asked_for():
    rows = [make_row(name, {"fid": LOW, "score": HIGH}) for name in "ab"]
    assert list(pairwise.compare(rows, ["score", "fid"]).boards) == ["score", "fid"]


def test_the_seeds_needed_are_told_where_they_would_help():
    near = [1.1, 1.2, 1.0, 1.15]
    rows = [make_row("a", {"fid": LOW}), make_row("b", {"fid": near}), make_row("c", {"fid": HIGH})]
    found = pairwise.compare(rows[:2])
    assert found.seeds_needed("fid", rows[1]) == seeds_needed(Sample.of(LOW), Sample.of(near), 1)
    told = pairwise.compare([rows[0], rows[2]])
    assert told.seeds_needed("fid", rows[2]) is None
    assert math.isclose(told.lines(rows[2])[0].difference.value, 1.0)

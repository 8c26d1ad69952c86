import math
import re

import pytest

from evaluation.comparing import leaderboard as comparison
from evaluation.comparing import tables, verdict
from evaluation.comparing.leaderboard import Cell, Leaderboard, Row
from evaluation.comparing.significance import permutation
from evaluation.comparing.value_text import MISSING

UP, DOWN, NONE = True, False, None


def make_record(name: str, value: float | None, direction: bool | None, **changes) -> dict:
    record = {
        "name": name,
        "value": value,
        "unit": "raw",
        "higher_is_better": direction,
        "ideal": None,
        "order": "quality",
        "n_real": 100,
        "n_fake": 100,
        "reference": {"dataset": "d", "split": "test", "sha256": "ab"},
        "extractor": None,
        "params": {},
        "reason": None if value is not None else "not_supported",
    }
    return record | changes


def make_row(name: str, values: dict, directions: dict, family: str = "vae", **changes) -> Row:
    """`values`: for each metric one value a seed."""
    count = max(len(found) for found in values.values())
    records = {
        str(seed): [
            make_record(metric, found[seed], directions[metric], **changes)
            for metric, found in values.items()
        ]
        for seed in range(count)
    }
    summary = {}
    for metric, found in values.items():
        whole = [value for value in found if value is not None]
        mean = math.fsum(whole) / len(whole) if whole else None
        spread = None
        if len(whole) > 1:
            spread = math.sqrt(math.fsum((v - mean) ** 2 for v in whole) / (len(whole) - 1))
        summary[metric] = {"mean": mean, "std": spread, "n": len(whole)}
        if not whole:
            summary[metric]["reason"] = "not_supported"
    return Row(name, "kind", family, {"num_parameters": 10}, summary, records)


def make_board(direction: bool | None, **models: list[float | None]) -> Leaderboard:
    rows = [make_row(name, {"m": values}, {"m": direction}) for name, values in models.items()]
    return comparison.leaderboard(rows, [])


@pytest.mark.parametrize(
    ("direction", "order"), [(DOWN, ["b", "c", "a", "null"]), (UP, ["a", "c", "b", "null"])]
)
def test_rows_without_a_value_rank_last_in_both_directions(direction, order) -> None:
    board = make_board(direction, null=[None, None], a=[3.0, 3.2], b=[1.0, 1.1], c=[2.0, 2.0])
    assert [row.name for row in board.ranked("m")] == order


def test_equal_means_keep_the_order_given() -> None:
    board = make_board(DOWN, b=[1.0], a=[1.0])
    assert [row.name for row in board.ranked("m")] == ["b", "a"]
    assert board.best(board.columns[0]) == set()  # and neither is the best


@pytest.mark.parametrize(("direction", "best"), [(DOWN, {"b"}), (UP, {"a"}), (NONE, set())])
def test_the_best_of_a_column_follows_its_direction(direction, best) -> None:
    board = make_board(direction, a=[3.0], b=[-1.0], null=[None])
    assert board.best(board.columns[0]) == best


def test_a_diagnostic_cannot_rank() -> None:
    board = make_board(NONE, a=[3.0])
    with pytest.raises(ValueError, match="'m' is a diagnostic"):
        board.ranked("m")
    with pytest.raises(ValueError, match="'q' is not a measured metric"):
        board.ranked("q")


def test_observation_models_never_share_a_column() -> None:
    directions = {"elbo": UP}
    rows = [
        make_row("a", {"elbo": [-90.0]}, directions, params={"observation": "bernoulli_binary"}),
        make_row("b", {"elbo": [-500.0]}, directions, params={"observation": "gaussian"}),
        make_row("g", {"elbo": [None]}, directions, family="gan"),
    ]
    board = comparison.leaderboard(rows, [])
    assert [column.key for column in board.columns] == ["elbo_bernoulli_binary", "elbo_gaussian"]
    first, second = board.columns
    assert board.best(first) == {"a"}
    assert board.best(second) == {"b"}
    assert board.cell(rows[1], first) == Cell(None, None, 0, "other_likelihood")
    assert board.cell(rows[2], first) == Cell(None, None, 0, "not_supported")
    assert math.isnan(board.frame().loc["a", "elbo_gaussian_mean"])


def test_a_model_that_is_told_the_class_wins_nothing_by_the_label() -> None:
    directions = {"elbo": UP}
    rows = [
        make_row(name, {"elbo": [value]}, directions, params={"observation": observation})
        for name, value, observation in (
            ("alone", -90.0, "bernoulli_binary"),
            ("worse", -91.0, "bernoulli_binary"),
            ("told", -88.0, "bernoulli_binary_given_class"),
        )
    ]
    board = comparison.leaderboard(rows, [])
    assert {column.key: board.best(column) for column in board.columns} == {
        "elbo_bernoulli_binary": {"alone"},
        "elbo_bernoulli_binary_given_class": {"told"},
    }


@pytest.mark.parametrize(
    "changes",
    [{"extractor": "sha256:1"}, {"n_fake": 50}, {"reference": {"split": "valid"}}, {"ideal": 1.0}],
)
def test_values_under_another_protocol_are_refused(changes) -> None:
    a = make_row("a", {"m": [1.0]}, {"m": DOWN})
    b = make_row("b", {"m": [1.0]}, {"m": DOWN}, **changes)
    with pytest.raises(ValueError, match=f"m: a and b are not comparable: {next(iter(changes))}"):
        comparison.leaderboard([a, b], [])


def test_the_frame_holds_the_summaries_in_full_precision() -> None:
    board = make_board(DOWN, a=[0.1, 0.2, 0.4], b=[None])
    frame = board.frame()
    assert frame.loc["a", "m_mean"] == board.models[0].summary["m"]["mean"]
    assert frame.loc["a", "m_std"] == pytest.approx(0.15275252316519466, rel=1e-15)
    assert list(frame["m_n"]) == [3, 0]
    assert list(frame["num_parameters"]) == [10, 10]


def test_the_verdict_names_winner_gap_and_doubt() -> None:
    board = make_board(DOWN, a=[4.0, 4.4], b=[3.0, 3.2])
    assert " ".join(verdict.verdict(board, "m")) == (
        "b has the lowest m: 3.10 ± 0.14 (2 seeds); a is second with 4.20 ± 0.28, a difference of "
        "1.10 (26 %). The difference between b and a is not testable with 2 seeds; about 4 seeds "
        "per model would detect a difference of this size."
    )


@pytest.mark.parametrize(
    ("direction", "a", "b", "expected"),
    [
        (UP, [4.0, 4.4], [3.0, 4.1], "a has the highest m.* not testable with 2 seeds; about"),
        (DOWN, [1.0], [2.0], r"\(1 seed\).*not testable with 1 seed\."),
        (DOWN, [1.0, 1.1, 1.2], [2.0, 2.1, 2.2], "not testable with 3 seeds"),
        (DOWN, [1.0, 1.1, 1.2, 1.3], [2.0, 2.1, 2.2, 2.3], r" a is better than b .* 3.4e-05\)"),
        (DOWN, [1.0] * 4, [2.0] * 4, r"is better .*: p = 0\)"),
        (DOWN, [1.0], [None], "No other model has a value"),
        (DOWN, [None], [None], "^No model has a value of m"),
    ],
)
def test_the_verdict_says_what_the_seeds_allow(direction, a, b, expected) -> None:
    assert re.search(expected, " ".join(verdict.verdict(make_board(direction, a=a, b=b), "m")))


def test_the_test_of_the_best_pair_is_adjusted_for_all_pairs() -> None:
    from scipy.stats import ttest_ind

    models = {
        "a": [1.0, 1.2, 1.1, 1.4, 1.2],
        "b": [1.3, 1.5, 1.2, 1.6, 1.3],
        "c": [2.0, 2.1, 2.4, 2.2, 2.3],
    }
    raw = sorted(
        ttest_ind(models[x], models[y], equal_var=False).pvalue for x, y in ("ab", "ac", "bc")
    )
    # a against b has the largest p of the three, so Holm multiplies it by one, and keeps the order.
    expected = max(raw[2], 2 * raw[1], 3 * raw[0])
    text = " ".join(verdict.verdict(make_board(DOWN, **models), "m"))
    dealt = permutation(models["a"], models["b"])
    p = f"p = {expected:.2g} after Holm's correction over 3 pairs, {raw[2]:.2g} before"
    by_permutation = f"a permutation test gives p = {dealt:.2g}"
    assert "a and b are not distinguishable" in text
    assert f"{p}); {by_permutation}; about" in text


def test_the_board_groups_models_that_are_not_distinguishable() -> None:
    near, far = [1.0, 1.2, 1.1, 1.3, 1.2], [5.0, 5.1, 5.2, 5.3, 5.2]
    board = make_board(DOWN, a=near, b=[value + 0.02 for value in near], c=far)
    assert board.groups(board.column("m")) == {"a": "a", "b": "a", "c": "b"}
    untestable = make_board(DOWN, a=near[:2], c=far[:2])
    assert untestable.groups(untestable.column("m")) == {}


def test_tables_split_the_columns_by_who_has_them() -> None:
    directions = {"gap": NONE, "is": UP, "fid": DOWN, "elbo": UP, "acc": NONE, "lost": UP}
    null = {"elbo": [None], "acc": [None], "lost": [None]}
    shared = {"gap": [0.1], "is": [9.0], "fid": [2.0]}
    rows = [
        make_row("v", {**shared, **null, "elbo": [-90.0]}, directions),
        make_row("g", {**shared, **null, "acc": [0.5]}, directions, family="gan"),
    ]
    board = comparison.leaderboard(rows, [])
    found = {t.title: [c.key for c in t.columns] for t in tables.tables(board, "fid")}
    assert found == {
        "All models": ["fid", "is"],
        "Diagnostics without a direction": ["gap"],
        "VAEs only": ["elbo"],
        "GANs only": ["acc"],
    }
    assert [(c.key, why) for c, why in tables.empty_columns(board)] == [
        ("lost", "the model cannot do what this metric needs")
    ]


def test_a_missing_value_is_a_dash_with_a_footnote() -> None:
    board = make_board(DOWN, a=[1.0, None], b=[None, None], c=[1.0, 2.0])
    (table,) = tables.tables(board, "m")
    assert [row.cells[0].mean for row in table.rows] == ["1.00", "1.50", MISSING]
    assert [row.cells[0].note for row in table.rows] == ["a", "", "b"]
    assert table.notes == [
        ("a", "1 of 2 seeds: the model cannot do what this metric needs"),
        ("b", "the model cannot do what this metric needs"),
    ]
    assert [row.rank for row in table.rows] == [1, 2, None]


@pytest.mark.parametrize(
    ("pixel", "features", "found"),
    [(-5.0, -4.0, "features): a."), (-5.0, 2.0, "no model."), (-1.0, -4.0, "no model.")],
)
def test_copies_are_so_in_pixels_and_in_features(pixel, features, found) -> None:
    values = {"ct_pixel": [pixel], "ct_classifier": [features]}
    row = make_row("a", values, dict.fromkeys(values))
    assert found in verdict.copies(comparison.leaderboard([row], []))


def test_copies_are_not_judged_in_one_space_alone() -> None:
    row = make_row("a", {"ct_pixel": [-9.0]}, {"ct_pixel": None})
    assert verdict.copies(comparison.leaderboard([row], [])) == ""


def test_a_reference_row_of_another_extractor_is_refused() -> None:
    model = make_row("a", {"m": [1.0]}, {"m": DOWN}, extractor="sha256:aa")
    other = make_row("held_out", {"m": [1.0]}, {"m": DOWN}, "reference", extractor="sha256:bb")
    with pytest.raises(ValueError, match="m: a and held_out are not comparable: extractor"):
        comparison.leaderboard([model], [other])


def test_a_metric_that_misorders_the_reference_rows_has_no_best_and_the_verdict_doubts_it() -> None:
    models = [make_row("a", {"m": [1.0]}, {"m": DOWN}), make_row("b", {"m": [2.0]}, {"m": DOWN})]
    rows = [
        make_row(name, {"m": [value]}, {"m": DOWN}, "reference")
        for name, value in (("held_out", 3.0), ("blur", 2.0))
    ]
    board = comparison.leaderboard(models, rows)
    assert board.best(board.column("m")) == set()
    assert "wrong order" in " ".join(verdict.verdict(board, "m"))
    assert "Held-out real images score 3.00" in " ".join(verdict.verdict(board, "m"))
    fine = comparison.leaderboard(models, rows[:1])
    assert fine.best(fine.column("m")) == {"a"}


def test_a_column_in_which_most_models_tie_has_no_best() -> None:
    board = make_board(DOWN, a=[0.0], b=[0.0], c=[1.0])
    assert board.best(board.column("m")) == set()
    board = make_board(DOWN, a=[0.0], b=[0.0], c=[1.0], d=[2.0])
    assert board.best(board.column("m")) == {"a", "b"}
    assert make_board(DOWN, a=[0.0]).best(board.column("m")) == {"a"}

"""The compact letter display."""

from evaluation.comparing.groups import groups


def test_models_that_are_not_distinguishable_share_one_letter() -> None:
    assert groups("abc", []) == {"a": "a", "b": "a", "c": "a"}


def test_a_model_in_the_middle_shares_a_letter_with_both_sides() -> None:
    assert groups("xyz", [("x", "z")]) == {"x": "a", "y": "ab", "z": "b"}


def test_letters_are_shared_exactly_by_pairs_that_are_not_distinguishable() -> None:
    names = "vwxyz"
    distinct = {("v", "x"), ("v", "y"), ("v", "z"), ("w", "z"), ("x", "z")}
    letters = groups(names, distinct)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            shared = bool(set(letters[one]) & set(letters[other]))
            assert shared == ((one, other) not in distinct)
    assert letters["v"].startswith("a")

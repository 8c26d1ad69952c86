"""Which settings differ."""

from evaluation.comparing import value_text
from pipelines.reporting.differing import MISSING, differing, flatten, side_by_side


def test_settings_are_flat_and_their_values_are_json_but_for_strings() -> None:
    settings = {"kind": "vae", "beta": 1.0, "on": True, "none": None, "net": {"width": 8}}
    assert dict(flatten(settings)) == {
        "kind": "vae",
        "beta": "1.0",
        "on": "true",
        "none": "null",
        "net.width": "8",
    }


def test_entries_of_a_list_have_their_position_and_a_list_of_values_is_one_setting() -> None:
    settings = {"gates": [{"max": 1}, {"min": 2}], "seeds": [0, 1]}
    assert list(flatten(settings)) == [
        ("gates.0.max", "1"),
        ("gates.1.min", "2"),
        ("seeds", "[0, 1]"),
    ]


def test_a_missing_setting_is_the_dash_of_a_missing_value() -> None:
    assert MISSING == value_text.MISSING
    models = [{"beta": "1", "same": "0"}, {"same": "0", "loss": "hinge"}]
    assert differing(models) == [("beta", ["1", "–"]), ("loss", ["–", "hinge"])]
    assert [(s.key, s.differs) for s in side_by_side(models)] == [
        ("beta", True),
        ("same", False),
        ("loss", True),
    ]
    assert differing([models[0], models[0]]) == []

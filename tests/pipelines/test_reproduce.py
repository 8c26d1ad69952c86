"""Studies of published figures: their data, their numbers, the page, and bad ones."""

import json
import re

import pytest
from ruamel.yaml import YAML  # noqa: TID251

from pipelines import reproduce, reproduction_page
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from tests.pipelines.tiny_job import FEATURES, MEASURES, PREPARE, TRAIN, vae

pytestmark = pytest.mark.usefixtures("quick_source")


def study(**changes):
    plain = {
        "title": "A tiny VAE",
        "published": "0 nats in a dream.",
        "deviations": ["All of it."],
        "seeds": [0, 1],
        "prepare": PREPARE,
        "features": None,
        "train": TRAIN,
        "measures": MEASURES,
        "rows": {"vae": vae(), "wide": vae(width=16)},
        "claims": [claim()],
    }
    return plain | changes


def claim(**changes):
    plain = {
        "text": "it is no worse than nothing",
        "form": "value",
        "of": {"row": "vae", "value": "nll_3"},
        "against": None,
        "published": 0.0,
        "low": None,
        "high": 1e6,
    }
    return plain | changes


def write_study(name="tiny", **changes):
    paths.REPRODUCTIONS.mkdir(exist_ok=True)
    YAML(typ="safe", pure=True).dump(study(**changes), paths.REPRODUCTIONS / f"{name}.yaml")


def test_a_study_makes_its_data_its_models_its_numbers_and_the_page(checkout, capsys):
    write_study(measures=MEASURES | {"samplers": [0, 1]}, features=FEATURES)
    reproduce.main(["tiny", "--jobs", "1"])
    assert "1 of 1 studies" in capsys.readouterr().out
    page = paths.REPRODUCTIONS_PAGE.read_text()
    assert "## A tiny VAE" in page
    assert "0 nats in a dream." in page
    assert "- All of it." in page
    assert "fid_standard_normal" in page
    assert "fid_gmm_1" in page
    assert "| agrees |" in page
    assert "seeds 0, 1. Trained on cpu" in page
    assert "120 training, 40 validation and 40 test images" in page
    assert re.search(r"- `wide`: width 16$", page, re.MULTILINE)
    assert "other code" not in page
    document = json.loads((paths.REPRODUCED / "tiny.json").read_text())
    for result in document["results"]["vae"].values():
        result["code"] = "older"
    assert "other code than the present one: `vae` seed 0" in reproduction_page.render([document])


def test_the_page_keeps_the_studies_that_were_not_asked_for(checkout):
    for name in ("one", "two"):
        write_study(name, title=name, rows={"vae": vae()}, seeds=[0])
    reproduce.main(["one"])
    reproduce.main(["two"])
    page = paths.REPRODUCTIONS_PAGE.read_text()
    assert "## one" in page
    assert "## two" in page


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": 3}, "reproductions/tiny.yaml: title: 3 is not allowed"),
        ({"titel": "x"}, "titel: unknown key.*did you mean 'title'"),
        ({"seeds": [0, 0]}, "seeds: .* names a seed twice"),
        ({"rows": {"vae": vae(width=0)}}, "rows.vae.width: 0 is not allowed"),
        ({"rows": {"vae": vae() | {"kind": "vea"}}}, "rows.vae.kind: 'vea' is not one of"),
        ({"measures": MEASURES | {"samplers": [1]}}, "features: null, but measures need"),
        ({"measures": MEASURES | {"metrics": ["elbow"]}}, "unknown metric 'elbow'"),
        ({"claims": [claim(high=None)]}, "low and high are both null"),
        ({"claims": [claim(form="ratio")]}, "form 'ratio' and against None contradict"),
        ({"claims": [claim(of={"row": "va", "value": "elbo"})]}, "no row 'va'"),
    ],
)
def test_a_mistake_in_a_study_is_one_line(checkout, changes, message):
    write_study(**changes)
    with pytest.raises(UserError, match=message) as caught:
        reproduce.read("tiny")
    assert "\n" not in str(caught.value)


def test_an_unknown_study_names_the_nearest(checkout):
    write_study()
    with pytest.raises(UserError, match="no study 'tny', did you mean 'tiny'"):
        reproduce.read("tny")


@pytest.mark.parametrize("name", reproduce.names())
def test_the_studies_that_ship_are_in_order(name):
    found = reproduce.read(name)
    for entry in found.rows.values():
        assert entry["num_steps"] >= 1000


RESULTS = {
    row: {"0": {"values": {"x": x, "y": y}}}
    for row, x, y in (("a", 0.0, 4.0), ("b", 2.0, 0.0), ("c", 1.0, 1.0), ("d", 5.0, 1.0))
}


@pytest.mark.parametrize(
    ("form", "row", "against", "expected"),
    [
        ("value", "a", None, 4.0),
        ("difference", "c", {"row": "a", "value": "y"}, -3.0),
        ("ratio", "c", {"row": "a", "value": "y"}, 0.25),
        ("difference", "c", {"rows": ["b", "a"], "value": "y", "equal": "x"}, -1.0),
        ("difference", "d", {"rows": ["a", "b"], "value": "y", "equal": "x"}, None),
        ("difference", "c", {"row": "a", "value": "z"}, None),
    ],
)
def test_values_are_compared_seed_by_seed(form, row, against, expected):
    wanted = claim(form=form, of={"row": row, "value": "y"}, against=against)
    assert reproduction_page.compared(wanted, RESULTS) == {"0": expected}


@pytest.mark.parametrize(
    ("low", "high", "found", "expected"),
    [
        (None, 1.0, {"0": 0.5, "1": 1.4}, "agrees"),
        (None, 1.0, {"0": 0.5, "1": 1.6}, "does not agree"),
        (1.0, None, {"0": 0.5}, "does not agree"),
        (0.0, 1.0, {"0": 0.5, "1": None}, "agrees"),
        (0.0, 1.0, {"0": None}, "not comparable"),
    ],
)
def test_the_verdict_is_about_the_mean(low, high, found, expected):
    assert reproduction_page.verdict(claim(low=low, high=high), found) == expected

"""Reproductions: their files, their data, their numbers and their page."""

import json
import re
import shutil

import pytest
from ruamel.yaml import YAML  # noqa: TID251

from pipelines import reproduce
from pipelines.reporting import reproductions
from pipelines.settings import paths, yaml_files
from pipelines.settings.errors import UserError
from pipelines.training import workers
from tests.pipelines.tiny_rows import EVALUATE, FEATURES, PREPARE, TRAIN, vae

pytestmark = pytest.mark.usefixtures("quick_source")
SHIPPED = paths.PARAMS


def reproduction(**changes):
    plain = {
        "title": "A tiny VAE",
        "published": "0 nats in a dream.",
        "deviations": ["All of it."],
        "seeds": [0, 1],
        "prepare": PREPARE,
        "train": TRAIN,
        "evaluate": EVALUATE,
        "models": {"tiny": vae(), "wide": {"base": "tiny", "width": 16}},
        "claims": [claim()],
    }
    return plain | changes


def claim(**changes):
    plain = {
        "text": "it is no worse than nothing",
        "form": "value",
        "of": {"model": "tiny", "value": "distortion"},
        "published": 0.0,
        "high": 1e6,
    }
    return {key: value for key, value in (plain | changes).items() if value is not None}


def write(name="tiny", **changes):
    """Writes a reproduction, beside the shipped params.yaml."""
    if not paths.PARAMS.exists():
        shutil.copy(SHIPPED, paths.PARAMS)
    paths.REPRODUCTIONS.mkdir(exist_ok=True)
    YAML(typ="safe", pure=True).dump(reproduction(**changes), paths.REPRODUCTIONS / f"{name}.yaml")


def evaluate(*metrics):
    return EVALUATE | {"metrics": list(metrics)}


def test_a_reproduction_writes_its_numbers_and_the_page(checkout, capsys, monkeypatch):
    write(evaluate=evaluate("distortion", "fid_ex_post"), features=FEATURES)
    reproduce.main(["tiny", "--jobs", "1"])
    assert "1 of 1 reproductions" in capsys.readouterr().out
    page = paths.REPRODUCTIONS_PAGE.read_text()
    assert "## A tiny VAE" in page
    assert "0 nats in a dream." in page
    assert "- All of it." in page
    assert "fid_standard_normal_classifier" in page
    assert "fid_gmm_1_classifier" in page
    assert "| agrees |" in page
    assert "seeds 0, 1. Trained on cpu" in page
    assert "120 training, 40 validation and 40 test images" in page
    assert re.search(r"- `wide`: width 16$", page, re.MULTILINE)
    assert "another version of the code" not in page
    document = json.loads((paths.REPRODUCED / "tiny.json").read_text())
    for result in document["results"]["tiny"].values():
        result["code"] = "older"
    assert "another version of the code: `tiny` seed 0" in reproductions.page([document])
    # A second run has nothing to do.
    monkeypatch.setattr(workers, "run", None)
    reproduce.main(["tiny"])
    assert paths.REPRODUCTIONS_PAGE.read_text() == page


def test_the_page_keeps_the_reproductions_that_did_not_run(checkout):
    for name in ("one", "two"):
        write(name, title=name, models={"tiny": vae()}, seeds=[0])
    reproduce.main(["one"])
    reproduce.main(["two"])
    page = paths.REPRODUCTIONS_PAGE.read_text()
    assert "## one" in page
    assert "## two" in page


def test_what_a_file_does_not_set_is_that_of_params_yaml(checkout):
    shipped = yaml_files.read_yaml(SHIPPED)
    write(
        prepare={"dataset": "mnist"},
        features={"epochs": 1},
        evaluate={"metrics": ["fid", "distortion"]},
        models={"tiny": {"base": "vae", "width": 3}},
    )
    resolved = reproduce.read("tiny")
    assert resolved.prepare.model_dump() == shipped["prepare"] | {"dataset": "mnist"}
    assert resolved.features.model_dump() == shipped["features"] | {"epochs": 1}
    assert resolved.evaluate.sample_sets == shipped["evaluate"]["sample_sets"]
    assert resolved.models == {"tiny": shipped["models"]["vae"] | {"width": 3}}


def test_without_a_metric_of_features_no_extractor_is_trained(checkout):
    write()
    assert reproduce.read("tiny").features is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"title": 3}, "reproductions/tiny.yaml: title: 3 is not allowed"),
        ({"titel": "x"}, "titel: unknown key.*did you mean 'title'"),
        ({"seeds": [0, 0]}, "seeds: .* names a seed twice"),
        ({"models": []}, "expected sections, models: among them"),
        ({"prepare": 3}, "reproductions/tiny.yaml: prepare"),
        ({"models": {"tiny": vae(width=0)}}, "models.tiny.width: 0 is not allowed"),
        ({"models": {"tiny": vae() | {"kind": "vea"}}}, "models.tiny.kind: 'vea' is not one of"),
        ({"models": {"tiny": {"base": "vea"}}}, "models.tiny.base: 'vea': no such model"),
        ({"evaluate": evaluate("elbow")}, "evaluate.metrics: unknown metric 'elbow'"),
        ({"claims": [claim(high=None)]}, "neither low nor high"),
        ({"claims": [claim(form="ratio")]}, "form 'ratio' needs against"),
        ({"claims": [claim(of={"model": "tin", "value": "elbo"})]}, "no such model"),
        ({"claims": [claim(of={"model": "tiny", "value": "elb"})]}, "'elb' is not measured, did"),
    ],
)
def test_a_mistake_in_a_file_is_one_line(checkout, changes, message):
    write(**changes)
    with pytest.raises(UserError, match=message) as caught:
        reproduce.read("tiny")
    assert "\n" not in str(caught.value)


def test_an_unknown_reproduction_names_the_nearest(checkout):
    write()
    with pytest.raises(UserError, match="no reproduction 'tny', did you mean 'tiny'"):
        reproduce.read("tny")


@pytest.mark.parametrize("name", reproduce.names())
def test_the_shipped_reproductions_are_accepted(name):
    shipped = reproduce.read(name)
    for entry in shipped.models.values():
        assert entry["num_steps"] >= 1000
    published = json.loads((paths.REPRODUCED / f"{name}.json").read_text())
    assert list(published["results"]) == list(shipped.models)

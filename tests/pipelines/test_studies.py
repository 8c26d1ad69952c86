import json
import re
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from ruamel.yaml import YAML  # noqa: TID251

from genmodels.base import Images
from genmodels.priors import normal_log_prob, standard_normal_log_prob
from genmodels.seeding import generator
from genmodels.training import Trainer
from pipelines import (
    code_version,
    datasets,
    files,
    params,
    paths,
    prepare,
    presets,
    reproduce,
    reproduction_page,
    splits,
    studies,
    study_measures,
    study_pages,
    train,
    workers,
)
from pipelines.errors import UserError
from pipelines.evaluate import read_model
from pipelines.study_measures import Measures
from tests.conftest import presets as shipped

TINY = {"architecture": "mlp", "width": 8, "head_depth": 0, "latent_dim": 2, "num_steps": 12}
TINY |= {"batch_size": 16, "clip_norm": None}
PREPARE = {
    "dataset": "mnist5k",
    "folder": "data",
    "image_size": 28,
    "image_mode": "grey",
    "split_design": "stratified",
    "split_seed": 0,
    "valid_fraction": 0.2,
    "test_fraction": 0.2,
    "max_images": None,
}
FEATURES = {
    "extractors": ["classifier"],
    "replicas": 0,
    "inception_weights": None,
    "inception_download": False,
    "seed": 0,
    "width": 2,
    "num_features": 4,
    "epochs": 1,
    "batch_size": 32,
    "learning_rate": 0.01,
    "weight_decay": 0.01,
    "max_shift": 0,
    "min_accuracy": 0.0,
}
TRAIN = {
    "device": "cpu",
    "precision": "fp32",
    "threads": 1,
    "num_snapshots": 1,
    "snapshot_images": 2,
}
MEASURES = {
    "metrics": ["rate", "distortion", "elbo"],
    "bounds": [{"num_importance": 3, "num_images": 20}],
    "codes_at_once": None,
    "samplers": [],
    "max_samples": 40,
    "sample_seed": 0,
    "metric_seed": 0,
}


@pytest.fixture(autouse=True)
def quick_source(few_digits, monkeypatch):
    monkeypatch.setitem(datasets.LOADERS, "mnist5k", lambda _: few_digits)


def vae(**changes):
    return shipped()["vae"] | TINY | changes


def autoencoder(**changes):
    return shipped()["autoencoder_gmm"] | TINY | {"gmm_components": 2} | changes


@pytest.fixture
def data(checkout: Path) -> studies.Prepared:
    """A checkout with 200 digits, prepared."""
    prepare.make(params.Prepare(**PREPARE), paths.PREPARE)
    return studies.Prepared(paths.PREPARE, None, None)


def job(data, **changes):
    wanted = {"study": "tiny", "row": "vae", "seed": 0, "entry": vae(), "data": data, "code": "one"}
    wanted |= {"train": params.Train(**TRAIN), "measures": Measures(**MEASURES)}
    return studies.Job(**wanted | changes)


def weights(one):
    return (one.folder / "weights.pt").stat().st_mtime_ns


# the engine


def test_a_job_leaves_a_model_and_its_values(data):
    two = [job(data), job(data, seed=1)]
    results = studies.run(two)
    assert list(results) == ["vae"]
    assert list(results["vae"]) == [0, 1]
    values = results["vae"][0]["values"]
    assert set(values) == {"rate", "distortion", "elbo", "nll_3"}
    assert values["elbo"] == pytest.approx(-values["rate"] - values["distortion"])
    assert results["vae"][1]["values"] != values
    assert results["vae"][0]["observation"] == "bernoulli_binary"
    assert results["vae"][0]["timing"]["steps"] == TINY["num_steps"]
    assert results["vae"][0]["cost"]["num_parameters"] > 0
    assert (two[0].folder / "weights.pt").is_file()
    assert json.loads((two[0].folder / "config.json").read_text())["seed"] == 0
    assert not list(paths.CHECKPOINTS.glob("*"))


def test_what_is_finished_is_not_done_again(data, monkeypatch):
    first = studies.run([job(data)])
    monkeypatch.setattr(workers, "run", None)
    assert studies.run([job(data)]) == first


def test_other_settings_are_trained_again(data):
    first = studies.run([job(data)])
    second = studies.run([job(data, entry=vae(beta=3.0))])
    assert first["vae"][0]["values"] != second["vae"][0]["values"]


def test_another_measure_does_not_train_again(data):
    studies.run([job(data)])
    before = weights(job(data))
    bounds = [{"num_importance": 3, "num_images": 20}, {"num_importance": 5, "num_images": 20}]
    more = Measures(**MEASURES | {"bounds": bounds, "codes_at_once": 20})
    values = studies.run([job(data, measures=more)])["vae"][0]["values"]
    assert "nll_5" in values
    assert weights(job(data)) == before
    parts = ("mutual_information", "total_correlation", "dimension_wise_kl")
    model = read_model(job(data).folder, "")
    codes = model.score(splits.load_split("test").images, None, generator(0, "codes"))
    rate = normal_log_prob(codes.z, codes.mean, codes.logvar) - standard_normal_log_prob(codes.z)
    assert sum(values[part] for part in parts) == pytest.approx(rate.mean().item(), rel=1e-4)


def test_other_code_keeps_the_result_which_names_its_own(data):
    studies.run([job(data)])
    before = weights(job(data))
    assert studies.run([job(data, code="two")])["vae"][0]["code"] == "one"
    assert weights(job(data)) == before
    assert studies.run([job(data, code="two")], force=True)["vae"][0]["code"] == "two"
    assert weights(job(data)) != before


def test_where_code_counts_what_other_code_has_done_is_done_again(data, monkeypatch):
    studies.run([job(data)])
    studies.run([job(data, code_counts=True)])
    with monkeypatch.context() as patch:
        patch.setattr(studies, "fit", None)
        assert studies.run([job(data, code_counts=True)])["vae"][0]["code"] == "one"
    assert studies.run([job(data, code="two", code_counts=True)])["vae"][0]["code"] == "two"
    # A training that was interrupted before it was measured is one of its code, too.
    (job(data).folder / "result.json").unlink()
    assert studies.run([job(data, code="three", code_counts=True)])["vae"][0]["code"] == "three"


def test_an_interrupted_training_goes_on_and_ends_in_the_same_place(data, monkeypatch):
    plain = studies.run([job(data, study="plain")])["vae"][0]
    with monkeypatch.context() as patched:
        patched.setattr(train, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        step = Trainer._one_step

        def stop(self, number):
            if number == 7:
                raise FloatingPointError("step 7 is cursed")
            return step(self, number)

        patched.setattr(Trainer, "_one_step", stop)
        with pytest.raises(UserError, match="vae seed 0: step 7 is cursed"):
            studies.run([job(data)])
    assert job(data).checkpoint.is_file()
    again = studies.run([job(data)])["vae"][0]
    assert again["timing"]["resumed"] == 1
    assert again["values"] == plain["values"]
    assert not job(data).checkpoint.is_file()


def test_a_checkpoint_of_other_code_is_left_alone(data):
    assert job(data).checkpoint != job(data, code="two").checkpoint


def test_a_training_done_elsewhere_is_taken(data, monkeypatch):
    done = studies.run([job(data, study="elsewhere")])["vae"][0]
    folder = job(data, study="elsewhere").folder
    files.write_json(paths.TIMING / "train" / "vae.json", {"0": {"cpu_seconds": 7.0}})
    monkeypatch.setattr(studies, "fit", None)
    taken = studies.run([job(data, taken=folder)])["vae"][0]
    assert taken["values"] == done["values"]
    assert taken["timing"] == {"cpu_seconds": 7.0}


def test_half_a_result_is_no_result(data):
    one = job(data)
    files.write_text(one.folder / "result.json", '{"settings": ')
    assert one.result() is None


def count_side_by_side(key, send):
    send("begin")
    time.sleep(0.05)
    send("end")


@pytest.mark.parametrize("most", [1, 2])
def test_so_many_processes_as_asked_for(monkeypatch, most):
    monkeypatch.setattr(workers, "num_cores", lambda: 4)
    running, seen = set(), []

    def handle(key, message):
        running.add(key) if message == "begin" else running.discard(key)
        seen.append(len(running))

    options = {"device": "cpu", "threads": 1, "handle": handle, "at_once": most}
    workers.run(count_side_by_side, list("abcd"), **options)
    assert max(seen) <= most


def test_progress_is_a_line_where_there_is_no_terminal(data, capsys):
    studies.run([job(data), job(data, seed=1)])
    said = capsys.readouterr().err
    assert "tiny: vae seed 1: done" in said
    assert "0 left" in said


# the hash of the code


@pytest.fixture
def source(checkout: Path) -> Path:
    folder = checkout / "genmodels"
    for path, text in {
        "__init__.py": "",
        "training.py": "from genmodels import base\n",
        "base.py": '"""A base."""\n\n\ndef f(x):\n    """Doubles."""\n    return 2 * x\n',
        "models/__init__.py": "",
        "models/vae.py": "from genmodels.base import f\n",
        "models/gan.py": "from genmodels import penalties\n",
        "penalties.py": "A = 1\n",
    }.items():
        files.write_text(folder / path, text)
    return folder


def test_comments_and_docstrings_are_not_code(source):
    before = code_version.code_version("vae")
    text = '"""Base."""\n# a comment\ndef f(x):\n    """Twice x."""\n    return 2*x\n'
    files.write_text(source / "base.py", text)
    assert code_version.code_version("vae") == before
    files.write_text(source / "base.py", text.replace("2*x", "3*x"))
    assert code_version.code_version("vae") != before


def test_code_that_a_kind_does_not_import_is_not_its_code(source):
    vae_before, gan_before = map(code_version.code_version, ("vae", "gan"))
    files.write_text(source / "penalties.py", "A = 2\n")
    assert code_version.code_version("vae") == vae_before
    assert code_version.code_version("gan") != gan_before


def test_the_code_of_a_kind_is_in_its_hash():
    found = code_version._closure(paths.ROOT, "genmodels.models.vae", code_version.LOOP)
    names = {str(path) for path in found}
    assert {"genmodels/models/vae.py", "genmodels/training.py", "genmodels/vae_base.py"} <= names
    assert "genmodels/models/gan.py" not in names


# what is measured


def test_linear_dependence_has_the_total_correlation_of_its_closed_form():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 200_000, generator=rng)
    z = torch.stack([a, 0.9 * a + (1 - 0.81) ** 0.5 * b], 1)
    assert study_measures.gaussian_total_correlation(z) == pytest.approx(0.830, abs=0.01)
    assert abs(study_measures.gaussian_total_correlation(torch.stack([a, b], 1))) < 1e-4


@pytest.mark.parametrize("name", ["autoencoder_gmm", "vae"])
def test_another_sampler_keeps_the_networks(preset, images, name):
    model = preset(name)
    entry = {**model.config.model_dump()}
    real = study_measures.RealImages(images, None, {}, "digits", "train", "0")
    other = study_measures._resampled(model, entry, 1, real, 0)
    z = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(other.decode(z), model.decode(z))
    assert other.config.gmm_components == 1
    drawn = other.sample_latent(2000, torch.Generator().manual_seed(1))
    codes = model.encode(images)
    mean = (codes if name == "autoencoder_gmm" else codes[0]).mean(0)
    spread = drawn.std(0)
    assert ((drawn.mean(0) - mean).abs() < 0.5 * spread).all()
    normal = study_measures._resampled(model, entry, 0, real, 0)
    rng = torch.Generator().manual_seed(2)
    expected = model.decode(torch.randn(4, 3, generator=torch.Generator().manual_seed(2)))
    assert torch.equal(normal.sample(4, rng), expected)


def test_a_bound_that_a_model_does_not_have_is_left_out(data):
    results = studies.run([job(data, row="ae", entry=autoencoder())])["ae"][0]
    assert results["values"]["nll_3"] is None
    assert study_pages.measured({"ae": {0: results}}) == []


# reproductions


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


# presets


@pytest.fixture
def two_presets(checkout, monkeypatch):
    """Tiny presets of three likelihoods, and data with an extractor."""
    settings = params.load(Path(__file__).parents[2] / "params.yaml")
    grey = vae(likelihood="gaussian", sigma=0.3, binarize="none")
    settings = settings.model_copy(
        update={
            "models": {
                "binary": vae(),
                "told": vae(conditional=True),
                "grey": grey,
                "ae": autoencoder(),
            },
            "train": params.Train(**TRAIN),
        }
    )
    monkeypatch.setattr(params, "load", lambda: settings)
    prepare.make(params.Prepare(**PREPARE), paths.PREPARE)
    from pipelines import features

    features.make(params.Features(**FEATURES))
    return settings


def test_presets_stand_side_by_side(two_presets, capsys):
    presets.main(["--seeds", "0", "1"])
    page = paths.PRESETS.read_text()
    assert "training seeds 0, 1" in page
    assert "120 training" in page
    samples = page[page.index("## Samples") : page.index("## Likelihood")]
    assert samples.count("| `") == 4
    tables = page[: page.index("## Cost")].split("## Likelihood of ")[1:]
    assert [table.splitlines()[0] for table in tables] == [
        "bernoulli binary images",
        "bernoulli binary images, given their classes",
        "gaussian images",
    ]
    for table, name in zip(tables, ("binary", "told", "grey"), strict=True):
        assert [line.split("`")[1] for line in table.splitlines() if "| `" in line] == [name]
    assert "`ae`" not in page[page.index("## Likelihood") : page.index("## Cost")]
    assert "of the worst seed" in samples
    with Image.open(paths.PRESETS_PICTURE) as picture:
        assert picture.width > 3 * 10 * 28
        rows = 2 * 28 + 1  # one for each seed, with a line between them; two sheets
        assert picture.height == presets.MARGIN + 2 * (presets.MARGIN + presets.LABEL + rows)
    assert "4 presets" in capsys.readouterr().out


def test_one_preset_can_be_asked_for(two_presets):
    presets.main(["grey", "--seeds", "4"])
    page = paths.PRESETS.read_text()
    assert "`grey`" in page
    assert "`binary`" not in page
    with pytest.raises(SystemExit, match=r"models\.gery: no such model, did you mean 'grey'"):
        presets.main(["gery"])


def test_the_pipelines_training_is_taken_while_it_is_the_same(checkout, monkeypatch):
    folder = paths.TRAIN / "vae" / "0"
    assert presets.trained_by_pipeline("vae", 0) is None
    files.write_text(folder / "weights.pt", "")
    monkeypatch.setattr(presets.fingerprint, "from_lock", lambda name, seed: "same")
    monkeypatch.setattr(presets.fingerprint, "from_files", lambda name, seed: "same")
    assert presets.trained_by_pipeline("vae", 0) == folder
    monkeypatch.setattr(presets.fingerprint, "from_files", lambda name, seed: "changed")
    assert presets.trained_by_pipeline("vae", 0) is None


def test_images_of_a_conditional_model_come_with_their_classes(preset, images):
    model = preset("conditional_vae")
    labels = torch.arange(len(images)) % 10
    real = study_measures.RealImages(images, labels, {}, "digits", "test", "0")
    bound = study_measures.Bound(num_importance=2, num_images=8)
    assert study_measures._nll(model, bound, real, 0) > 0
    assert isinstance(study_measures._on_device(real, model, 3), Images)

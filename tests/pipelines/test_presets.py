"""Every preset side by side, and the pipeline's own trainings among them."""

from pathlib import Path

import pytest
from PIL import Image

from pipelines import prepare, presets
from pipelines.settings import files, params, paths, sections
from tests.pipelines.tiny_job import FEATURES, PREPARE, TRAIN, autoencoder, vae

pytestmark = pytest.mark.usefixtures("quick_source")


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
            "train": sections.Train(**TRAIN),
        }
    )
    monkeypatch.setattr(params, "load", lambda: settings)
    prepare.make(sections.Prepare(**PREPARE), paths.PREPARE)
    from pipelines import features

    features.make(sections.Features(**FEATURES))
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
    files.write_text(folder / "weights.safetensors", "")
    monkeypatch.setattr(presets.fingerprint, "from_lock", lambda name, seed: "same")
    monkeypatch.setattr(presets.fingerprint, "from_files", lambda name, seed: "same")
    assert presets.trained_by_pipeline("vae", 0) == folder
    monkeypatch.setattr(presets.fingerprint, "from_files", lambda name, seed: "changed")
    assert presets.trained_by_pipeline("vae", 0) is None

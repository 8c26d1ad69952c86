import pytest
import torch

from evaluation.measuring.records import summarise
from genmodels.build import build
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from pipelines.training.weights import read_model
from tests.conftest import SMALL, presets, small_model
from tests.pipelines.tiny_model import save_trained


def record(name, value, reason=None):
    return {"name": name, "value": value, "reason": reason}


def test_the_summary_is_mean_and_standard_deviation_over_the_seeds():
    records = {
        "0": [record("fid", 1.0), record("elbo", None, "not_supported"), record("kid", None, "x")],
        "1": [record("fid", 4.0), record("elbo", None, "not_supported"), record("kid", 2.0)],
    }
    assert summarise(records) == {
        "fid": {"mean": 2.5, "std": pytest.approx(4.5**0.5), "n": 2},
        "elbo": {"mean": None, "std": None, "n": 0, "reason": "not_supported"},
        "kid": {"mean": 2.0, "std": None, "n": 1},
    }


def test_a_trained_model_is_equal_after_writing_and_reading(checkout):
    entry = presets()["vae"] | SMALL
    model = small_model(entry)
    save_trained("vae", model, 0)
    loaded = read_model(paths.TRAIN / "vae" / "0", "dvc repro train@vae")
    assert not loaded.training
    z = torch.zeros(2, 3)
    assert torch.equal(loaded.decode(z), model.decode(z))
    assert type(loaded) is type(build(entry, model.shape))


def test_an_error_names_a_model_that_was_not_trained(checkout):
    with pytest.raises(UserError, match=r"safetensors: no such file; `dvc repro train@vae` makes"):
        read_model(paths.TRAIN / "vae" / "0", "dvc repro train@vae")

import re

import pytest
import torch

from pipelines import publish
from pipelines.settings import paths, yaml_files
from pipelines.settings.errors import UserError
from pipelines.tracking import mlmodel
from pipelines.trained import trained_models
from pipelines.training.weights import read_model
from tests.conftest import presets, small_model
from tests.pipelines.conftest import write_json, write_settings_and_lock
from tests.pipelines.opened_store import client
from tests.pipelines.tiny_model import save_trained, write_params


def published():
    """The champion's folder in the store after a publication; afterwards params.yaml is whole."""
    publish.publish()
    write_params()
    run_id = client().get_model_version_by_alias("genmodels", "champion").run_id
    return paths.MLFLOW_ARTIFACTS / "pipeline" / run_id / "artifacts/model"


def samples(model):
    return model.sample(5, torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("alias", "name"), [("champion", "vae"), ("best-vae", "vae"), ("best-gan", "gan")]
)
def test_an_alias_gives_bit_for_bit_what_the_files_give(reproduced, alias, name):
    published()
    found = trained_models.load(alias)
    files = read_model(paths.TRAIN / name / "0", "nobody")
    assert torch.equal(samples(found.model), samples(files))
    other = read_model(paths.TRAIN / name / "1", "nobody")
    assert not torch.equal(samples(found.model), samples(other))
    assert not found.model.training
    assert found.title == f"{alias}: {name} (training seed 0)"


@pytest.mark.parametrize("file", ["weights.safetensors", "config.json"])
def test_a_file_in_the_store_that_was_tampered_with_is_refused(reproduced, file):
    path = published() / file
    path.write_bytes((paths.TRAIN / "vae" / "1" / file).read_bytes())
    # A changed description beside it does not help: the tags of the version decide.
    text = path.with_name("MLmodel").read_text()
    honest, forged = mlmodel.sha256(paths.TRAIN / "vae" / "0" / file), mlmodel.sha256(path)
    path.with_name("MLmodel").write_text(text.replace(honest, forged))
    message = f"version 1: refused, {file} is not the published one"
    with pytest.raises(UserError, match=message) as error:
        trained_models.load("champion")
    assert "\n" not in str(error.value)


def test_the_advice_for_a_file_that_was_tampered_with_helps(reproduced):
    path = published() / "weights.safetensors"
    path.write_bytes(b"tampered with")
    with pytest.raises(
        UserError, match=r"delete its run (.+) in MLflow, and `make publish`"
    ) as error:
        trained_models.load("champion")
    path.unlink()
    with pytest.raises(
        UserError, match=r"version 1 has no weights in the registry; `make publish`"
    ):
        trained_models.load("champion")
    client().delete_run(re.search(r"run (\w+) in", str(error.value))[1])
    write_settings_and_lock(reproduced)
    published()
    trained_models.load("champion")


def test_a_pickle_is_refused_though_its_hash_is_right(reproduced):
    path = published() / "weights.safetensors"
    torch.save(small_model(presets()["vae"]), path)
    client().set_model_version_tag("genmodels", "1", "sha256", mlmodel.sha256(path))
    with pytest.raises(UserError, match="not a readable safetensors file") as error:
        trained_models.load("champion")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("tag", ["sha256", "config_sha256"])
def test_a_version_that_publish_did_not_make_is_refused(reproduced, tag):
    published()
    client().delete_model_version_tag("genmodels", "1", tag)
    with pytest.raises(UserError, match=r"version 1 has no SHA-256 in the registry"):
        trained_models.load("champion")


def test_an_alias_that_nobody_set_is_refused_in_one_line(reproduced):
    write_params()
    message = r"no alias 'champion' in the registry; `make publish` sets it"
    with pytest.raises(UserError, match=message):
        trained_models.load("champion")
    write_settings_and_lock(reproduced)
    published()
    client().delete_registered_model_alias("genmodels", "champion")
    with pytest.raises(UserError, match=message):
        trained_models.load("champion")


def test_a_registry_that_is_away_is_told(store_home, monkeypatch, capsys):
    write_params()
    paths.MLFLOW_DB.write_text("this is no database")
    with pytest.raises(UserError, match="alias 'champion': the registry cannot be read"):
        trained_models.load("champion")
    assert "warning: tracking is off" in capsys.readouterr().err


def test_a_preset_of_the_name_of_an_alias_is_the_preset(store_home):
    write_params()
    text = yaml_files.read_yaml(paths.PARAMS)
    text["models"]["champion"] = text["models"]["vae"]
    write_json(paths.PARAMS, text)
    model = small_model(presets()["vae"])
    save_trained("champion", model, text["seeds"][0])
    assert torch.equal(samples(trained_models.load("champion").model), samples(model))

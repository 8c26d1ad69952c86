import pytest
import torch

from pipelines import fingerprint, params, paths, tracking, trained_models
from pipelines.errors import UserError
from pipelines.runs import Identity
from tests.conftest import presets, small_model
from tests.pipelines.conftest import write_json
from tests.pipelines.trained import save, save_trained, write_params

# MLflow 3.17 uses an option that SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")


def client():
    from mlflow import MlflowClient  # noqa: TID251

    return MlflowClient(tracking.store_uri())


def register(alias, *, digest, weights=None):
    """Registers a version of a run of vae, seed 4, that an alias names."""
    run = tracking.open_store().start_run(Identity("vae", "vae", "vae", 4, digest), {}, {})
    if weights is not None:
        run.add_file(weights)
    run.finish("FINISHED")
    experiment = client().get_experiment_by_name(tracking.PIPELINE)
    (found,) = client().search_runs([experiment.experiment_id])
    client().create_registered_model(tracking.REGISTERED)
    run_id = found.info.run_id
    version = client().create_model_version(tracking.REGISTERED, f"runs:/{run_id}", run_id)
    client().set_registered_model_alias(tracking.REGISTERED, alias, version.version)


def locked_fingerprint():
    """Makes dvc.lock say that vae was trained with seed 4; returns the run's fingerprint."""
    settings = {"models.vae": presets()["vae"], "seeds": [4], "train": {"threads": 1}}
    deps = [{"path": "genmodels/models/vae.py", "md5": "0" * 32}]
    stage = {"deps": deps, "params": {"params.yaml": settings}, "outs": []}
    write_json(paths.DVC_LOCK, {"schema": "2.0", "stages": {"train@vae": stage}})
    return fingerprint.from_lock("vae", 4)


def same(model, other):
    z = torch.ones(2, 3)
    return torch.equal(model.decode(z), other.decode(z))


@pytest.mark.parametrize("alias", tracking.ALIASES)
def test_an_alias_is_the_weights_of_its_version(store_home, tmp_path, alias):
    write_params()
    model = small_model(presets()["vae"])
    register(alias, digest="d" * 64, weights=save(model, tmp_path / "made"))
    found = trained_models.load(alias, None)
    assert same(found.model, model)
    assert not found.model.training
    assert found.title == f"{alias}: vae (training seed 4)"


def test_a_version_without_weights_is_the_local_training_if_it_is_the_same(store_home):
    write_params()
    model = small_model(presets()["vae"])
    save_trained("vae", model, 4)
    register("champion", digest=locked_fingerprint())
    assert same(trained_models.load("champion", None).model, model)


@pytest.mark.parametrize("locked", [True, False])
def test_a_version_of_another_training_than_the_local_one_is_refused(store_home, locked):
    write_params()
    save_trained("vae", small_model(presets()["vae"]), 4)
    if locked:
        locked_fingerprint()
    register("champion", digest="e" * 64)
    with pytest.raises(UserError, match=r"version 1, vae \(training seed 4\), has no weights"):
        trained_models.load("champion", None)


def test_an_alias_that_nobody_set_is_refused_in_one_line(store_home, tmp_path):
    write_params()
    message = r"no alias 'champion' in the registry; name a preset instead"
    with pytest.raises(UserError, match=message):
        trained_models.load("champion", None)
    weights = save(small_model(presets()["vae"]), tmp_path / "made")
    register("best-vae", digest="d" * 64, weights=weights)
    with pytest.raises(UserError, match=message):
        trained_models.load("champion", None)


def test_a_registry_that_is_away_is_told(store_home, monkeypatch, capsys):
    write_params()
    paths.MLFLOW_DB.write_text("this is no database")
    with pytest.raises(UserError, match="alias 'champion': the registry does not answer"):
        trained_models.load("champion", None)
    assert "warning: tracking is off" in capsys.readouterr().err


def test_a_preset_of_the_name_of_an_alias_is_the_preset(store_home):
    write_params()
    text = params.read_yaml(paths.PARAMS)
    text["models"]["champion"] = text["models"]["vae"]
    write_json(paths.PARAMS, text)
    model = small_model(presets()["vae"])
    save_trained("champion", model, text["seeds"][0])
    assert same(trained_models.load("champion", None).model, model)

import json
import os
import pickle
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from genmodels.base.model import GenerativeModel
from pipelines import publish
from pipelines.data import tensor_file
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from pipelines.tracking import mlmodel
from pipelines.trained import served_model
from pipelines.trained.served_model import ServedModel
from pipelines.training.weights import CONFIG, WEIGHTS, read_model, write_model
from tests.clone import HANGING_S
from tests.conftest import presets, small_model
from tests.servers import free_port, serving

ROOT = Path(__file__).parents[3]
SHAPE = (1, 12, 12)


def made(name: str) -> GenerativeModel:
    return small_model(presets()[name]).eval()


def sampled(model: GenerativeModel, seed: int, label: int | None = None) -> np.ndarray:
    labels = None if label is None else torch.tensor([label])
    return model.sample(1, torch.Generator().manual_seed(seed), labels).numpy()[0]


def images(num: int) -> np.ndarray:
    return torch.rand(num, *SHAPE, generator=torch.Generator().manual_seed(0)).numpy()


@pytest.mark.parametrize("name", ["vae", "vq_vae", "autoencoder_gmm", "gan_r1"])
def test_a_row_is_the_sample_of_its_seed_whatever_stands_beside_it(name: str) -> None:
    model = made(name)
    seeds = [7, 0, 2**63 - 1, 7]
    found = ServedModel(model).predict(pd.DataFrame({"seed": seeds}))
    assert found.dtype == np.float32
    assert found.shape == (4, *SHAPE)
    for image, seed in zip(found, seeds, strict=True):
        assert np.array_equal(image, sampled(model, seed))


def test_a_conditional_model_shows_the_class_of_the_row_or_of_its_seed() -> None:
    model = made("conditional_gan")
    given = pd.DataFrame({"seed": [3, 3], "label": [7, 1]})
    found = ServedModel(model).predict(given)
    assert np.array_equal(found, [sampled(model, 3, 7), sampled(model, 3, 1)])
    found = ServedModel(model).predict(pd.DataFrame({"seed": [3, 12]}))
    assert np.array_equal(found, [sampled(model, 3, 3), sampled(model, 12, 2)])


@pytest.mark.parametrize("name", ["vae", "vq_vae", "autoencoder_gmm", "conditional_vae"])
def test_images_are_reconstructed_row_by_row(name: str) -> None:
    model: Any = made(name)
    x = images(3)
    table = pd.DataFrame({"image": list(x)})
    told = [{}] * 3
    if model.conditional:
        table["label"] = [5, 0, 9]
        told = [{"labels": torch.tensor([label])} for label in (5, 0, 9)]
    found = ServedModel(model).predict(table)
    for row in range(3):
        expected = model.reconstruct(torch.from_numpy(x[row : row + 1]), **told[row])
        assert np.array_equal(found[row], expected[0].numpy())


def test_no_rows_are_no_images() -> None:
    served_one = ServedModel(made("vae"))
    assert served_one.predict(pd.DataFrame({"seed": []})).shape == (0, *SHAPE)
    assert served_one.predict(pd.DataFrame({"image": []})).shape == (0, *SHAPE)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("vae", {"size": [1]}, "needs either a column seed or a column image; has: size"),
    ("vae", {"seed": [1], "image": [images(1)[0]]}, "has: seed, image"),
    ("vae", {"seed": [-1]}, "column seed: expected whole numbers from 0 to 9,223,372"),
    ("vae", {"seed": [0.5]}, "column seed: expected whole numbers"),
    ("vae", {"seed": [1], "label": [1]}, "column label: the model is not conditional"),
    (
        "conditional_gan",
        {"seed": [1], "label": [10]},
        "column label: expected whole numbers from 0 to 9",
    ),
    ("vae", {"image": [images(1)[0], [[1.0]]]}, r"column image, row 1: expected \(1, 12, 12\)"),
    ("vae", {"image": [images(1)[0] * 255]}, r"row 0: expected \(1, 12, 12\) numbers in \[0, 1\]"),
    ("vae", {"image": [images(1)[0] * np.nan]}, "row 0: expected"),
    ("vae", {"image": ["picture.png"]}, "row 0: expected"),
    ("gan_r1", {"image": [images(1)[0]]}, "is a GAN and has no encoder"),
    ("conditional_vae", {"image": [images(1)[0]]}, "also needs a column label, 0 to 9"),
]


@pytest.mark.parametrize(("name", "columns", "message"), REFUSED)
def test_a_table_that_it_cannot_serve_is_refused_in_one_line(
    name: str, columns: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as error:
        ServedModel(made(name)).predict(pd.DataFrame(columns))
    assert "\n" not in str(error.value)


def write_folder(folder: Path, weights: Path | None = None) -> Path:
    """A folder as MLflow provides it, with the true SHA-256 of whatever the weights are."""
    model = made("vae")
    card = {"model": "vae", "family": "vae", "seed": 0}
    write_model(folder, model, model.config.model_dump(), card)
    if weights is not None:
        (folder / WEIGHTS).write_bytes(weights.read_bytes())
    config = json.loads((folder / CONFIG).read_text())
    (folder / "MLmodel").write_text(mlmodel.describe(config, mlmodel.hash_files(folder)))
    return folder


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as error:
        served_model._load_pyfunc(str(folder))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_weights_that_were_tampered_with_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path)
    served_model._load_pyfunc(str(folder))
    tensors, _ = tensor_file.read(folder / WEIGHTS, "a command")
    next(iter(tensors.values())).add_(1e-3)
    tensor_file.write(folder / WEIGHTS, tensors)
    message = f"{folder}: refused, weights.safetensors is not the published one (SHA-256"
    assert message in refused(folder)


def test_settings_that_were_tampered_with_are_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path) / CONFIG
    path.write_text(path.read_text().replace('"vae"', '"iwae"'))
    assert f"{tmp_path}: refused, config.json is not the published one (SHA-256" in refused(
        tmp_path
    )
    path.unlink()
    assert f"{tmp_path}: refused, config.json is missing" in refused(tmp_path)


def test_a_description_without_the_hash_of_the_settings_is_refused(tmp_path: Path) -> None:
    path = write_folder(tmp_path) / "MLmodel"
    path.write_text(path.read_text().replace("config_sha256", "another"))
    assert "expected unknown" in refused(tmp_path)


@pytest.mark.parametrize("by", ["torch", "pickle"])
def test_a_pickle_is_refused_though_its_hash_is_right(tmp_path: Path, by: str) -> None:
    path = tmp_path / "pickled"
    if by == "torch":
        torch.save(made("vae"), path)
    else:
        path.write_bytes(pickle.dumps({"settings": print}))
    assert "not a readable safetensors file" in refused(write_folder(tmp_path, path))


def test_mlflow_reads_the_description_as_it_is_meant(tmp_path: Path) -> None:
    from mlflow.models import Model  # noqa: TID251

    found = Model.load(write_folder(tmp_path))
    assert [(c.name, c.required) for c in found.signature.inputs.inputs] == [
        ("seed", False),
        ("label", False),
        ("image", False),
    ]
    assert found.signature.outputs.inputs[0].shape == (-1, *SHAPE)
    assert found.signature.outputs.inputs[0].type == np.float32
    assert found.metadata["sha256"] == mlmodel.sha256(tmp_path / WEIGHTS)
    assert found.metadata["config_sha256"] == mlmodel.sha256(tmp_path / CONFIG)


#: What the README tells to type at a prompt.
AT_A_PROMPT = """
import mlflow, numpy, pandas
model = mlflow.pyfunc.load_model("models:/genmodels@champion")
images = model.predict(pandas.DataFrame({"seed": range(3)}))
numpy.save("samples.npy", images)
numpy.save("again.npy", model.predict(pandas.DataFrame({"image": list(images)})))
"""


def environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_a_fresh_process_loads_the_champion_by_its_alias(reproduced: Path) -> None:
    publish.publish()
    command = [sys.executable, "-c", AT_A_PROMPT]
    subprocess.run(command, cwd=reproduced, env=environment(), check=True)
    model = read_model(paths.TRAIN / "vae" / "0", "nobody")
    found = np.load(reproduced / "samples.npy")
    assert np.array_equal(found, [sampled(model, seed) for seed in range(3)])
    x = torch.from_numpy(found)
    expected = torch.cat([model.reconstruct(x[row : row + 1]) for row in range(3)])
    assert np.array_equal(np.load(reproduced / "again.npy"), expected.numpy())


@pytest.mark.slow
def test_mlflow_serves_the_champion(reproduced: Path) -> None:
    publish.publish()
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", "models:/genmodels@champion", "--port", str(port)]
    table = {"dataframe_split": {"columns": ["seed"], "data": [[0], [5]]}}
    with serving(command, environment(), port, "ping", reproduced) as server:
        request = urllib.request.Request(
            f"{server}/invocations",
            json.dumps(table).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=HANGING_S) as answer:
            found = json.load(answer)["predictions"]
    model = read_model(paths.TRAIN / "vae" / "0", "nobody")
    assert np.array_equal(np.float32(found), [sampled(model, 0), sampled(model, 5)])

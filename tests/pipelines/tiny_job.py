"""Jobs of the studies' engine: tiny networks on 200 digits; fixture `prepared` has the data."""

from typing import Any

from pipelines import studies
from pipelines.data.prepared import Prepared
from pipelines.settings import sections
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


def vae(**changes: Any) -> dict[str, Any]:
    """Settings of a tiny VAE."""
    return shipped()["vae"] | TINY | changes


def autoencoder(**changes: Any) -> dict[str, Any]:
    """Settings of a tiny autoencoder with an ex-post mixture."""
    return shipped()["autoencoder_gmm"] | TINY | {"gmm_components": 2} | changes


def job(data: Prepared, **changes: Any) -> studies.Job:
    """The first seed of the tiny VAE."""
    wanted: dict[str, Any] = {
        "study": "tiny",
        "row": "vae",
        "seed": 0,
        "entry": vae(),
        "data": data,
        "code": "one",
    }
    wanted |= {"train": sections.Train(**TRAIN), "measures": Measures(**MEASURES)}
    return studies.Job(**wanted | changes)


def weights(one: studies.Job) -> int:
    """When a job's weights were written, in nanoseconds."""
    return (one.folder / "weights.safetensors").stat().st_mtime_ns

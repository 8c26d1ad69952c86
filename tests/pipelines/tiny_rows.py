"""Rows of tiny networks on 200 digits; the fixture `prepared` has the data."""

from typing import Any

from pipelines.data.prepared import Prepared
from pipelines.settings import paths, sections
from pipelines.training.rows import Rows
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
EVALUATE = {
    "metrics": ["rate", "distortion", "elbo"],
    "max_samples": 40,
    "sample_sets": 1,
    "sample_seed": 0,
    "metric_seed": 0,
    "grid_images": 4,
}


def vae(**changes: Any) -> dict[str, Any]:
    """Settings of a tiny VAE."""
    return shipped()["vae"] | TINY | changes


def autoencoder(**changes: Any) -> dict[str, Any]:
    """Settings of a tiny autoencoder with an ex-post mixture."""
    return shipped()["autoencoder_gmm"] | TINY | {"gmm_components": 2} | changes


def tiny_rows(data: Prepared, **changes: Any) -> Rows:
    """The tiny VAE with one seed."""
    settings: dict[str, Any] = {
        "title": "tiny",
        "folder": paths.OUTPUTS / "rows",
        "entries": {"vae": vae()},
        "seeds": [0],
        "train": sections.Train(**TRAIN),
        "data": data,
        "evaluate": sections.Evaluate(**EVALUATE),
        "where": "tiny.yaml: models",
    }
    return Rows(**settings | changes)


def weights(rows: Rows) -> int:
    """When the weights of the first seed were written, in nanoseconds."""
    return (rows.folder / "vae" / "0" / "weights.safetensors").stat().st_mtime_ns

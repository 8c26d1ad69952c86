"""Measurements of trained models: on which split, with which extractors, what is drawn."""

import functools
from pathlib import Path

from genmodels.base.seeding import generator
from genmodels.build import build
from genmodels.networks.blocks import draw_weights
from genmodels.networks.shape import ImageShape
from pipelines.data.prepared import Prepared
from pipelines.settings import paths, sections
from pipelines.training.measuring import Measured, MeasuringJob, measure_all
from pipelines.training.weights import write_model
from tests.pipelines.tiny_rows import EVALUATE, vae


def record_draw(folder: Path, model, evaluation, real):
    (folder / "drawn").write_text(f"{len(evaluation.samples)} {real.reference.split}")


def measured(data: Prepared, **changes):
    model = build(vae(), ImageShape(1, 28, 28), 10)
    draw_weights(model, generator(0, "weights"))
    folder = paths.OUTPUTS / "model"
    write_model(folder, model, vae(), {})
    one = MeasuringJob(
        model="vae",
        seed=0,
        folder=folder,
        made_by="here",
        data=data,
        settings=sections.Evaluate(**EVALUATE | {"metrics": ["fid", "rate"]}),
        **changes,
    )
    messages = []
    (result,) = measure_all(
        "t", [one], "cpu", 1, handle=lambda one, message: messages.append((str(one), message))
    )
    assert messages == [("vae seed 0", result)]
    assert isinstance(result, Measured)
    return {record["name"]: record for record in result.records}


def test_the_split_is_the_reference_and_pictures_are_drawn_in_the_same_process(prepared):
    draw = functools.partial(record_draw, paths.OUTPUTS)
    for split in ("test", "valid"):
        records = measured(prepared, split=split, draw=draw)
        assert records["rate"]["reference"]["split"] == split
        assert (paths.OUTPUTS / "drawn").read_text() == f"40 {split}"


def test_without_features_a_distance_is_null_with_the_reason(prepared):
    records = measured(prepared)
    assert records["fid_classifier"]["reason"] == "no_extractor"
    assert records["rate"]["value"] > 0

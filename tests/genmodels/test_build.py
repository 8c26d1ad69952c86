import pytest

from genmodels import build
from genmodels.base.seeding import derive, generator
from genmodels.networks.shape import ImageShape


def test_an_unknown_kind_is_rejected_with_the_nearest_name():
    with pytest.raises(
        ValueError, match=r"kind 'gann' is not one of autoencoder, .*, vq_vae, did you mean 'gan'\?"
    ):
        build.build({"kind": "gann"}, ImageShape(1, 28, 28))


def test_seeds_differ_by_purpose_and_step():
    drawn = {derive(0, "step", step, phase) for step in range(50) for phase in ("a", "b")}
    assert len(drawn) == 100
    assert derive(0, "step", 1) == derive(0, "step", 1)
    assert 0 <= min(drawn) <= max(drawn) < 2**63
    assert generator(3, "x").initial_seed() == derive(3, "x")

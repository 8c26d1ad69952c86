import pytest
import torch
from pydantic import ValidationError

from genmodels.base.seeding import generator
from genmodels.objectives.mmd import squared_mmd
from tests.conftest import presets, small_model


def info_vae(**changes):
    return small_model(presets()["info_vae"], **changes)


def terms_of(model, images):
    noise = torch.randn(len(images), 3, generator=torch.Generator().manual_seed(0))
    return model.terms(images, None, noise)


@pytest.mark.parametrize(("alpha", "rate_weight"), [(0.0, 1.0), (1.0, 0.0), (-0.5, 1.5)])
def test_the_penalty_is_the_weighted_rate_plus_the_weighted_mmd(alpha, rate_weight, images):
    model = info_vae(alpha=alpha, mmd_lambda=10.0)
    terms = terms_of(model, images)
    penalty, logged = model.regularizer(terms, 0, torch.Generator().manual_seed(1))
    mmd = squared_mmd(terms.z, torch.randn(64, 3, generator=torch.Generator().manual_seed(1)))
    torch.testing.assert_close(logged["squared_mmd"], mmd)
    torch.testing.assert_close(logged["weighted_squared_mmd"], (alpha + 9) * mmd)
    torch.testing.assert_close(penalty, rate_weight * terms.rate + (alpha + 9) * mmd)


def test_the_vae_is_a_special_case(images):
    model = info_vae(alpha=0.0, mmd_lambda=1.0)
    terms = terms_of(model, images)
    penalty, _ = model.regularizer(terms, 0, generator(0, "draws"))
    assert torch.equal(penalty, terms.rate)


def test_the_mmd_compares_with_the_prior_also_under_sampler_gmm(images):
    model = info_vae(sampler="gmm", gmm_components=2)
    terms = terms_of(model, images)
    plain, _ = info_vae().regularizer(terms, 0, generator(0, "draws"))
    penalty, _ = model.regularizer(terms, 0, generator(0, "draws"))
    assert torch.equal(penalty, plain)


def test_the_estimate_stays_in_float32_under_autocast(images):
    model = info_vae()
    terms = terms_of(model, images)
    plain, _ = model.regularizer(terms, 0, generator(0, "draws"))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = model.regularizer(terms, 0, generator(0, "draws"))
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


def test_a_small_batch_gives_a_caution():
    assert "mostly noise" in info_vae(batch_size=127).config.cautions()[0]
    assert info_vae(batch_size=128).config.cautions() == ()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 1.5}, "less than or equal to 1"),
        ({"alpha": 0.0, "mmd_lambda": 0.5}, "would maximise the MMD"),
        ({"prior": "vamp", "num_pseudo_inputs": 4}, "set prior: normal"),
    ],
)
def test_contradictory_settings_are_rejected(changes, message):
    with pytest.raises(ValidationError, match=message):
        info_vae(**changes)

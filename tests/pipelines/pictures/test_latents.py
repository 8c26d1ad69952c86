import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import norm
from torch.distributions import Normal, kl_divergence

from genmodels.base.model import Images
from pipelines.pictures import latents
from pipelines.tracking import from_files
from pipelines.training import fingerprint
from tests.conftest import presets, small_model
from tests.pipelines.conftest import write_outputs
from tests.pipelines.tiny_model import preset_of


@pytest.fixture
def tested(images) -> Images:
    return Images(images, torch.arange(len(images)) % 10)


def vae(**changes):
    return small_model(presets()["vae"], **changes)


def told(model, mean, logvar):
    """The model with an encoder that says the same of any 4 images."""
    model.encode = lambda x, y: (mean, logvar)
    return model


def watched(model):
    """The model and the (z, labels) that its decoder is given."""
    seen, decode = [], model.decode
    model.decode = lambda z, labels: (seen.append((z, labels)), decode(z, labels))[1]
    return model, seen


#: Of 3 dimensions the first is idle, the second varies most.
MEAN = torch.tensor([[0.0, 2.0, 0.3], [0.0, -2.0, -0.3], [0.0, 2.0, 0.3], [0.0, -2.0, -0.3]])
LOGVAR = torch.tensor([0.0, -3.0, -1.0]).expand(4, 3)
FOUR = Images(torch.zeros(4, 1, 12, 12), None)


@pytest.mark.parametrize("name", ["vae", "conditional_vae"])
def test_the_rates_of_the_dimensions_sum_up_to_the_metric(tested, name):
    model = small_model(presets()[name])
    with torch.no_grad():  # an untrained encoder says the same of every image
        model.encoder[-1].weight.mul_(20)
    found = latents.encode(model, tested, seed=5)
    rng = torch.Generator().manual_seed(5)
    labels = tested.y if model.conditional else None
    rate, _ = model.rate_distortion(tested.x, rng, labels)
    assert found.rate.sum() > 0.01
    torch.testing.assert_close(found.rate.sum(), rate.mean(), rtol=1e-5, atol=0)


def test_rate_order_and_activity_of_a_known_posterior():
    found = latents.encode(told(vae(), MEAN, LOGVAR), FOUR, seed=0)
    expected = kl_divergence(Normal(MEAN, (0.5 * LOGVAR).exp()), Normal(0.0, 1.0)).mean(0)
    torch.testing.assert_close(found.rate, expected, rtol=1e-6, atol=1e-7)
    assert found.order.tolist() == [1, 2, 0]
    assert found.active.tolist() == [False, True, True]
    card = latents.describe(found, None)
    assert card["dimensions"] == [1, 2, 0]
    assert card["active"] == [True, True, False]
    assert card["active_units"] == 2
    assert card["rate"] == pytest.approx(expected[[1, 2, 0]].tolist(), abs=1e-5)
    assert card["variance"] == pytest.approx([16 / 3, 0.12, 0.0], abs=1e-5)


def test_a_dimension_at_the_threshold_is_idle():
    mean = torch.tensor([[0.1], [-0.1]]).repeat(50, 1) * torch.tensor([0.9, 1.1])
    model = told(vae(latent_dim=2), mean, torch.zeros(100, 2))
    images = Images(torch.zeros(100, 1, 12, 12), None)
    assert latents.encode(model, images, seed=0).active.tolist() == [False, True]


def test_each_row_of_the_traversals_walks_along_one_dimension():
    model, seen = watched(told(vae(), MEAN, LOGVAR))
    images = latents.traverse(model, latents.encode(model, FOUR, 0), None)
    z = seen[0][0].reshape(3, latents.TRAVERSAL_STEPS, 3)
    expected = torch.zeros(3, latents.TRAVERSAL_STEPS, 3)
    for row, dimension in enumerate([1, 2, 0]):
        expected[row, :, dimension] = torch.linspace(-2.5, 2.5, latents.TRAVERSAL_STEPS)
    torch.testing.assert_close(z, expected)
    assert images.shape == (3 * latents.TRAVERSAL_STEPS, 1, 12, 12)


def test_of_many_dimensions_the_first_sixteen_are_traversed(tested):
    model = vae(latent_dim=20)
    images = latents.traverse(model, latents.encode(model, tested, 0), None)
    assert len(images) == 16 * latents.TRAVERSAL_STEPS


def test_the_codes_of_an_autoencoder_are_traversed_around_their_mean():
    model = small_model(presets()[preset_of("autoencoder")])
    codes = MEAN + torch.tensor([5.0, 0.0, 0.0])
    model.encode = lambda x, y: codes
    model, seen = watched(model)
    found = latents.encode(model, FOUR, 0)
    assert found.rate is None
    assert found.active is None
    assert found.order.tolist() == [1, 2, 0]
    latents.traverse(model, found, None)
    z = seen[0][0].reshape(3, latents.TRAVERSAL_STEPS, 3)
    reach = 2.5 * codes[:, 1].std()
    torch.testing.assert_close(z[0, [0, -1], 1], torch.stack([-reach, reach]))
    torch.testing.assert_close(z[1, :, 0], torch.full((latents.TRAVERSAL_STEPS,), 5.0))
    assert latents.describe(found, None)["rate"] is None


def test_a_prior_whose_dimensions_depend_on_one_another_has_no_rate_of_a_dimension():
    model = small_model(presets()["vae_vamp"])
    found = latents.encode(told(model, MEAN, LOGVAR), FOUR, 0)
    assert found.rate is None
    assert found.active.tolist() == [False, True, True]
    spread = (MEAN.var(0) + LOGVAR.exp()[0]).sqrt()
    torch.testing.assert_close(found.spread, spread)


def test_a_conditional_model_keeps_the_class_of_the_first_image(tmp_path, tested):
    model, seen = watched(small_model(presets()["conditional_vae"], latent_dim=2))
    latents.draw(model, tested.at(slice(7, None)), 0, tmp_path)
    assert len(seen) == 2
    assert all((labels == 7).all() for _, labels in seen)
    assert [len(z) for z, _ in seen] == [2 * latents.TRAVERSAL_STEPS, latents.MANIFOLD_SIDE**2]


def test_the_manifold_is_a_map_of_the_quantiles():
    model = vae(latent_dim=2)

    def decode(z, labels):
        return z.sigmoid().reshape(-1, 2, 1, 1).repeat_interleave(12, 3)[:, :, :, :12]

    model.decode, model.shape = decode, (2, 1, 12)
    plane = latents.manifold(model, None)
    side = latents.MANIFOLD_SIDE
    assert plane.shape == (1, 2, side, 12 * side)
    quantiles = norm.ppf((np.arange(side) + 0.5) / side)
    z_0 = plane[0, 0, :, ::12].logit().numpy()
    z_1 = plane[0, 1, :, ::12].logit().numpy()
    np.testing.assert_allclose(z_0, np.tile(quantiles, (side, 1)), atol=1e-4)  # to the right
    np.testing.assert_allclose(z_1, np.tile(quantiles[::-1, None], (1, side)), atol=1e-4)  # upwards


@pytest.mark.parametrize(
    ("name", "changes", "drawn"),
    [
        ("vae", {}, {"traversals.png", "latents.json"}),
        ("vae", {"latent_dim": 2}, {"traversals.png", "latents.json", "manifold.png"}),
        ("vae_vamp", {"latent_dim": 2}, {"traversals.png", "latents.json"}),
        ("autoencoder", {"latent_dim": 2}, {"traversals.png", "latents.json"}),
        ("vq_vae", {}, set()),
        ("gan", {}, set()),
    ],
)
def test_a_model_gets_the_pictures_that_its_latents_allow(tmp_path, tested, name, changes, drawn):
    entry = presets()[name if name in presets() else preset_of(name)]
    latents.draw(small_model(entry, **changes), tested, 0, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == drawn
    if drawn:
        card = json.loads((tmp_path / "latents.json").read_text())
        assert ("plane" in card) == (changes.get("latent_dim") == 2)
        assert card["num_images"] == len(tested.x)


def test_one_image_has_no_variance(tmp_path, tested):
    latents.draw(vae(), tested.at(slice(1)), 0, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_files_repeat_their_bytes_and_have_the_size_of_their_grids(tmp_path, tested):
    for folder in ("a", "b"):
        latents.draw(vae(latent_dim=2), tested, 0, tmp_path / folder)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    with Image.open(tmp_path / "a/manifold.png") as plane:
        assert plane.size == (12 * latents.MANIFOLD_SIDE, 12 * latents.MANIFOLD_SIDE)
    with Image.open(tmp_path / "a/traversals.png") as rows:
        assert rows.size == (2 * (13 * latents.TRAVERSAL_STEPS - 1), 2 * (13 * 2 - 1))


@pytest.mark.parametrize("labelled", [True, False])
def test_codes_in_a_plane_are_kept_with_their_classes(tested, labelled):
    many = Images(tested.x.repeat(9, 1, 1, 1), tested.y.repeat(9) if labelled else None)
    found = latents.encode(vae(latent_dim=2), many, 0)
    plane = latents.describe(found, many.y)["plane"]
    assert len(plane["codes"]) == latents.PLANE_CODES < len(many.x)
    assert plane["codes"][3] == pytest.approx(found.mean[3].tolist(), abs=1e-5)
    assert plane["labels"] == (many.y[: latents.PLANE_CODES].tolist() if labelled else None)


def test_the_run_of_a_model_holds_what_is_known_about_its_latents(checkout):
    write_outputs(checkout)
    path = checkout / "outputs/evaluate/vae/1/latents.json"
    path.write_text("{}")
    for run in from_files.read("vae", fingerprint.read_lock())[1]:
        assert run.files.get("evaluate/latents.json") == (path if run.identity.seed == 1 else None)

import numpy as np
import pytest
import torch
from PIL import Image

from genmodels.base.seeding import generator
from pipelines.data.splits import Split
from pipelines.pictures import model_pictures
from tests.conftest import presets, small_model


@pytest.mark.parametrize("name", ["vae", "gan_r1"])
def test_interpolations_begin_and_end_at_draws_of_the_prior_and_keep_their_length(name):
    model = small_model(presets()[name], latent_dim=16)
    seen = []
    decode = model.decode
    model.decode = lambda z, labels: (seen.append(z), decode(z, labels))[1]
    images = model_pictures.interpolate(model, seed=0)
    (z,) = seen
    assert images.shape == (64, 1, 12, 12)
    path = z.reshape(8, 8, 16)
    drawn = model.sample_latent(16, generator(0, "interpolations"))
    torch.testing.assert_close(path[:, 0], drawn[:8], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(path[:, -1], drawn[8:], rtol=1e-4, atol=1e-5)
    lengths = path.norm(dim=2)
    low = torch.minimum(lengths[:, :1], lengths[:, -1:])
    assert (lengths >= 0.8 * low).all()


def conditional(name):
    """A model whose image is its class, a tenth a class, and the first value of its latent."""
    model = small_model(presets()[name], conditional=True)

    def decode(z, labels):
        brightness = labels / 10 + z[:, 0].sigmoid() / 20
        return brightness.reshape(-1, 1, 1, 1).expand(-1, 1, 12, 12)

    model.decode = decode
    return model


@pytest.mark.parametrize("name", ["vae", "gan_r1"])
def test_interpolations_of_a_conditional_model_stay_in_the_class_of_their_row(name):
    rows = model_pictures.interpolate(conditional(name), seed=0)[:, 0, 0, 0].reshape(8, 8)
    assert (rows * 10).floor().tolist() == [[row] * 8 for row in range(8)]
    assert (rows.std(1) > 0).all()


@pytest.mark.parametrize("name", ["vae", "gan_r1"])
def test_the_picture_of_classes_has_the_same_latents_in_every_row(name):
    rows = model_pictures.sample_classes(conditional(name), seed=0)[:, 0, 0, 0].reshape(10, 8)
    classes = torch.arange(10.0).unsqueeze(1) / 10
    assert torch.equal((rows * 10).floor() / 10, classes.expand(10, 8))
    torch.testing.assert_close(rows - classes, (rows - classes)[:1].expand(10, 8))
    assert rows[0].std() > 0


@pytest.mark.parametrize(
    ("name", "told", "drawn"),
    [
        ("vae", False, {"samples", "interpolations", "reconstructions"}),
        ("vae", True, {"samples", "interpolations", "reconstructions", "classes"}),
        ("gan_r1", False, {"samples", "interpolations"}),
        ("gan_r1", True, {"samples", "interpolations", "classes"}),
    ],
)
def test_a_model_gets_the_pictures_that_it_is_capable_of(tmp_path, images, name, told, drawn):
    model = small_model(presets()[name], conditional=told)
    test = Split(images, torch.arange(len(images)) % 10)
    model_pictures.draw(model, images[:16], test, 0, tmp_path)
    assert {path.stem for path in tmp_path.iterdir()} == drawn


@pytest.mark.parametrize("dims", [1, 2, 16])
def test_a_great_circle_never_leaves_the_length_of_its_ends(dims):
    z = torch.randn(2000, 2, dims, generator=torch.Generator().manual_seed(dims))
    begin, end = z[:, :1], z[:, 1:]
    path = model_pictures.great_circle(begin, end, torch.linspace(0, 1, 8).reshape(1, -1, 1))
    longest = torch.maximum(begin.norm(dim=-1), end.norm(dim=-1))
    assert path.isfinite().all()
    assert (path.norm(dim=-1) <= longest * 1.001).all()


def test_the_nearest_training_image_stands_below_its_sample(tmp_path, images):
    path = tmp_path / "nearest.png"
    model_pictures.draw_nearest(images[:20], images, path)  # copies: each is its own neighbour
    with Image.open(path) as opened:
        pixels = np.asarray(opened)
    side = images.shape[-1] * 2 + 2  # each pixel is two, and so is the gap
    assert (pixels[: side - 2] == pixels[side : 2 * side - 2]).all()
    assert pixels[: side - 2].std() > 0

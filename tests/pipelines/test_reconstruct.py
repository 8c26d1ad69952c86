import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.figures import grids
from evaluation.measuring.images import quantise
from pipelines import reconstruct
from pipelines.data.datasets import image_folder
from pipelines.settings import params
from tests.pipelines import tiny_model as trained
from tests.pipelines.tiny_model import preset_of


@pytest.fixture
def checkout_with(checkout, monkeypatch):
    return trained.in_another_folder(checkout, monkeypatch)


@pytest.fixture
def my_pictures(digits):
    """Pictures of several sizes and modes in a folder."""

    def write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        base = Image.fromarray((digits[0, 0].numpy() * 255).astype(np.uint8))
        colours = Image.merge("RGB", [base, base.rotate(90), base.rotate(180)]).resize((90, 40))
        seen_through = base.convert("RGBA").resize((13, 50))
        seen_through.putalpha(100)
        deep = Image.fromarray(np.asarray(base).astype(np.uint16) * 257)
        for name, picture in {
            "a.png": base,
            "b.jpg": colours,
            "c.png": seen_through,
            "d.tif": deep,
            "e.gif": base.convert("P"),
        }.items():
            picture.save(folder / name)
        return sorted(str(path) for path in folder.iterdir())

    return write


def run(monkeypatch, *arguments):
    trained.run(reconstruct.main, monkeypatch, *arguments)


def refused(monkeypatch, *arguments):
    return trained.refused(reconstruct.main, monkeypatch, *arguments)


def as_prepared(folder):
    """(N, 1, 12, 12) pictures as a data set of them would have them."""
    shape = {"dataset": "image_folder", "folder": str(folder), "image_size": 12}
    settings = params.load().prepare.model_copy(update={**shape, "image_mode": "grey"})
    return torch.from_numpy(image_folder(settings).images).float() / 255


def test_pictures_of_any_kind_stand_above_their_reconstructions(
    checkout_with, monkeypatch, my_pictures, tmp_path, capsys
):
    model = checkout_with("vae")
    files = my_pictures(tmp_path / "mine")
    run(monkeypatch, "vae", *files)
    x = as_prepared(tmp_path / "mine")
    expected = grids.reconstruction_grid(x, model.reconstruct(x), 5)
    with Image.open("reconstructions.png") as opened:
        assert np.array_equal(np.asarray(opened), np.asarray(expected))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["picture", "mse", "rate", "distortion"]
    assert lines[-1].startswith("reconstructions.png: 5 pictures and their reconstructions by vae")
    mse = (x - quantise(model.reconstruct(x))).square().flatten(1).mean(1)
    rate, distortion = model.rate_distortion(x, torch.Generator().manual_seed(reconstruct.SEED))
    for index, (file, line) in enumerate(zip(files, lines[1:-1], strict=True)):
        name, *numbers = line.split()
        assert name == file
        values = [mse[index].item(), rate[index].item(), distortion[index].item()]
        assert [float(number) for number in numbers] == pytest.approx(values, rel=1e-3)


def test_a_last_row_that_is_not_full_loses_no_picture(checkout_with, monkeypatch, my_pictures):
    x = torch.rand(10, 1, 4, 4)
    sheet = np.asarray(reconstruct.grid(x, x))
    assert sheet.shape == (2 * (4 * 5 - 1), 2 * (8 * 5 - 1))
    tenth = sheet[2 * 10 : 2 * 14 : 2, 2 * 5 : 2 * 9 : 2]
    assert np.array_equal(tenth, (x[9, 0] * 255).round().numpy().astype(np.uint8))
    assert (sheet[2 * 10 :, 2 * 10 :] == grids.GAP).all()


def test_values_that_a_model_does_not_have_are_left_out(
    checkout_with, monkeypatch, my_pictures, tmp_path, capsys
):
    name = preset_of("autoencoder")
    checkout_with(name)
    run(monkeypatch, name, my_pictures(tmp_path / "mine")[0], "--out", "one.png")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["picture", "mse"]
    assert lines[-1].startswith("one.png: 1 picture and its reconstruction by ")


def test_a_conditional_model_needs_the_class(checkout_with, monkeypatch, my_pictures, tmp_path):
    model = checkout_with("conditional_vae")
    files = my_pictures(tmp_path / "mine")
    assert "needs the class of the pictures: --class, 0 to 9" in refused(
        monkeypatch, "conditional_vae", *files
    )
    run(monkeypatch, "conditional_vae", *files, "--class", "7")
    x = as_prepared(tmp_path / "mine")
    expected = grids.reconstruction_grid(x, model.reconstruct(x, torch.full((5,), 7)), 5)
    with Image.open("reconstructions.png") as opened:
        assert np.array_equal(np.asarray(opened), np.asarray(expected))


def test_a_gan_reconstructs_nothing(checkout_with, monkeypatch, my_pictures, tmp_path):
    name = preset_of("gan")
    checkout_with(name)
    message = refused(monkeypatch, name, my_pictures(tmp_path / "mine")[0])
    assert "is a GAN, which has no encoder: choose a VAE or an autoencoder" in message


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.png"], "missing.png: no such file"),
        (["broken.png"], "broken.png: not a readable picture"),
        (["good.png", "broken.png"], "broken.png: not a readable picture"),
        (["."], ".: no such file"),
        (["good.png", "--class", "1"], "is not conditional"),
        (["good.png", "--out", "x.gif"], "--out x.gif: the name of the file has to end in .png"),
    ],
)
def test_a_mistake_is_one_line_and_no_file(checkout_with, monkeypatch, tmp_path, arguments, told):
    checkout_with("vae")
    here = tmp_path / "elsewhere"
    Image.new("L", (20, 20)).save(here / "good.png")
    (here / "broken.png").write_text("no picture")
    assert told in refused(monkeypatch, "vae", *arguments)
    assert {path.name for path in here.iterdir()} == {"good.png", "broken.png"}


def test_the_help_says_what_happens_to_a_picture(capsys):
    with pytest.raises(SystemExit):
        reconstruct.parse(["--help"])
    text = capsys.readouterr().out
    for word in ("EXIF", "cropped", "mse", "rate", "distortion", "--class", "examples:"):
        assert word in text

import numpy as np
import pytest
from PIL import Image

import evaluation  # noqa: F401  (makes torchvision importable)
from pipelines.data import datasets
from pipelines.settings import params, sections
from pipelines.settings.errors import UserError


def settings(folder, **changes) -> sections.Prepare:
    base = {"dataset": "image_folder", "folder": str(folder), "image_size": 16}
    return params.load().prepare.model_copy(update=base | changes)


def gradient(height, width, channels=1):
    rng = np.random.default_rng(0)
    array = rng.integers(0, 256, (height, width, channels), dtype=np.uint8)
    return Image.fromarray(array[..., 0] if channels == 1 else array)


def test_mnist5k_is_five_thousand_real_digits():
    source = datasets.mnist5k(settings("x"))
    assert source.images.shape == (5000, 1, 28, 28)
    assert np.bincount(source.labels).tolist() == [500] * 10
    assert source.images.mean() / 255 == pytest.approx(0.1313, abs=1e-3)
    assert source.num_pool == 5000


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
@pytest.mark.parametrize("image_mode", ["grey", "rgb"])
def test_pictures_of_any_mode_are_read(tmp_path, mode, image_mode):
    if mode == "I;16":
        picture = Image.fromarray(np.full((30, 20), 32768, dtype=np.uint16))
    else:
        picture = Image.new("L", (20, 30), 128).convert(mode)
    picture.save(tmp_path / "picture.tiff")
    channels = 1 if image_mode == "grey" else 3
    source = datasets.image_folder(settings(tmp_path, image_mode=image_mode))
    assert source.images.shape == (1, channels, 16, 16)
    assert source.images.dtype == np.uint8
    expected = 255 if mode == "1" else 128
    if mode == "1":  # dithered to black and white
        assert set(np.unique(datasets.image_folder(settings(tmp_path)).images)) != {expected}
    else:
        assert np.abs(source.images.astype(int) - expected).max() <= 2
    assert source.labels is None


def test_transparent_pixels_become_black(tmp_path):
    Image.new("RGBA", (16, 16), (255, 255, 255, 0)).save(tmp_path / "clear.png")
    assert datasets.image_folder(settings(tmp_path)).images.max() == 0


def test_the_exif_orientation_is_applied(tmp_path):
    picture = Image.new("L", (16, 16), 0)
    picture.paste(255, (0, 0, 16, 8))  # white above
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees: white on the right
    picture.save(tmp_path / "turned.png", exif=exif)
    image = datasets.image_folder(settings(tmp_path)).images[0, 0]
    assert image[:, 12:].mean() == 255
    assert image[:, :4].mean() == 0


def test_pictures_of_any_size_are_cropped_to_the_central_square(tmp_path):
    picture = Image.new("L", (48, 16), 0)
    picture.paste(200, (16, 0, 32, 16))
    picture.save(tmp_path / "wide.png")
    gradient(5, 90, 3).save(tmp_path / "odd.jpg")
    images = datasets.image_folder(settings(tmp_path)).images
    assert images.shape == (2, 1, 16, 16)
    assert images[1].min() == 200


def test_subfolders_are_classes_in_alphabetical_order(tmp_path):
    for name, count in (("b", 2), ("a", 3)):
        (tmp_path / name).mkdir()
        for i in range(count):
            gradient(20, 20).save(tmp_path / name / f"{i}.PNG")
    (tmp_path / "README.md").write_text("not a picture")
    source = datasets.image_folder(settings(tmp_path))
    assert source.class_names == ["a", "b"]
    assert source.labels.tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("content", [b"", b"not a picture", None])
def test_a_corrupt_picture_is_named(tmp_path, content):
    path = tmp_path / "broken.png"
    gradient(20, 20).save(path)
    path.write_bytes(path.read_bytes()[:60] if content is None else content)
    with pytest.raises(UserError, match=r"broken.png: not a readable picture \(") as error:
        datasets.image_folder(settings(tmp_path))
    assert "\n" not in str(error.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"prepare.folder: .*nowhere: no such folder"):
        datasets.image_folder(settings(tmp_path / "nowhere"))


def test_a_folder_without_pictures_is_named(tmp_path):
    with pytest.raises(UserError, match="no picture in it"):
        datasets.image_folder(settings(tmp_path))


def test_pictures_beside_class_folders_are_refused(tmp_path):
    (tmp_path / "a").mkdir()
    gradient(9, 9).save(tmp_path / "a" / "1.png")
    gradient(9, 9).save(tmp_path / "stray.png")
    with pytest.raises(UserError, match=r"stray.png\) beside class folders \(a\)"):
        datasets.image_folder(settings(tmp_path))


def test_one_class_is_the_same_as_no_labels(tmp_path):
    (tmp_path / "all").mkdir()
    gradient(9, 9).save(tmp_path / "all" / "1.png")
    source = datasets.image_folder(settings(tmp_path))
    assert source.labels is None
    assert source.class_names is None


def test_an_error_names_a_picture_that_is_too_deep(tmp_path):
    for folder in ("a", "b", "c/deep"):
        (tmp_path / folder).mkdir(parents=True)
        gradient(9, 9).save(tmp_path / folder / "1.png")
    with pytest.raises(UserError, match=r"c/deep/1.png is too deep"):
        datasets.image_folder(settings(tmp_path))


@pytest.mark.parametrize(("dtype", "mode"), [(np.float32, "F"), (np.int32, "I")])
def test_a_mode_that_does_not_define_white_is_refused(tmp_path, dtype, mode):
    Image.fromarray(np.ones((9, 9), dtype)).save(tmp_path / "deep.tiff")
    with pytest.raises(UserError, match=rf"deep.tiff: .*mode {mode} does not define white"):
        datasets.image_folder(settings(tmp_path))


def test_hidden_files_are_ignored(tmp_path):
    for folder in ("a", "b", ".thumbnails"):
        (tmp_path / folder).mkdir()
        gradient(9, 9).save(tmp_path / folder / "1.png")
        (tmp_path / folder / "._1.png").write_text("metadata of an archive")
    assert len(datasets.image_folder(settings(tmp_path)).images) == 2


def test_a_data_set_that_cannot_be_downloaded_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GENMODELS_DATA_ROOT", str(tmp_path))
    from torchvision.datasets import MNIST

    def refuse(self):
        raise RuntimeError("Error downloading train-images-idx3-ubyte.gz:\nno network")

    monkeypatch.setattr(MNIST, "download", refuse)
    with pytest.raises(UserError, match=r"MNIST is not in .* could not be downloaded") as error:
        datasets.LOADERS["mnist"](settings("x"))
    assert "\n" not in str(error.value)
    assert "GENMODELS_DATA_ROOT" in str(error.value)


def test_torchvision_data_is_read_from_the_data_root(tmp_path, monkeypatch):
    """A tiny MNIST in its own file format, train and official test set."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for prefix, count in (("train", 6), ("t10k", 3)):
        header = b"\x00\x00\x08\x03" + b"".join(v.to_bytes(4, "big") for v in (count, 28, 28))
        pixels = bytes(range(count)) * 784
        (raw / f"{prefix}-images-idx3-ubyte").write_bytes(header + pixels)
        labels = b"\x00\x00\x08\x01" + count.to_bytes(4, "big") + bytes(range(count))
        (raw / f"{prefix}-labels-idx1-ubyte").write_bytes(labels)
    monkeypatch.setenv("GENMODELS_DATA_ROOT", str(tmp_path))
    source = datasets.LOADERS["mnist"](settings("x"))
    assert source.images.shape == (9, 1, 28, 28)
    assert source.num_pool == 6
    assert source.labels.tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2]

import numpy as np
import torch
from PIL import Image

from pipelines.data import datasets
from pipelines.data.picture_folder import read_folder
from tests.pipelines.pictures_on_disk import write_classes, write_pictures


def test_colour_and_grey_are_detected_and_nothing_is_resized(checkout, tmp_path) -> None:
    grey = write_pictures(tmp_path / "grey", 3)
    red = write_pictures(tmp_path / "red", 3, mode="RGB")
    large = write_pictures(tmp_path / "large", 3, size=(20, 12))
    assert read_folder(str(grey), "DIR", 0).shape == (3, 1, 12, 12)
    assert read_folder(str(red), "DIR", 0).shape == (3, 3, 12, 12)
    assert read_folder(str(large), "DIR", 0).shape == (3, 1, 12, 20)


def test_pixels_come_through_unchanged(checkout, tmp_path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(pixels).save(tmp_path / "all.png")
    read = read_folder(str(tmp_path), "DIR", 0)
    assert ((read[0, 0] * 255).round().numpy() == pixels).all()


def test_some_pictures_of_a_sorted_folder_are_from_every_class(
    checkout, tmp_path, monkeypatch
) -> None:
    folder, decoded = write_classes(tmp_path / "sorted"), []
    read = datasets.read_full_size
    monkeypatch.setattr(datasets, "read_full_size", lambda path: decoded.append(path) or read(path))
    some = read_folder(str(folder), "DIR", 0, 10)
    assert len(decoded) == 10
    assert 0 < (some > 0.5).double().mean() < 1
    every = read_folder(str(folder), "DIR", 0)
    assert torch.equal(every[:10], some)
    assert not torch.equal(read_folder(str(folder), "DIR", 1, 10), some)


def test_hidden_files_and_folders_are_ignored(checkout, tmp_path) -> None:
    folder = write_pictures(tmp_path / ".home" / "samples", 3)
    write_pictures(folder / ".thumbnails", 2, size=(6, 6))
    (folder / "._000.png").write_text("metadata of an archive")
    assert len(read_folder(str(folder), "DIR", 0)) == 3

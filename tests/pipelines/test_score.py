import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.measuring.moments import covariance, frechet_floor, frechet_parts
from pipelines import evaluate, features, score
from pipelines.data import datasets
from pipelines.data.extractors import load_extracted
from pipelines.data.picture_folder import read_folder
from pipelines.settings import files, params, paths, sections
from pipelines.settings.errors import UserError
from tests.pipelines.test_features import SETTINGS, prepare


class Given:
    """What of params.yaml the command reads."""

    features = SETTINGS
    evaluate = sections.Evaluate(
        metrics=["fid", "kid", "mse"],
        max_samples=30,
        sample_sets=2,
        sample_seed=0,
        metric_seed=0,
        grid_images=1,
    )


def write_pictures(folder: Path, count: int, size=(12, 12), mode: str = "L", seed: int = 0) -> Path:
    """Corners as `prepare` draws them, as files."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        pixels = rng.integers(80, size=(size[1], size[0]), dtype=np.uint8)
        row, column = 7 * rng.integers(2), 7 * rng.integers(2)
        pixels[row : row + 4, column : column + 4] += 150
        Image.fromarray(pixels).convert(mode).save(folder / f"{index:03d}.png")
    return folder


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["evaluate", *arguments])
    monkeypatch.setattr(params, "load", Given)
    evaluate.main()


def test_a_folder_is_scored_against_a_prepared_split(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    prepare(labelled=True)
    features.make(SETTINGS)
    pictures = write_pictures(tmp_path / "samples", 40)
    out = tmp_path / "out" / "scores.json"
    run(monkeypatch, "--images", str(pictures), "--out", str(out))
    printed = capsys.readouterr().out
    assert "fid_classifier ↓" in printed
    assert "40 images on each side; reference corners test" in printed
    records = json.loads(out.read_text())
    assert [record["name"] for record in records] == ["fid_classifier", "kid_classifier"]
    for record in records:
        assert (record["n_real"], record["n_fake"]) == (40, 40)
        assert record["seed"]["train"] is None
        assert record["extractor"].startswith("sha256:")


def test_values_stand_beside_those_of_held_out_images_at_the_same_number(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    prepare(labelled=True)
    features.make(SETTINGS)
    pictures, out = write_pictures(tmp_path / "samples", 40), tmp_path / "scores.json"
    command = ["--images", str(pictures), "--metric", "fid", "kid", "--out", str(out)]
    run(monkeypatch, *command)
    assert "held-out 7" not in capsys.readouterr().out
    fid, kid = json.loads(out.read_text())
    rows = {"fid_classifier": fid | {"value": 7.5}, "kid_classifier": kid | {"n_fake": 20}}
    content = {"rows": {"held_out": {"records": rows, "reason": None}}}
    files.write_json(paths.REFERENCES / "rows.json", content)
    run(monkeypatch, *command)
    fid_line, kid_line, *_ = capsys.readouterr().out.splitlines()
    assert "held-out 7.5000  by theory" in fid_line
    assert "held-out" not in kid_line


def test_a_distance_stands_beside_that_of_two_sets_of_real_images(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    prepare(labelled=True)
    features.make(SETTINGS)
    pictures, out = write_pictures(tmp_path / "samples", 40), tmp_path / "scores.json"
    run(monkeypatch, "--images", str(pictures), "--metric", "fid", "--out", str(out))
    (record,) = json.loads(out.read_text())
    extracted = load_extracted(SETTINGS)
    of_test = extracted.features["test"][extracted.extractors[0].sha256][:40]
    floor = frechet_floor(covariance(of_test), 40, 40)
    assert record["params"]["iid_floor"] == pytest.approx(floor, rel=1e-6)
    printed = capsys.readouterr().out
    assert f"by theory {floor:.4f}" in printed
    assert "by theory: as many real images as these, on average" in printed


def test_real_pictures_score_better_than_noise(checkout, tmp_path, monkeypatch) -> None:
    prepare(labelled=True)
    features.make(SETTINGS)
    write_pictures(tmp_path / "good", 40)
    (tmp_path / "bad").mkdir()
    rng = np.random.default_rng(0)
    for index in range(40):
        noise = Image.fromarray(rng.integers(256, size=(12, 12), dtype=np.uint8))
        noise.save(tmp_path / "bad" / f"{index}.png")
    values = {}
    for name in ("good", "bad"):
        out = tmp_path / f"{name}.json"
        run(monkeypatch, "--images", str(tmp_path / name), "--metric", "fid", "--out", str(out))
        values[name] = json.loads(out.read_text())[0]["value"]
    assert values["good"] < values["bad"] / 2


@pytest.mark.parametrize(("reference", "known"), [("test", "train"), ("train", "none")])
def test_copies_are_looked_for_in_the_train_split_unless_it_is_the_reference(
    checkout, tmp_path, reference: str, known: str
) -> None:
    prepare(labelled=True)
    pictures = str(write_pictures(tmp_path / "samples", 5))
    task = score.prepare(
        Given, images=pictures, reference=reference, train=None, metrics=["fid"], max_samples=30
    )
    assert task.train.split == known


def test_two_folders_need_no_pipeline(checkout, tmp_path, monkeypatch, capsys) -> None:
    one = write_pictures(tmp_path / "samples" / "a", 20).parent  # below a class folder, too
    other = write_pictures(tmp_path / "photos", 25, seed=1)
    command = ["--images", str(one), "--reference", str(other), "--metric", "nearest_neighbour"]
    run(monkeypatch, *command, "fid")
    printed = capsys.readouterr().out
    assert "the pipeline's classifier knows the prepared data only" in printed
    assert "20 images on each side; reference photos folder" in printed


def test_a_dry_run_lists_what_would_be_computed_and_computes_nothing(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    pictures = write_pictures(tmp_path / "samples", 5)
    out = tmp_path / "scores.json"
    monkeypatch.setattr(score, "score", None)
    folder = str(pictures)
    run(monkeypatch, "--images", folder, "--reference", folder, "--dry-run", "--out", str(out))
    printed = capsys.readouterr().out
    assert "fid_classifier" in printed
    assert "null: classifier of other data" in printed
    assert not out.exists()


def test_colour_and_grey_are_told_apart_and_nothing_is_resized(checkout, tmp_path) -> None:
    grey = write_pictures(tmp_path / "grey", 3)
    red = write_pictures(tmp_path / "red", 3, mode="RGB")
    large = write_pictures(tmp_path / "large", 3, size=(20, 12))
    assert read_folder(str(grey), "--images", 0).shape == (3, 1, 12, 12)
    assert read_folder(str(red), "--images", 0).shape == (3, 3, 12, 12)
    assert read_folder(str(large), "--images", 0).shape == (3, 1, 12, 20)


def test_pixels_come_through_unchanged(checkout, tmp_path) -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    Image.fromarray(pixels).save(tmp_path / "all.png")
    read = read_folder(str(tmp_path), "--images", 0)
    assert ((read[0, 0] * 255).round().numpy() == pixels).all()


def write_classes(folder: Path) -> Path:
    """Ten dark pictures and, behind them in the order of names, ten bright ones."""
    folder.mkdir()
    for index in range(20):
        level = np.full((12, 12), index + 235 * (index >= 10), np.uint8)
        Image.fromarray(level).save(folder / f"{index:02d}.png")
    return folder


def test_of_a_folder_sorted_by_class_some_pictures_are_some_of_every_class(
    checkout, tmp_path, monkeypatch
) -> None:
    folder, decoded = write_classes(tmp_path / "sorted"), []
    as_it_is = datasets.read_as_it_is
    monkeypatch.setattr(
        datasets, "read_as_it_is", lambda path: decoded.append(path) or as_it_is(path)
    )
    some = read_folder(str(folder), "--images", 0, 10)
    assert len(decoded) == 10
    assert 0 < (some > 0.5).double().mean() < 1
    every = read_folder(str(folder), "--images", 0)
    assert torch.equal(every[:10], some)
    assert not torch.equal(read_folder(str(folder), "--images", 1, 10), some)


def test_the_largest_number_of_samples_holds_for_every_side_but_the_train_set(
    checkout, tmp_path
) -> None:
    folder = str(write_classes(tmp_path / "sorted"))
    task = score.prepare(
        Given, images=folder, reference=folder, train=folder, metrics=["fid"], max_samples=7
    )
    assert [len(real.images) for real in (task.reference, task.train)] == [7, 20]
    assert len(task.images) == 7


def test_hidden_files_and_folders_are_no_pictures(checkout, tmp_path) -> None:
    folder = write_pictures(tmp_path / ".home" / "samples", 3)
    write_pictures(folder / ".thumbnails", 2, size=(6, 6))
    (folder / "._000.png").write_text("what an archive adds")
    assert len(read_folder(str(folder), "--images", 0)) == 3


@pytest.mark.parametrize(
    ("images", "reference", "message"),
    [
        ("missing", "grey", "--images: .*missing: no such folder"),
        ("empty", "grey", r"--images: .*empty: no picture in it \(\.bmp"),
        (
            "mixed",
            "grey",
            r"(red|00.)\.png: 12x12 (RGB|grey), but (red|00.)\.png is 12x12 (RGB|grey)",
        ),
        ("red", "grey", "--images: .*red: 12x12 RGB, but the reference .*grey is 12x12 grey"),
        ("broken", "grey", "broken/picture.png: not a readable picture"),
        ("grey", "test", "test.npy: no such file; `dvc repro prepare` makes it"),
    ],
)
def test_bad_input_is_one_line(
    checkout, tmp_path, monkeypatch, images: str, reference: str, message: str
) -> None:
    write_pictures(tmp_path / "grey", 3)
    write_pictures(tmp_path / "red", 3, mode="RGB")
    (tmp_path / "empty").mkdir()
    mixed = write_pictures(tmp_path / "mixed", 2)
    (tmp_path / "red" / "000.png").rename(mixed / "red.png")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "picture.png").write_text("no picture")
    folder = reference if reference == "test" else str(tmp_path / reference)
    with pytest.raises(SystemExit, match=f"^error: .*{message}"):
        run(monkeypatch, "--images", str(tmp_path / images), "--reference", folder)


def test_an_unknown_metric_is_one_line_with_the_nearest_name(
    checkout, tmp_path, monkeypatch
) -> None:
    pictures = str(write_pictures(tmp_path / "grey", 3))
    with pytest.raises(SystemExit, match=r"^error: --metric: unknown metric 'fidd', did you"):
        run(monkeypatch, "--images", pictures, "--reference", pictures, "--metric", "fidd")


class Means:
    """Three features in the place of the Inception network, whose weights nobody has here."""

    name, sha256, unit = "inception", "c" * 64, "raw"

    def features(self, x):
        return torch.stack([x.mean((1, 2, 3)), x.amax((1, 2, 3)), x[:, 0, 0, 0]], 1)


def test_published_statistics_give_the_distance_of_their_moments(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    pictures = str(write_pictures(tmp_path / "samples", 30))
    one = Means().features(read_folder(pictures, "--images", 0)).double().numpy()
    other = np.random.default_rng(0).normal(size=(50, 3))
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=other.mean(0), sigma=np.cov(other, rowvar=False))
    monkeypatch.setattr(score, "open_inception", lambda settings: Means())
    out = tmp_path / "scores.json"
    run(monkeypatch, "--images", pictures, "--reference", str(path), "--out", str(out))
    (record,) = json.loads(out.read_text())
    expected = sum(frechet_parts(torch.from_numpy(other), torch.from_numpy(one)))
    assert record["value"] == pytest.approx(expected, rel=1e-9)
    assert (record["name"], record["n_real"], record["n_fake"]) == ("fid_inception", None, 30)
    assert record["params"]["rank_deficient"] is False
    alone = frechet_floor(torch.from_numpy(np.cov(other, rowvar=False)), 30, 10**9)
    assert record["params"]["iid_floor"] == pytest.approx(alone, rel=1e-6)
    assert "30 images against statistics; reference statistics.npz" in capsys.readouterr().out


def test_as_many_pictures_as_asked_for_are_compared_with_statistics_and_few_are_flagged(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    pictures = str(write_pictures(tmp_path / "samples", 30))
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.eye(3))
    monkeypatch.setattr(score, "open_inception", lambda settings: Means())
    run(monkeypatch, "--images", pictures, "--reference", str(path), "--max-samples", "3")
    printed = capsys.readouterr().out
    assert "3 images against statistics" in printed
    assert "fewer images than features: mostly bias" in printed


def test_statistics_that_no_data_has_are_one_line(checkout, tmp_path, monkeypatch) -> None:
    pictures = str(write_pictures(tmp_path / "samples", 30))
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.diag([1.0, 1.0, -1.0]))
    monkeypatch.setattr(score, "open_inception", lambda settings: Means())
    with pytest.raises(SystemExit, match=r"^error: --reference: .*npz: .* a negative eigenvalue"):
        run(monkeypatch, "--images", pictures, "--reference", str(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ({"mu": np.zeros(3)}, "sigma"),
        ({"mu": np.zeros(3), "sigma": np.eye(3)}, "need the Inception network's weights"),
    ],
)
def test_statistics_that_cannot_be_used_are_one_line(
    checkout, tmp_path, monkeypatch, content, message: str
) -> None:
    path = tmp_path / "statistics.npz"
    if content is not None:
        np.savez(path, **content)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "nothing"))
    pictures = str(write_pictures(tmp_path / "samples", 3))
    with pytest.raises(SystemExit, match=f"^error: --reference: .*{message}"):
        run(monkeypatch, "--images", pictures, "--reference", str(path))


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_equal_pictures_give_values_or_reasons(
    checkout, tmp_path, monkeypatch, capsys, count: int
) -> None:
    pictures = str(write_pictures(tmp_path / "few", count))
    command = ["--images", pictures, "--reference", pictures, "--metric", "precision_recall"]
    run(monkeypatch, *command, "c2st_pixel", "memorisation_pixel")
    printed = capsys.readouterr().out
    assert "nan" not in printed.lower().replace("nn", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["vae", "--images", "x"],
        ["--images", "x", "--max-samples", "1"],
        ["vae", "--metric", "fid"],
        ["vae", "--out", "x.json"],
        ["--images", "x", "--reference", "x.npz", "--dry-run"],
    ],
)
def test_wrong_usage_is_explained(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        evaluate.parse(arguments)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_the_classifier_of_the_pipeline_judges_no_foreign_data(
    checkout, tmp_path, monkeypatch
) -> None:
    """Even of its own shape: it was trained on other classes. The Inception network stays."""
    prepare(labelled=True)
    features.make(SETTINGS)
    monkeypatch.setattr(score, "open_inception", lambda settings: Means())
    photos = str(write_pictures(tmp_path / "photos", 6))
    settings = Given()
    settings.features = SETTINGS.model_copy(update={"extractors": ["classifier", "inception"]})
    task = score.prepare(
        settings, images=photos, reference=photos, train="train", metrics=["fid"], max_samples=30
    )
    classifier, inception = score.score(task)
    assert (classifier.name, classifier.reason) == ("fid_classifier", "classifier_of_other_data")
    assert (inception.name, inception.reason) == ("fid_inception", None)
    assert len(task.train.images) > 0


def test_another_shape_than_the_references_is_refused(checkout, tmp_path) -> None:
    prepare(labelled=True)
    features.make(SETTINGS)
    large = str(write_pictures(tmp_path / "large", 6, size=(20, 20)))
    with pytest.raises(UserError, match="20x20 grey, but the reference test is 12x12 grey"):
        score.prepare(
            Given, images=large, reference="test", train=None, metrics=["fid"], max_samples=30
        )
    assert paths.FEATURES.is_dir()


def test_pictures_that_are_too_small_for_a_judge_are_null_with_the_reason(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    (tmp_path / "tiny").mkdir()
    for index in range(6):
        Image.fromarray(np.full((3, 3), index, np.uint8)).save(tmp_path / "tiny" / f"{index}.png")
    tiny = str(tmp_path / "tiny")
    run(monkeypatch, "--images", tiny, "--reference", tiny, "--metric", "c2st_pixel")
    assert "too small for the network that judges them" in capsys.readouterr().out


def test_a_folder_to_write_to_is_refused_before_anything_is_scored(
    checkout, tmp_path, monkeypatch
) -> None:
    pictures = str(write_pictures(tmp_path / "few", 3))
    monkeypatch.setattr(score, "score", None)
    command = ["--images", pictures, "--reference", pictures, "--out"]
    with pytest.raises(SystemExit, match=r"^error: --out: .*: a folder; name a file"):
        run(monkeypatch, *command, str(tmp_path))
    (tmp_path / "file.txt").touch()
    with pytest.raises(SystemExit, match=r"^error: --out: .*file.txt is a file, no folder"):
        run(monkeypatch, *command, str(tmp_path / "file.txt" / "new" / "scores.json"))


def test_metrics_that_pictures_alone_cannot_have_are_one_line(
    checkout, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(Given, "evaluate", Given.evaluate.model_copy(update={"metrics": ["mse"]}))
    pictures = str(write_pictures(tmp_path / "few", 3))
    with pytest.raises(SystemExit, match=r"^error: evaluate.metrics: none .*: --metric"):
        run(monkeypatch, "--images", pictures, "--reference", pictures)

import json
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from evaluation.measuring.moments import covariance, frechet_floor, frechet_parts
from pipelines import features, score
from pipelines.comparing import folder_scores
from pipelines.data.extractors import load_extracted
from pipelines.data.picture_folder import read_folder
from pipelines.settings import files, params, paths
from tests.pipelines.pictures_on_disk import Means, Settings, write_pictures
from tests.pipelines.test_features import SETTINGS, prepare


def run(monkeypatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["score", *arguments])
    monkeypatch.setattr(params, "load", Settings)
    score.main()


def test_a_folder_is_scored_against_a_prepared_split(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    prepare(labelled=True)
    features.make(SETTINGS)
    pictures = write_pictures(tmp_path / "samples", 40)
    out = tmp_path / "out" / "scores.json"
    run(monkeypatch, str(pictures), "--out", str(out))
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
    command = [str(pictures), "--metric", "fid", "kid", "--out", str(out)]
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
    run(monkeypatch, str(pictures), "--metric", "fid", "--out", str(out))
    (record,) = json.loads(out.read_text())
    extracted = load_extracted(SETTINGS)
    of_test = extracted.features["test"][extracted.extractors[0].sha256][:40]
    floor = frechet_floor(covariance(of_test), 40, 40)
    assert record["params"]["iid_floor"] == pytest.approx(floor, rel=1e-6)
    printed = capsys.readouterr().out
    assert f"by theory {floor:.4f}" in printed
    assert "by theory: expected value of the same number of real images" in printed


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
        run(monkeypatch, str(tmp_path / name), "--metric", "fid", "--out", str(out))
        values[name] = json.loads(out.read_text())[0]["value"]
    assert values["good"] < values["bad"] / 2


def test_two_folders_need_no_pipeline(checkout, tmp_path, monkeypatch, capsys) -> None:
    one = write_pictures(tmp_path / "samples" / "a", 20).parent  # below a class folder, too
    other = write_pictures(tmp_path / "photos", 25, seed=1)
    command = [str(one), "--reference", str(other), "--metric", "nearest_neighbour"]
    run(monkeypatch, *command, "fid")
    printed = capsys.readouterr().out
    assert "the pipeline's classifier is trained on the prepared data only" in printed
    assert "20 images on each side; reference photos folder" in printed


def test_a_dry_run_lists_what_would_be_computed_and_computes_nothing(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    pictures = write_pictures(tmp_path / "samples", 5)
    out = tmp_path / "scores.json"
    monkeypatch.setattr(score, "score", None)
    folder = str(pictures)
    run(monkeypatch, folder, "--reference", folder, "--dry-run", "--out", str(out))
    printed = capsys.readouterr().out
    assert "fid_classifier" in printed
    assert "null: classifier of other data" in printed
    assert not out.exists()


@pytest.mark.parametrize(
    ("images", "reference", "message"),
    [
        ("missing", "grey", "DIR: .*missing: no such folder"),
        ("empty", "grey", r"DIR: .*empty: no picture in it \(\.bmp"),
        (
            "mixed",
            "grey",
            r"(red|00.)\.png: 12x12 (RGB|grey), but (red|00.)\.png is 12x12 (RGB|grey)",
        ),
        ("red", "grey", "DIR: .*red: 12x12 RGB, but the reference .*grey is 12x12 grey"),
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
        run(monkeypatch, str(tmp_path / images), "--reference", folder)


def test_an_unknown_metric_is_one_line_with_the_nearest_name(
    checkout, tmp_path, monkeypatch
) -> None:
    pictures = str(write_pictures(tmp_path / "grey", 3))
    with pytest.raises(SystemExit, match=r"^error: --metric: unknown metric 'fidd', did you"):
        run(monkeypatch, pictures, "--reference", pictures, "--metric", "fidd")


def test_published_statistics_give_the_distance_of_their_moments(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    pictures = str(write_pictures(tmp_path / "samples", 30))
    one = Means().features(read_folder(pictures, "DIR", 0)).double().numpy()
    other = np.random.default_rng(0).normal(size=(50, 3))
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=other.mean(0), sigma=np.cov(other, rowvar=False))
    monkeypatch.setattr(folder_scores, "open_inception", lambda settings: Means())
    out = tmp_path / "scores.json"
    run(monkeypatch, pictures, "--reference", str(path), "--out", str(out))
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
    monkeypatch.setattr(folder_scores, "open_inception", lambda settings: Means())
    run(monkeypatch, pictures, "--reference", str(path), "--max-samples", "3")
    printed = capsys.readouterr().out
    assert "3 images against statistics" in printed
    assert "fewer images than features: the value is mostly bias" in printed


def test_statistics_that_no_data_has_are_one_line(checkout, tmp_path, monkeypatch) -> None:
    pictures = str(write_pictures(tmp_path / "samples", 30))
    path = tmp_path / "statistics.npz"
    np.savez(path, mu=np.zeros(3), sigma=np.diag([1.0, 1.0, -1.0]))
    monkeypatch.setattr(folder_scores, "open_inception", lambda settings: Means())
    with pytest.raises(SystemExit, match=r"^error: --reference: .*npz: .* a negative eigenvalue"):
        run(monkeypatch, pictures, "--reference", str(path))


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
        run(monkeypatch, pictures, "--reference", str(path))


@pytest.mark.parametrize("count", [1, 2])
def test_few_or_equal_pictures_give_values_or_reasons(
    checkout, tmp_path, monkeypatch, capsys, count: int
) -> None:
    pictures = str(write_pictures(tmp_path / "few", count))
    command = [pictures, "--reference", pictures, "--metric", "precision_recall"]
    run(monkeypatch, *command, "c2st_pixel", "memorisation_pixel")
    printed = capsys.readouterr().out
    assert "nan" not in printed.lower().replace("nn", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["x", "--max-samples", "1"],
        ["x", "--reference", "x.npz", "--dry-run"],
        ["x", "--reference", "x.npz", "--metric", "fid"],
        ["x", "--reference", "x.npz", "--train", "x"],
    ],
)
def test_wrong_usage_is_explained(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        score.parse(arguments)
    assert stopped.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_pictures_that_are_too_small_for_a_judge_are_null_with_the_reason(
    checkout, tmp_path, monkeypatch, capsys
) -> None:
    (tmp_path / "tiny").mkdir()
    for index in range(6):
        Image.fromarray(np.full((3, 3), index, np.uint8)).save(tmp_path / "tiny" / f"{index}.png")
    tiny = str(tmp_path / "tiny")
    run(monkeypatch, tiny, "--reference", tiny, "--metric", "c2st_pixel")
    assert "too small for the judge" in capsys.readouterr().out


def test_a_folder_to_write_to_is_refused_before_anything_is_scored(
    checkout, tmp_path, monkeypatch
) -> None:
    pictures = str(write_pictures(tmp_path / "few", 3))
    monkeypatch.setattr(score, "score", None)
    command = [pictures, "--reference", pictures, "--out"]
    with pytest.raises(SystemExit, match=r"^error: --out: .*: a folder; name a file"):
        run(monkeypatch, *command, str(tmp_path))
    (tmp_path / "file.txt").touch()
    with pytest.raises(SystemExit, match=r"^error: --out: .*file.txt is a file, not a folder"):
        run(monkeypatch, *command, str(tmp_path / "file.txt" / "new" / "scores.json"))


def test_metrics_that_pictures_alone_cannot_have_are_one_line(
    checkout, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr(
        Settings, "evaluate", Settings.evaluate.model_copy(update={"metrics": ["mse"]})
    )
    pictures = str(write_pictures(tmp_path / "few", 3))
    with pytest.raises(SystemExit, match=r"^error: evaluate.metrics: every metric needs a model;"):
        run(monkeypatch, pictures, "--reference", pictures)


def test_the_help_says_the_range_and_the_default_of_every_option(capsys) -> None:
    with pytest.raises(SystemExit):
        score.parse(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert text.startswith("usage: genmodels score ")
    for words in ("(default: test)", "2 or more (default: 10000)", "(default: none)"):
        assert words in text
    assert "for the memorisation metrics: a folder or a prepared split (default: train if" in text

"""The sections of the report, and which of them are left out."""

import csv
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from evaluation.comparing import value_text
from evaluation.comparing.leaderboard import leaderboard
from pipelines import report
from pipelines.reporting import panels, pictures
from pipelines.settings import paths
from tests.evaluation.comparing.test_leaderboard import make_row
from tests.pipelines.report_project import (
    CHECKOUT,
    MODELS,
    card,
    cost_of,
    gallery,
    label_of,
    mean_of,
    measured,
    run_stage,
    write_json,
)


def test_latent_pictures_stand_for_the_models_that_have_them(page: str) -> None:
    assert page.count('href="#traversals"') == page.count('href="#rates"') == 1
    for key, names in (
        ("traversals", {"vae", "beta_vae"}),
        ("rates", {"vae", "beta_vae"}),
        ("plane", {"beta_vae"}),
    ):
        shown = re.findall(r'aria-hidden="true">.</span>([\w<>]+?)</span>', gallery(page, key))
        assert {name.replace("<wbr>", "") for name in shown} == names
    assert "vae: 3.2 nats, 1 of 2 active" in gallery(page, "rates")
    assert gallery(page, "rates").count("<svg") == 2
    plane = gallery(page, "plane")
    assert (plane.count("<img"), plane.count("<svg")) == (1, 1)
    assert "beta_vae: codes of 2 test images" in plane


def test_models_without_latents_of_their_own_make_no_section(before_report: Path) -> None:
    for path in before_report.glob("outputs/evaluate/*/*/*"):
        if path.stem in ("traversals", "manifold", "latents"):
            path.unlink()
    report.main()
    page = paths.REPORT.read_text("utf-8")
    assert gallery(page, "samples")
    for key in ("traversals", "rates", "plane"):
        assert f'id="{key}"' not in page
        assert f'href="#{key}"' not in page


def test_classes_are_shown_of_the_models_that_have_the_picture(before_report: Path) -> None:
    report.main()
    assert 'id="classes"' not in paths.REPORT.read_text("utf-8")
    folder = paths.EVALUATE / "gan_r1" / "0"
    shutil.copy(folder / "samples.png", folder / "classes.png")
    report.main()
    _, _, section = paths.REPORT.read_text("utf-8").partition('<section id="classes">')
    assert section.partition("</section>")[0].count("<img") == 1


def test_studies_that_were_run_are_shown(before_report: Path, page: str) -> None:
    assert 'id="studies"' not in page
    (before_report / "reports/studies").mkdir()
    shipped = CHECKOUT / "reports/studies/vae_beta.json"
    shutil.copy(shipped, before_report / "reports/studies")
    run_stage(before_report)
    shown = (before_report / "reports/index.html").read_text("utf-8")
    study = json.loads(shipped.read_text())
    assert 'id="studies"' in shown
    assert study["verdict"] in shown
    assert [picture["uri"] in shown for picture in study["pictures"]] == [True] * 6


def test_reference_rows_are_shown_with_what_they_are(page: str) -> None:
    assert 'alt="blur"' in page
    assert "real images under a 3x3 binomial blur" in page


def test_the_rate_distortion_plane_has_every_model_that_has_a_rate(page: str) -> None:
    label = label_of(page, "Rate and distortion")
    for name in ("vae", "beta_vae"):
        rate, distortion = mean_of("rate", name), mean_of("distortion", name)
        assert f"{name} {rate:.3g}, {distortion:.3g}" in label
    assert "gan" not in label
    assert "ELBO \N{MINUS SIGN}" in gallery(page, "tradeoffs")


def test_models_with_class_labels_have_a_plane_of_their_own() -> None:
    values = {"rate": [20.0], "distortion": [80.0], "mse": [0.1]}
    directions = {"rate": None, "distortion": False, "mse": False}
    rows = [
        replace(
            make_row(name, values, directions, params={"observation": observation}),
            cost={"multiply_adds_run": 1, "num_parameters": 1},
        )
        for name, observation in (("plain", "gaussian"), ("by_class", "gaussian_given_class"))
    ]
    board = leaderboard(rows, [])
    ranking = next(column.key for column in board.columns if column.metric == "mse")
    tradeoffs = panels.panels(board, ranking, [], pictures.looks(board))["tradeoffs"]
    for svg, title, (name, other) in zip(
        tradeoffs["rate_distortion"],
        ("gaussian", "gaussian_given_class"),
        (("plain", "by_class"), ("by_class", "plain")),
        strict=True,
    ):
        label = label_of(svg, f"Rate and distortion, {title}")
        assert f"{name} 20, 80" in label
        assert other not in label


def test_quality_stands_against_reconstruction_and_the_cost_of_the_whole_training(
    page: str,
) -> None:
    label = label_of(page, "fid_classifier, mse and training")
    assert f"vae {mean_of('mse', 'vae'):.3g}, {mean_of('fid_classifier', 'vae'):.3g}" in label
    assert f"gan_r1 {mean_of('fid_classifier', 'gan_r1'):.3g}" in label
    spent = label_of(page, "fid_classifier and training")
    for name in MODELS:
        assert f"{name} {cost_of(name):.3g}, {mean_of('fid_classifier', name):.3g}" in spent
    with paths.LEADERBOARD.open(newline="") as file:
        costs = {row["model"]: row["multiply_adds_run"] for row in csv.DictReader(file)}
    assert costs["gan"] == str(cost_of("gan"))


def test_the_discriminators_values_are_those_of_the_records(page: str) -> None:
    label = label_of(page, "Accuracy")
    for name in ("gan", "gan_r1"):
        train, test, fake = (
            mean_of(f"disc_acc_{key}", name) for key in ("real_train", "real_test", "fake")
        )
        expected = f"{name} real, train split {train:.3g}, real, test split {test:.3g}"
        assert f"{expected}, generated {fake:.3g}" in label
    assert f"gan gap {mean_of('disc_gap', 'gan'):.3g}" in label_of(page, "Overfitting gap")
    assert 'aria-label="Calibration' not in page  # was not measured here


def test_panels_of_what_nobody_measured_are_not_there(before_report: Path) -> None:
    raw = json.loads(paths.PARAMS.read_text())
    write_json(paths.PARAMS, {**raw, "selected": {"vae": "vae", "beta_vae": "vae"}})
    report.main()
    page = paths.REPORT.read_text("utf-8")
    for section in ("judges", "memorisation"):
        assert f'id="{section}"' not in page
        assert f'href="#{section}"' not in page
    assert 'id="tradeoffs"' in page
    write_json(paths.PARAMS, {**raw, "selected": {"gan": "gan", "gan_r1": "gan"}})
    report.main()
    page = paths.REPORT.read_text("utf-8")
    assert 'id="judges"' in page
    assert "Rate and distortion" not in page
    assert "mse and training" not in page


@pytest.mark.parametrize("sets", [1, 3])
def test_a_calibrated_discriminator_is_on_the_diagonal(before_report: Path, sets: int) -> None:
    observed = {"reliability": [[0.2, 0.3, 600], [0.9, 0.8, 400]]}
    params = observed if sets == 1 else {"sample_sets": [0.1] * sets, "first_set": observed}
    measured("gan", {"disc_ece": (0.1, params)})
    measured("gan_r1", {"disc_ece": (0.2, {})})  # of a version that kept no bins
    report.main()
    page = paths.REPORT.read_text("utf-8")
    assert "gan error 0.1" in label_of(page, "Calibration")
    said = label_of(page, "Reliability")
    assert "gan 0.3 real at 0.2, 0.8 real at 0.9" in said
    assert "gan_r1" not in said


def test_copies_are_named_in_the_panel_and_on_the_card(before_report: Path) -> None:
    for name in MODELS:
        values = {"pixel": -9.0, "classifier": -8.0 if name == "vae" else 4.0}
        values_of = {f"ct_{space}": (value, {}) for space, value in values.items()}
        values_of |= {f"authpct_{space}": (0.4, {"held_out": 0.59}) for space in values}
        measured(name, values_of)
    report.main()
    page = paths.REPORT.read_text("utf-8")
    assert "vae -9, -8" in label_of(page, "C_T in pixels and in classifier features")
    section = gallery(page, "memorisation")
    assert "vae pixels 0.4, classifier features 0.4" in label_of(section, "Authentic images")
    assert "held-out images, pixels" in section
    copies = "The samples are copies of training images, by ct_pixel and ct_classifier."
    assert copies in card(page, "vae")
    assert copies not in card(page, "gan")
    assert "(ct_pixel below −3), but not in every space" in card(page, "gan")


def test_every_model_has_a_card_with_its_values_limits_and_commands(page: str) -> None:
    assert re.findall(r'id="card-(\w+)"', page) == ["gan_r1", "gan", "vae", "beta_vae"]
    for name in MODELS:
        text = card(page, name)
        assert f"dvc repro evaluate@{name}" in text
        assert f"genmodels sample {name} " in text
        assert f'href="#card-{name}"' in page
        assert f"{value_text.count(cost_of(name))} multiply-adds a seed" in text
    vae, gan = card(page, "vae"), card(page, "gan")
    assert "encodes images and reconstructs them" in vae
    assert "distinguishes generated images from real ones" in gan
    assert "8.67 ± 0.37" in vae
    assert "3 of 4" in vae
    assert "Some seeds have no value: disc_acc_fake." in gan
    assert "deviations above test images" in gan
    assert "deviations above test images" not in card(page, "gan_r1")  # 0.055 is little
    assert "(the model cannot do what this metric needs)" in vae
    assert "Differences in fid_classifier are not testable with 2 seeds." in vae


def test_the_gates_stand_in_the_page_with_what_is_broken(page: str) -> None:
    section = page.split('<section id="gates">')[1].split("</section>")[0]
    lines = re.findall(r"<tr><th.*?</tr>", section)[1:]
    texts = [" ".join(re.sub(r"<[^>]+>", " ", line).split()) for line in lines]
    assert len(texts) == 5
    assert texts[0] == "fid_ classifier vae worst 8.93 ≤ 15 passed"
    assert texts[1] == "fid_ classifier beta_vae worst 15.1 ≤ 15 BROKEN"
    reason = "the model cannot do what this metric needs"
    assert texts[4] == f"elbo champion: gan_r1 mean – ≥ -110 BROKEN {reason}"

"""Stage `report`: two VAEs and two GANs with two seeds, as a page, a table and a CSV file."""

import base64
import csv
import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from evaluation.comparing import leaderboard, value_text
from pipelines import report
from pipelines.reporting import inputs
from pipelines.settings import paths
from tests.pipelines.report_project import (
    CHECKOUT,
    MODELS,
    REFERENCES,
    VALUES,
    make_record,
    report_settings,
    run_stage,
    write_json,
)

LOADING = {"src", "href", "srcset", "data", "poster", "action", "xlink:href"}


class Places(HTMLParser):
    """Collects what a page would load and the ids it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in LOADING:
                self.loaded.append(value or "")
            elif name == "id":
                self.ids.append(value or "")


def markdown_rows(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def as_number(text: str) -> float:
    return float(text.replace(value_text.MINUS, "-").replace(",", ""))


def test_two_processes_write_the_same_bytes(before_report: Path, report_made: Path) -> None:
    run_stage(before_report)
    for name in ("index.html", "comparison.md", "leaderboard.csv"):
        assert (before_report / "reports" / name).read_bytes() == (
            report_made / "reports" / name
        ).read_bytes()


def test_nothing_in_the_page_is_loaded_from_elsewhere(page: str) -> None:
    places = Places(page)
    assert any(place.startswith("data:image/png;base64,") for place in places.loaded)
    anchors = {f"#{name}" for name in places.ids}
    for place in places.loaded:
        assert place.startswith("data:") or place in anchors, place
    assert not re.findall(r"@import|\bfetch\(|XMLHttpRequest|WebSocket|new Worker|import\(", page)
    assert all(inside.startswith("#") for inside in re.findall(r"url\(['\"]?([^)]*)\)", page))


def test_no_id_of_the_page_stands_for_two_different_things(page: str) -> None:
    shapes: dict[str, set[str]] = {}
    drawn = r'<(?:path|clipPath) id="([^"]+)"(.*?)(?=<(?:path|clipPath|/defs))'
    for name, rest in re.findall(drawn, page, re.DOTALL):
        shapes.setdefault(name, set()).add(rest.split(">")[0])
    assert shapes
    assert all(len(shape) == 1 for shape in shapes.values())
    sections = [name for name in Places(page).ids if name not in shapes]
    assert len(sections) == len(set(sections))


def test_a_name_with_markup_is_shown_as_text(before_report: Path) -> None:
    settings = report_settings()
    found = inputs.read(settings.selected, settings.seeds)
    bad = "<b>&x"
    first = found.models[0]
    row = leaderboard.Row(bad, **{k: v for k, v in vars(first.row).items() if k != "name"})
    found.models[0] = replace(first, row=row)
    texts = report.build(settings, found)
    assert bad not in texts[paths.REPORT]
    assert "&lt;b&gt;&amp;x" in texts[paths.REPORT]
    assert f"`{bad}`" in texts[paths.COMPARISON]


def test_pictures_of_the_page_have_one_pixel_a_pixel(page: str) -> None:
    found = re.search(r'src="data:image/png;base64,([^"]+)" alt="Samples of vae"', page)
    assert found
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
        assert picture.size == (8 * 29 - 1, 8 * 29 - 1)


def test_page_csv_and_markdown_agree_to_the_printed_precision(page: str) -> None:
    with paths.LEADERBOARD.open(newline="") as file:
        table = {row["model"]: row for row in csv.DictReader(file)}
    rows = markdown_rows(paths.COMPARISON.read_text("utf-8"))
    compared = 0
    header: list[str] = []
    for cells in rows:
        if cells[0] == "model":
            header = [cell.split(" ")[0] for cell in cells]
        exact = table.get(cells[0].strip("`"))
        if exact is None:
            continue
        for name, cell in zip(header, cells, strict=True):
            if f"{name}_mean" not in exact or cell.startswith(value_text.MISSING):
                continue
            shown, _, sd = re.sub(r"\(\w\)", "", cell.replace("*", "")).strip().partition(" ± ")
            places = len(shown.partition(".")[2])
            mean = float(exact[f"{name}_mean"])
            assert as_number(shown) == pytest.approx(mean, abs=0.5 * 10**-places + 1e-12)
            assert bool(sd) == bool(exact[f"{name}_std"])
            if sd:
                spread = float(exact[f"{name}_std"])
                assert as_number(sd) == pytest.approx(spread, abs=0.5 * 10**-places + 1e-12)
            assert f">{shown}<" in page
            compared += 1
    # A value a row of the short table, then all; one of the reference rows has the same name.
    assert compared == (4 + 1) + 4 * 3 + 2 * 4 + 2 * 5 + 3


def test_every_model_row_shows_its_number_of_seeds(page: str) -> None:
    assert page.count('<td data-v="2">2</td>') == 4 + 2 + 2 + 1  # three tables, and one rank 2
    with paths.LEADERBOARD.open(newline="") as file:
        ns = {row["model"]: row["disc_acc_fake_n"] for row in csv.DictReader(file)}
    assert ns["gan"] == "1"
    assert ns["gan_r1"] == "2"


def test_a_failed_seed_is_told_in_a_footnote(page: str) -> None:
    assert "1 of 2 seeds: the discriminator gives scores that are not finite" in page


def test_csv_has_full_precision_and_whole_counts(page: str) -> None:
    with paths.LEADERBOARD.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == [*MODELS, *REFERENCES]
    values = torch.tensor(VALUES["fid_classifier"]["vae"], dtype=torch.float64)
    assert float(rows[0]["fid_classifier_mean"]) == values.mean().item()
    assert float(rows[0]["fid_classifier_std"]) == values.std().item()
    assert rows[0]["num_parameters"] == "412345"


def test_models_stand_from_the_best_to_the_worst(page: str) -> None:
    order = re.findall(r'<th class="left" scope="row" data-v="(\w+)">', page)
    shown = [name for name in REFERENCES if name != "prototypes"]  # it has no value
    assert order[:8] == ["gan_r1", "gan", "vae", "beta_vae", *shown]


def test_a_leftover_folder_of_another_model_is_not_shown(before_report: Path) -> None:
    write_json(before_report / "outputs/evaluate/old/records.json", {"seeds": {}})
    write_json(before_report / "reports/metrics/old.json", {})
    report.main()
    assert '"old"' not in paths.REPORT.read_text("utf-8")


def test_data_without_labels_gives_a_report_ranked_by_another_value(before_report: Path) -> None:
    write_json(
        paths.FEATURES / "card.json",
        {"classifier": {"extractor": None, "reason": "the data has no labels", "warning": None}},
    )
    null = {name: make_record(name, None, 0, "no_extractor") for name in ("fid_classifier",)}
    write_json(
        paths.REFERENCES / "rows.json",
        {
            "rows": {"held_out": {"records": null, "reason": None}},
            "expected_floor": {"fid_classifier": None},
            "num": 1000,
        },
    )
    for name in MODELS:
        records = json.loads((paths.EVALUATE / name / "records.json").read_text())
        summary = json.loads((paths.METRICS / f"{name}.json").read_text())
        for key in ("fid_classifier", "kid_classifier", "is_classifier"):
            summary["metrics"][key] = {"mean": None, "std": None, "n": 0, "reason": "no_extractor"}
            for found in records["seeds"].values():
                for record in found:
                    if record["name"] == key:
                        record |= {"value": None, "reason": "no_extractor", "extractor": None}
        write_json(paths.EVALUATE / name / "records.json", records)
        write_json(paths.METRICS / f"{name}.json", summary)
    raw = json.loads(paths.PARAMS.read_text())
    write_json(paths.PARAMS, {**raw, "report": {"rank_by": "mse", "gates": []}})
    report.main()
    page = paths.REPORT.read_text("utf-8")
    assert "there is no feature extractor for this data set" in page
    assert "vae has the lowest mse" in page


def test_a_weak_extractor_is_told_beside_the_leaderboard(before_report: Path) -> None:
    cards = json.loads((paths.FEATURES / "card.json").read_text())
    cards["classifier"]["warning"] = "test accuracy 0.700 <0.97"
    write_json(paths.FEATURES / "card.json", cards)
    report.main()
    assert "test accuracy 0.700 &lt;0.97" in paths.REPORT.read_text("utf-8")
    assert r"test accuracy 0.700 \<0.97" in paths.COMPARISON.read_text("utf-8")


def test_the_page_is_small_enough_to_send(page: str) -> None:
    assert len(page.encode()) < 3_000_000


def test_the_stage_starts_without_what_only_other_stages_need() -> None:
    # Together they would double the start; a bound in seconds would judge the machine.
    code = "import pipelines.report, sys; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    loaded = set(run.stdout.split())
    assert "matplotlib" in loaded
    assert not loaded & {"dvc", "mlflow", "optuna", "sklearn", "torchmetrics", "torchvision"}


def test_a_metric_that_misorders_the_reference_rows_is_marked(before_report: Path) -> None:
    path = paths.REFERENCES / "rows.json"
    found = json.loads(path.read_text())
    found["rows"]["blur"]["records"]["kid_classifier"]["value"] = -3.0
    write_json(path, found)
    report.main()
    complaint = "blur no worse than held-out real images"
    assert complaint in paths.REPORT.read_text("utf-8")
    assert f"`kid_classifier` misorders reference rows: {complaint}" in (
        paths.COMPARISON.read_text("utf-8")
    )


def test_values_under_other_trainings_of_the_extractor_tell_how_stable_the_ranking_is(
    before_report: Path,
) -> None:
    for name in MODELS:
        records = json.loads((paths.EVALUATE / name / "records.json").read_text())
        for found in records["seeds"].values():
            for record in found:
                if record["name"] == "fid_classifier":
                    # The first replica agrees; the second turns the order round.
                    record["params"]["replicas"] = [2 * record["value"], -record["value"]]
        write_json(paths.EVALUATE / name / "records.json", records)
    report.main()
    assert "trained with other seeds: at least −1.000" in paths.REPORT.read_text("utf-8")


def test_the_first_screen_names_the_best_and_shows_its_samples(page: str) -> None:
    screen = page.partition("<nav")[0]
    assert "gan_r1 has the lowest fid_classifier" in screen
    assert screen.index('alt="Samples of gan_r1"') < screen.index('alt="Samples of vae"')

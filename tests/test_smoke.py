"""All stages on tiny real data in a clone with real DVC and MLflow, then typical changes by users.

All tests share one clone, and each leaves it reproduced.
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys

import pytest

from tests.clone import TRAIN_ONE_STEP, Clone, wait_for

pytestmark = pytest.mark.slow

ALL = [
    "resolve",
    "prepare",
    "features",
    "references",
    "train@vae",
    "train@gan_r1",
    "evaluate@vae",
    "evaluate@gan_r1",
]
AFTER = {"report", "publish"}
REPORTS = ("index.html", "leaderboard.csv", "comparison.md", "tracking.json")


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    clone = Clone(tmp_path_factory.mktemp("clone"), whole=True)
    ran = clone.repro()
    assert set(ran) == {*ALL, *AFTER}
    assert ran[-2:] == ["report", "publish"]
    return clone


def query(clone, sql):
    with sqlite3.connect(clone.folder / "mlflow.db") as connection:
        rows = connection.execute(sql).fetchall()
    connection.close()
    return rows


def runs(clone):
    """Name, status and number of points of each run."""
    return sorted(
        query(
            clone,
            "select runs.name, runs.status, count(metrics.key) from runs "
            "left join metrics using (run_uuid) group by run_uuid",
        )
    )


def test_each_stage_writes_what_people_look_at(clone):
    for model in ("vae", "gan_r1"):
        summary = json.loads((clone.folder / f"reports/metrics/{model}.json").read_text())
        assert summary["seeds"] == [0, 1]
        assert summary["metrics"]["fid_classifier"]["n"] == 2
        assert summary["cost"]["multiply_adds_train"] > 0
        for seed in ("0", "1"):
            folder = clone.folder / "outputs/evaluate" / model / seed
            found = {p.name for p in folder.iterdir()}
            expected = {"samples.png", "nearest.png", "interpolations.png", "training"}
            encoded = {"reconstructions.png", "traversals.png", "latents.json"}
            assert found == expected | (encoded if model == "vae" else set())
            assert len(list((folder / "training").iterdir())) == 2
    vae, gan = (
        json.loads((clone.folder / f"reports/metrics/{model}.json").read_text())["metrics"]
        for model in ("vae", "gan_r1")
    )
    assert vae["elbo"]["n"] == 2
    assert vae["disc_acc"] == {"mean": None, "std": None, "n": 0, "reason": "not_supported"}
    assert gan["disc_acc"]["n"] == 2
    assert gan["mse"]["reason"] == "not_supported"


def test_a_second_repro_runs_nothing(clone):
    assert clone.repro() == []
    assert "up to date" in clone.dvc("status", "dvc.yaml")  # the studies are not run


def test_one_finished_run_per_model_and_seed_without_duplicated_points(clone):
    names = [name.rsplit("-", 1)[0] for name, _, _ in runs(clone)]
    assert names == ["gan_r1-s0", "gan_r1-s1", "report", "vae-s0", "vae-s1"]
    assert {status for _, status, _ in runs(clone)} == {"FINISHED"}
    doubled = query(
        clone, "select count(*) c from metrics group by run_uuid, key, step having c > 1"
    )
    assert doubled == []


def test_each_run_keeps_the_pictures_of_its_training(clone):
    pictures = [
        path.name for path in clone.folder.glob("mlartifacts/pipeline/*/artifacts/images/*")
    ]
    assert len([name for name in pictures if name.startswith("samples+step+12+")]) >= 4
    assert len([name for name in pictures if name.startswith("samples+step+6+")]) >= 4


def test_no_out_names_a_run_a_place_or_a_host(clone):
    host = os.uname().nodename
    # A host called "vm" would be found in any compressed file.
    needles = [str(clone.folder)] + [host] * (len(host) > 5)
    needles += [row[0] for row in query(clone, "select run_uuid from runs")]
    for name in clone.outs():
        content = (clone.folder / name).read_bytes()
        for needle in needles:
            assert needle.encode() not in content, f"{name} holds {needle}"


def test_a_changed_beta_runs_that_model_only_and_changing_it_back_runs_nothing_anew(clone):
    before = clone.outs()
    own = clone.settings["models"]["vae"]["beta"]
    clone.settings["models"]["vae"]["beta"] = 2 * own
    clone.write_params()
    assert set(clone.repro()) == {"resolve", "train@vae", "evaluate@vae", *AFTER}
    assert clone.outs() != before
    clone.settings["models"]["vae"]["beta"] = own
    clone.write_params()
    printed = clone.dvc("repro")
    assert "Stage 'train@vae' is cached - skipping run" in printed
    assert clone.outs() == before
    # Both betas are in the store: the second one's curve came from the run cache's files.
    assert len([name for name, _, _ in runs(clone) if name.startswith("vae-s0")]) == 2


def test_a_preset_that_is_not_selected_runs_no_stage(clone):
    clone.settings["models"]["vae_two"] = dict(clone.settings["models"]["vae"], latent_dim=2)
    clone.write_params()
    assert clone.repro() == ["resolve"]
    del clone.settings["models"]["vae_two"]
    clone.write_params()
    assert set(clone.repro()) <= {"resolve"}


def test_a_preset_that_is_selected_on_the_command_line_runs_its_own_stages(clone):
    # The conditional one: it goes all the way to its own picture in the report.
    page = (clone.folder / "reports/index.html").read_bytes()
    ran = clone.dvc("exp", "run", "-S", "+selected.conditional_vae=vae")
    stages = set(re.findall("Running stage '(.*)'", ran))
    assert stages == {"resolve", "train@conditional_vae", "evaluate@conditional_vae", *AFTER}
    folder = clone.folder / "outputs/evaluate/conditional_vae/0"
    drawn = {path.stem for path in folder.glob("*.png")}
    assert drawn >= {"samples", "classes", "reconstructions", "interpolations"}
    assert b'<section id="classes">' in (clone.folder / "reports/index.html").read_bytes()
    clone.write_params()
    assert set(clone.repro()) <= {"resolve", *AFTER}
    assert (clone.folder / "outputs/train/conditional_vae").is_dir()
    assert (clone.folder / "reports/index.html").read_bytes() == page
    remove(clone, "conditional_vae")


def remove(clone, name):
    """Removes the outs of a model that is no longer selected, like a clean-up."""
    for out in ("outputs/train", "outputs/evaluate"):
        shutil.rmtree(clone.folder / out / name)
    for out in ("outputs/timing/train", "outputs/timing/evaluate", "reports/metrics"):
        (clone.folder / out / f"{name}.json").unlink()
    (clone.folder / f"reports/history/{name}.csv").unlink()
    clone.repro()


def test_a_selected_name_that_does_not_exist_ends_in_one_line(clone):
    clone.settings["selected"]["gan_r2"] = "gan"
    clone.write_params()
    try:
        done = clone.run(sys.executable, "-m", "pipelines.resolve")
        assert done.returncode == 1
        assert done.stderr.startswith("error: params.yaml: selected.gan_r2: no such model, did you")
    finally:
        del clone.settings["selected"]["gan_r2"]
        clone.write_params()


def test_an_edit_of_one_kind_runs_no_stage_of_another(clone):
    path = clone.folder / "genmodels/models/gan.py"
    before = path.read_bytes()
    try:
        path.write_bytes(before + b"\n# edited\n")
        assert clone.repro() == ["resolve"]
        path.write_bytes(before + b"\nEDITED = 1\n")
        assert clone.repro("resolve") == ["resolve"]
        assert clone.would_run() == {"train@gan_r1", "evaluate@gan_r1"}
    finally:
        path.write_bytes(before)
    assert set(clone.repro()) <= {"resolve"}


def test_a_second_trainer_of_a_model_is_refused_with_the_holder_s_pid(clone):
    first = subprocess.Popen(
        [sys.executable, "-c", TRAIN_ONE_STEP, "gan_r1"],
        cwd=clone.folder,
        env=clone.environment(),
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: (clone.folder / "outputs/.locks/gan_r1.pid").is_file(), first)
        second = clone.run(sys.executable, "-m", "pipelines.train", "gan_r1")
        assert second.returncode == 1
        expected = f"error: gan_r1 is already being trained by process {first.pid}\n"
        assert second.stderr == expected
    finally:
        first.terminate()
        assert first.wait() == 130
    assert clone.run(sys.executable, "-m", "pipelines.train", "gan_r1").returncode == 0
    assert clone.repro() == []


def test_a_misspelt_key_ends_in_one_line(clone):
    clone.settings["models"]["vae"]["betta"] = 1.0
    clone.write_params()
    try:
        done = clone.run(sys.executable, "-m", "pipelines.train", "vae")
        assert done.returncode == 1
        assert done.stderr.startswith("error: params.yaml: models.vae.betta: unknown key")
        assert done.stderr.count("\n") == 1
    finally:
        del clone.settings["models"]["vae"]["betta"]
        clone.write_params()

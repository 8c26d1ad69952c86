"""Rows beside the pipeline: what is trained once, what is repeated, what resumes."""

import json

import pytest

from genmodels.training.loop import Trainer
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError
from pipelines.training import one_run, workers
from pipelines.training import rows as training_rows
from tests.pipelines.tiny_rows import TINY, autoencoder, tiny_rows, vae, weights


def fail_at_step_7(monkeypatch):
    step = Trainer._one_step

    def stop(self, number):
        if number == 7:
            raise FloatingPointError("step 7 is cursed")
        return step(self, number)

    monkeypatch.setattr(Trainer, "_one_step", stop)


def test_each_seed_leaves_a_model_and_its_values(prepared):
    rows = tiny_rows(prepared, seeds=[0, 1])
    results = rows.run()
    assert {model: list(seeds) for model, seeds in results.items()} == {"vae": [0, 1]}
    first = results["vae"][0]
    values = first["values"]
    assert set(values) == {"rate", "distortion", "elbo"}
    assert values["elbo"] == pytest.approx(-values["rate"] - values["distortion"])
    assert results["vae"][1]["values"] != values
    assert first["timing"]["steps"] == TINY["num_steps"]
    assert first["cost"]["num_parameters"] > 0
    folder = rows.folder / "vae" / "0"
    assert (folder / "weights.safetensors").is_file()
    assert json.loads((folder / "config.json").read_text())["seed"] == 0
    assert not list(paths.CHECKPOINTS.glob("*"))


def test_a_finished_row_is_not_repeated(prepared, monkeypatch):
    first = tiny_rows(prepared).run()
    monkeypatch.setattr(workers, "run", None)
    assert tiny_rows(prepared).run() == first


def test_changed_settings_are_trained_again(prepared):
    first = tiny_rows(prepared).run()
    second = tiny_rows(prepared, entries={"vae": vae(beta=3.0)}).run()
    assert first["vae"][0]["values"] != second["vae"][0]["values"]


def test_another_metric_does_not_train_again(prepared):
    rows = tiny_rows(prepared)
    rows.run()
    before = weights(rows)
    more = rows.evaluate.model_copy(update={"metrics": ["rate", "active_units"]})
    results = tiny_rows(prepared, evaluate=more).run()
    assert set(results["vae"][0]["values"]) == {"rate", "active_units"}
    assert weights(rows) == before


def test_a_result_of_other_code_stays_and_names_its_version(prepared, monkeypatch):
    rows = tiny_rows(prepared)
    first = rows.run()
    before = weights(rows)
    monkeypatch.setattr(training_rows, "training_version", lambda kind: "two")
    assert rows.run() == first
    assert weights(rows) == before
    assert rows.run(force=True)["vae"][0]["code"] == "two"
    assert weights(rows) != before


def test_where_code_counts_a_result_of_other_code_is_repeated(prepared, monkeypatch):
    first = tiny_rows(prepared).run()
    with monkeypatch.context() as patch:
        patch.setattr(one_run, "fit", None)
        assert tiny_rows(prepared, code_counts=True).run() == first
    rows = tiny_rows(prepared, code_counts=True)
    monkeypatch.setattr(training_rows, "training_version", lambda kind: "two")
    assert rows.run()["vae"][0]["code"] == "two"
    # An interrupted measurement leaves a training, which has a version, too.
    (rows.folder / "vae" / "0" / "result.json").unlink()
    monkeypatch.setattr(training_rows, "training_version", lambda kind: "three")
    assert rows.run()["vae"][0]["code"] == "three"


def test_an_interrupted_training_resumes_and_ends_with_the_same_values(prepared, monkeypatch):
    plain = tiny_rows(prepared, folder=paths.OUTPUTS / "plain").run()["vae"][0]
    with monkeypatch.context() as patched:
        patched.setattr(one_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        fail_at_step_7(patched)
        with pytest.raises(UserError, match="vae seed 0: step 7 is cursed"):
            tiny_rows(prepared).run()
    assert list(paths.CHECKPOINTS.glob("*/checkpoint.pt"))
    again = tiny_rows(prepared).run()["vae"][0]
    assert again["timing"]["resumed"] == 1
    assert again["values"] == plain["values"]
    assert not list(paths.CHECKPOINTS.glob("*"))


def test_a_diverged_training_is_a_result_where_it_may_be(prepared, monkeypatch):
    fail_at_step_7(monkeypatch)
    result = tiny_rows(prepared, may_diverge=True).run()["vae"][0]
    assert result["diverged"] == "step 7 is cursed"
    assert result["values"] == {}


def test_half_a_result_is_no_result(prepared):
    rows = tiny_rows(prepared)
    files.write_text(rows.folder / "vae" / "0" / "result.json", '{"settings": ')
    assert rows.results() == {"vae": {}}


def test_a_value_that_a_model_does_not_have_is_null(prepared):
    results = tiny_rows(prepared, entries={"ae": autoencoder()}).run()
    assert results["ae"][0]["values"]["rate"] is None


def test_progress_is_a_line_where_there_is_no_terminal(prepared, capsys):
    tiny_rows(prepared, seeds=[0, 1]).run()
    assert "vae seed 1" in capsys.readouterr().err


def test_settings_that_the_data_refuses_name_their_place(prepared, monkeypatch):
    manifest = files.read_json(paths.PREPARE / "manifest.json", "")
    files.write_json(paths.PREPARE / "manifest.json", manifest | {"num_classes": None})
    rows = tiny_rows(prepared, entries={"vae": vae(conditional=True)})
    with pytest.raises(UserError, match=r"tiny.yaml: models.vae: conditional: true needs labelled"):
        rows.run()

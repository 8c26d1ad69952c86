"""The engine of presets and reproductions: what is done once, anew, or taken from elsewhere."""

import json
import time

import pytest

from genmodels.base.seeding import generator
from genmodels.objectives.priors import normal_log_prob, standard_normal_log_prob
from genmodels.training.loop import Trainer
from pipelines import studies, study_pages
from pipelines.data import splits
from pipelines.settings import files, paths
from pipelines.settings.errors import UserError
from pipelines.study_measures import Measures
from pipelines.training import one_run, workers
from pipelines.training.weights import read_model
from tests.pipelines.tiny_job import (
    MEASURES,
    TINY,
    autoencoder,
    job,
    vae,
    weights,
)


def test_a_job_leaves_a_model_and_its_values(prepared):
    two = [job(prepared), job(prepared, seed=1)]
    results = studies.run(two)
    assert list(results) == ["vae"]
    assert list(results["vae"]) == [0, 1]
    values = results["vae"][0]["values"]
    assert set(values) == {"rate", "distortion", "elbo", "nll_3"}
    assert values["elbo"] == pytest.approx(-values["rate"] - values["distortion"])
    assert results["vae"][1]["values"] != values
    assert results["vae"][0]["observation"] == "bernoulli_binary"
    assert results["vae"][0]["timing"]["steps"] == TINY["num_steps"]
    assert results["vae"][0]["cost"]["num_parameters"] > 0
    assert (two[0].folder / "weights.safetensors").is_file()
    assert json.loads((two[0].folder / "config.json").read_text())["seed"] == 0
    assert not list(paths.CHECKPOINTS.glob("*"))


def test_what_is_finished_is_not_done_again(prepared, monkeypatch):
    first = studies.run([job(prepared)])
    monkeypatch.setattr(workers, "run", None)
    assert studies.run([job(prepared)]) == first


def test_other_settings_are_trained_again(prepared):
    first = studies.run([job(prepared)])
    second = studies.run([job(prepared, entry=vae(beta=3.0))])
    assert first["vae"][0]["values"] != second["vae"][0]["values"]


def test_another_measure_does_not_train_again(prepared):
    studies.run([job(prepared)])
    before = weights(job(prepared))
    bounds = [{"num_importance": 3, "num_images": 20}, {"num_importance": 5, "num_images": 20}]
    more = Measures(**MEASURES | {"bounds": bounds, "codes_at_once": 20})
    values = studies.run([job(prepared, measures=more)])["vae"][0]["values"]
    assert "nll_5" in values
    assert weights(job(prepared)) == before
    parts = ("mutual_information", "total_correlation", "dimension_wise_kl")
    model = read_model(job(prepared).folder, "")
    codes = model.score(splits.load_split("test").images, None, generator(0, "codes"))
    rate = normal_log_prob(codes.z, codes.mean, codes.logvar) - standard_normal_log_prob(codes.z)
    assert sum(values[part] for part in parts) == pytest.approx(rate.mean().item(), rel=1e-4)


def test_other_code_keeps_the_result_which_names_its_own(prepared):
    studies.run([job(prepared)])
    before = weights(job(prepared))
    assert studies.run([job(prepared, code="two")])["vae"][0]["code"] == "one"
    assert weights(job(prepared)) == before
    assert studies.run([job(prepared, code="two")], force=True)["vae"][0]["code"] == "two"
    assert weights(job(prepared)) != before


def test_where_code_counts_what_other_code_has_done_is_done_again(prepared, monkeypatch):
    studies.run([job(prepared)])
    studies.run([job(prepared, code_counts=True)])
    with monkeypatch.context() as patch:
        patch.setattr(studies, "fit", None)
        assert studies.run([job(prepared, code_counts=True)])["vae"][0]["code"] == "one"
    assert studies.run([job(prepared, code="two", code_counts=True)])["vae"][0]["code"] == "two"
    # A training that was interrupted before it was measured is one of its code, too.
    (job(prepared).folder / "result.json").unlink()
    assert studies.run([job(prepared, code="three", code_counts=True)])["vae"][0]["code"] == "three"


def test_an_interrupted_training_goes_on_and_ends_in_the_same_place(prepared, monkeypatch):
    plain = studies.run([job(prepared, study="plain")])["vae"][0]
    with monkeypatch.context() as patched:
        patched.setattr(one_run, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
        step = Trainer._one_step

        def stop(self, number):
            if number == 7:
                raise FloatingPointError("step 7 is cursed")
            return step(self, number)

        patched.setattr(Trainer, "_one_step", stop)
        with pytest.raises(UserError, match="vae seed 0: step 7 is cursed"):
            studies.run([job(prepared)])
    assert job(prepared).checkpoint.is_file()
    again = studies.run([job(prepared)])["vae"][0]
    assert again["timing"]["resumed"] == 1
    assert again["values"] == plain["values"]
    assert not job(prepared).checkpoint.is_file()


def test_a_checkpoint_of_other_code_is_left_alone(prepared):
    assert job(prepared).checkpoint != job(prepared, code="two").checkpoint


def test_a_training_done_elsewhere_is_taken(prepared, monkeypatch):
    done = studies.run([job(prepared, study="elsewhere")])["vae"][0]
    folder = job(prepared, study="elsewhere").folder
    files.write_json(paths.TIMING / "train" / "vae.json", {"0": {"cpu_seconds": 7.0}})
    monkeypatch.setattr(studies, "fit", None)
    taken = studies.run([job(prepared, taken=folder)])["vae"][0]
    assert taken["values"] == done["values"]
    assert taken["timing"] == {"cpu_seconds": 7.0}


def test_half_a_result_is_no_result(prepared):
    one = job(prepared)
    files.write_text(one.folder / "result.json", '{"settings": ')
    assert one.result() is None


def count_side_by_side(key, send):
    send("begin")
    time.sleep(0.05)
    send("end")


@pytest.mark.parametrize("most", [1, 2])
def test_so_many_processes_as_asked_for(monkeypatch, most):
    monkeypatch.setattr(workers, "num_cores", lambda: 4)
    running, seen = set(), []

    def handle(key, message):
        running.add(key) if message == "begin" else running.discard(key)
        seen.append(len(running))

    options = {"device": "cpu", "threads": 1, "handle": handle, "at_once": most}
    workers.run(count_side_by_side, list("abcd"), **options)
    assert max(seen) <= most


def test_progress_is_a_line_where_there_is_no_terminal(prepared, capsys):
    studies.run([job(prepared), job(prepared, seed=1)])
    said = capsys.readouterr().err
    assert "tiny: vae seed 1: done" in said
    assert "0 left" in said


# the hash of the code


def test_a_bound_that_a_model_does_not_have_is_left_out(prepared):
    results = studies.run([job(prepared, row="ae", entry=autoencoder())])["ae"][0]
    assert results["values"]["nll_3"] is None
    assert study_pages.measured({"ae": {0: results}}) == []

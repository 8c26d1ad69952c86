import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.comparing.leaderboard import Row, leaderboard
from evaluation.measuring.records import summarise
from pipelines import publish
from pipelines.settings import paths
from pipelines.settings.errors import UserError
from pipelines.tracking import mlmodel, registry
from pipelines.tracking.run import Identity
from pipelines.tracking.store import open_store
from tests.pipelines.conftest import MODELS, record, write_values
from tests.pipelines.opened_store import client
from tests.servers import served_ui

RUNS = [("vae", 0), ("vae", 1), ("gan", 0), ("gan", 1)]


def versions() -> list[Any]:
    found = client().search_model_versions("name = 'genmodels'")
    return sorted(found, key=lambda version: int(version.version))


def aliases() -> dict[str, tuple[str, str]]:
    """Model and seed of the version that each alias names."""
    tags = {str(v.version): v.tags for v in versions()}
    found = client().get_registered_model("genmodels").aliases
    return {a: (tags[str(n)]["model"], tags[str(n)]["seed"]) for a, n in found.items()}


def content() -> list[Any]:
    """Everything of the registry but its clock and the ids of runs."""
    return [aliases(), *((v.version, v.tags, v.description) for v in versions())]


def evaluate_anew(model: str, name: str, value: float | None, **params: str) -> None:
    """Gives all trainings of a model another value."""
    seeds = json.loads((paths.EVALUATE / model / "records.json").read_text())["seeds"]
    for records in seeds.values():
        found = next(r for r in records if r["name"] == name)
        found |= {"value": value, "reason": None if value is not None else "no", "params": params}
    write_values(paths.ROOT, model, seeds)


def rank_by(name: str) -> None:
    path = paths.RESOLVE / "publish.json"
    settings = json.loads(path.read_text())
    settings["report"]["rank_by"] = name
    path.write_text(json.dumps(settings))


def test_every_training_is_one_version_that_says_what_it_is(
    reproduced: Path, fingerprints: dict[tuple[str, int], str]
) -> None:
    publish.publish()
    assert [(v.tags["model"], int(v.tags["seed"])) for v in versions()] == RUNS
    for version, run in zip(versions(), RUNS, strict=True):
        model, seed = run
        folder = paths.TRAIN / model / str(seed)
        assert version.tags == {
            "model": model,
            "kind": model,
            "family": model,
            "seed": str(seed),
            "fingerprint": fingerprints[run],
            "sha256": mlmodel.sha256(folder / "weights.safetensors"),
            "config_sha256": mlmodel.sha256(folder / "config.json"),
        }
        assert version.source == f"runs:/{version.run_id}/model"
        stored = Path(client().download_artifacts(version.run_id, "model"))
        for file in ("weights.safetensors", "config.json"):
            assert (stored / file).read_bytes() == (folder / file).read_bytes()
    assert "| fid_classifier | 3 | 3.5 ± 0.71 (n=2) | lower |" in versions()[0].description
    # A diagnostic has no better or worse.
    assert "| rate |" not in versions()[0].description
    assert "### Chosen" not in versions()[1].description


def test_the_aliases_name_the_best_and_the_version_says_by_which_rule(reproduced: Path) -> None:
    publish.publish()
    assert aliases() == {
        "champion": ("vae", "0"),
        "best-vae": ("vae", "0"),
        "best-gan": ("gan", "0"),
    }
    text = versions()[0].description
    assert (
        "**champion**: vae 3.5 has the lowest mean of `fid_classifier` over the training seeds "
        "(test split; values 3, 4) among 2 models; next: gan 4.5." in text
    )
    assert "among 1 model of family vae. The version is the training with the model's first" in text
    assert "winner's curse" in text


def test_a_second_publication_and_a_forced_repro_make_no_version(reproduced: Path) -> None:
    publish.publish()
    before = content(), [v.last_updated_timestamp for v in versions()]
    open_store.cache_clear()
    publish.publish()
    path = reproduced / "outputs/timing/train/vae.json"
    path.write_text(path.read_text().replace("12.5", "13.5"))
    publish.publish()
    assert (content(), [v.last_updated_timestamp for v in versions()]) == before


@pytest.mark.parametrize(
    ("name", "vae", "gan", "best"),
    [
        ("fid_classifier", 5.0, 4.0, "gan"),
        ("fid_classifier", 4.0, 5.0, "vae"),
        ("elbo", -5.0, -4.0, "gan"),
        ("elbo", -4.0, -5.0, "vae"),
        # Of equal ones the first in params.yaml, in both directions.
        ("fid_classifier", 4.0, 4.0, "vae"),
        ("elbo", -4.0, -4.0, "vae"),
    ],
)
def test_the_aliases_follow_the_direction_of_the_metric(
    reproduced: Path, name: str, vae: float, gan: float, best: str
) -> None:
    publish.publish()
    rank_by(name)
    evaluate_anew("vae", name, vae)
    evaluate_anew("gan", name, gan)
    publish.publish()
    assert aliases()["champion"] == (best, "0")
    chosen = [v for v in versions() if "**champion**" in v.description]
    assert [v.tags["model"] for v in chosen] == [best]
    assert len(versions()) == 4


def test_a_model_without_a_value_is_not_chosen_and_an_alias_without_a_model_goes(
    reproduced: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish.publish()
    rank_by("elbo")
    publish.publish()
    assert aliases() == {"champion": ("vae", "0"), "best-vae": ("vae", "0")}
    evaluate_anew("vae", "elbo", None)
    publish.publish()
    assert aliases() == {}
    assert capsys.readouterr().out.endswith("\nregistry: no model has a value of elbo\n")
    assert not any("### Chosen" in v.description for v in versions())


def test_a_metric_with_the_suffix_of_a_likelihood_ranks_as_in_the_report(reproduced: Path) -> None:
    publish.publish()
    evaluate_anew("vae", "elbo", -5.0, observation="gaussian")
    evaluate_anew("gan", "elbo", -4.0, observation="bernoulli_binary")
    rank_by("elbo_gaussian")
    publish.publish()
    assert aliases() == {"champion": ("vae", "0"), "best-vae": ("vae", "0")}
    text = next(v.description for v in versions() if "**champion**" in v.description)
    assert "mean of `elbo_gaussian` over the training seeds" in text
    assert "among 1 model." in text
    view = client().get_experiment_by_name("pipeline").tags["mlflow.sharedViewState.leaderboard"]
    assert json.loads(view)["orderByKey"] == "metrics.`evaluate/elbo`"


def test_a_metric_that_the_report_cannot_rank_by_moves_no_alias(reproduced: Path) -> None:
    publish.publish()
    before = content()
    rank_by("elbo_gaussian")  # the models have one likelihood, so the column is `elbo`
    message = r"params.yaml: report.rank_by: 'elbo_gaussian' is not a measured metric"
    with pytest.raises(UserError, match=message):
        publish.publish()
    assert content() == before


def test_another_training_is_another_version_and_the_old_one_stays_without_the_alias(
    reproduced: Path,
) -> None:
    publish.publish()
    lock = json.loads(paths.DVC_LOCK.read_text())
    for model in MODELS:  # its settings or its code
        lock["stages"][f"train@{model}"]["deps"][0]["md5"] = "0" * 32
    paths.DVC_LOCK.write_text(json.dumps(lock))
    publish.publish()
    found = versions()
    assert len(found) == 8
    assert ["### Chosen" in v.description for v in found] == [False] * 4 + [True, False] * 2
    assert "| fid_classifier | 3 |" in found[0].description
    assert client().get_model_version_by_alias("genmodels", "champion").version == found[4].version


def test_it_is_rebuilt_from_the_files(reproduced: Path, database: Path) -> None:
    publish.publish()
    before = content()
    paths.MLFLOW_DB.write_bytes(database.read_bytes())
    open_store.cache_clear()
    publish.publish()
    assert content() == before


def test_a_version_whose_run_was_deleted_is_made_anew(reproduced: Path) -> None:
    publish.publish()
    first = versions()[0]
    client().delete_run(first.run_id)
    publish.publish()
    assert len(versions()) == 4
    assert aliases()["champion"] == ("vae", "0")
    found = client().get_model_version_by_alias("genmodels", "champion")
    assert found.run_id != first.run_id
    assert client().get_run(found.run_id).info.lifecycle_stage == "active"


def test_a_training_run_again_with_other_weights_is_the_same_version(reproduced: Path) -> None:
    publish.publish()
    path = paths.TRAIN / "vae" / "0" / "weights.safetensors"
    path.write_bytes((paths.TRAIN / "vae" / "1" / "weights.safetensors").read_bytes())
    publish.publish()
    assert len(versions()) == 4
    assert versions()[0].tags["sha256"] == mlmodel.sha256(path)
    stored = client().download_artifacts(versions()[0].run_id, "model/MLmodel")
    assert mlmodel.sha256(path) in Path(stored).read_text()


@pytest.mark.slow
def test_a_server_elsewhere_gets_the_same_registry(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with served_ui() as server:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server)
        publish.publish()
        before = content()
        publish.publish()
        assert "runs are complete; nothing was missing" in capsys.readouterr().out
        assert content() == before
        assert aliases()["champion"] == ("vae", "0")
        found = registry.find(open_store(), "champion")
        assert found is not None
        version, folder = found
        assert folder is not None
        mlmodel.check(folder, version.tags, "champion", "no remedy")
        assert not folder.is_relative_to(paths.MLFLOW_ARTIFACTS)


def test_a_store_that_goes_away_fails_nothing(
    reproduced: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = open_store()
    paths.MLFLOW_DB.write_bytes(b"no database any more")
    registry.update(store, [], {})
    assert registry.find(store, "champion") is None
    assert registry.link(store, "http://127.0.0.1:5000") is None
    assert capsys.readouterr().err.count("warning: tracking is off") == 1


def test_what_somebody_made_by_hand_is_left_alone(reproduced: Path) -> None:
    publish.publish()
    source = versions()[0].source
    client().create_model_version("genmodels", source, description="### Chosen by me")
    client().set_registered_model_alias("genmodels", "mine", "5")
    client().set_registered_model_alias("genmodels", "champion", "5")
    publish.publish()
    assert versions()[4].description == "### Chosen by me"
    found = client().get_registered_model("genmodels").aliases
    assert str(found["mine"]) == "5"
    assert str(found["champion"]) == "1"


def test_a_run_in_training_has_no_version_yet(
    reproduced: Path, fingerprints: dict[tuple[str, int], str]
) -> None:
    identity = Identity("vae", "vae", "vae", 0, fingerprints["vae", 0])
    run = open_store().start_run(identity, {}, {})
    open_store().drain()
    run.set_tags({"host": "another"})
    publish.publish()
    assert [(v.tags["model"], int(v.tags["seed"])) for v in versions()] == RUNS[1:]
    assert aliases() == {"best-gan": ("gan", "0")}


def test_a_version_that_two_publications_made_twice_is_there_once(reproduced: Path) -> None:
    publish.publish()
    before = [(v.version, v.tags) for v in versions()]
    one = versions()[0]
    client().create_model_version("genmodels", one.source, one.run_id, tags=one.tags)
    publish.publish()
    assert [(v.version, v.tags) for v in versions()] == before


def chosen(**values: list[float | None]) -> dict[str, str]:
    """By alias the run of the chosen training, of models with one value a seed."""
    rows, identities = [], []
    for model, of_seeds in values.items():
        records = {str(seed): [record("fid", v, False)] for seed, v in enumerate(of_seeds)}
        rows.append(Row(model, "vae", "vae", {}, summarise(records), records))
        identities += [Identity(model, "vae", "vae", int(seed), "") for seed in records]
    choices = registry.choose(identities, leaderboard(rows, []), "fid")
    return {alias: choice.identity.name for alias, choice in choices.items()}


def test_the_mean_decides_and_not_the_luckiest_training() -> None:
    found = chosen(lucky=[9.0, 1.0], steady=[4.1, 4.0])
    assert found == {"champion": "steady-s0-", "best-vae": "steady-s0-"}


def test_a_training_without_a_value_is_no_part_of_the_mean_and_not_chosen() -> None:
    assert chosen(a=[None, 3.0], b=[4.0])["champion"] == "a-s1-"
    assert chosen(a=[None]) == {}

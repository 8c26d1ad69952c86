"""`base:` in an entry of `models:`."""

import difflib
import io
from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML  # noqa: TID251

from pipelines.settings import paths, presets
from pipelines.settings.errors import UserError
from tests.conftest import presets as shipped


def resolve(**entries):
    """The shipped `vae` and `gan_r1`, complete, with more entries."""
    whole = {name: shipped()[name] for name in ("vae", "gan_r1")}
    return presets.resolve(whole | entries, "params.yaml: models")


def test_an_entry_inherits_its_base_and_overrides_it():
    entries = resolve(a={"base": "vae", "beta": 4.0}, b={"base": "a", "latent_dim": 2})
    assert entries["a"] == shipped()["vae"] | {"beta": 4.0}
    assert entries["b"] == shipped()["vae"] | {"beta": 4.0, "latent_dim": 2}


def test_a_base_may_stand_below_its_heir():
    assert resolve(a={"base": "b"}, b={"base": "vae", "beta": 2.0})["a"]["beta"] == 2.0


def test_a_base_of_another_kind_passes_on_the_settings_of_both_kinds():
    own = {"kind": "iwae", "num_importance": 5, "gradient": "iwae"}
    entry = resolve(a={"base": "vae", **own})["a"]
    assert "beta" not in entry  # iwae has none
    common = shipped()["vae"].keys() & shipped()["iwae"].keys()
    assert entry == {key: shipped()["vae"][key] for key in common} | own


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            {"a": {"base": "vea"}},
            "models.a.base: 'vea': no such model, did you mean 'vae'?; there are",
        ),
        ({"a": {"base": "a"}}, "models.a.base: a -> a is a circle"),
        ({"a": {"base": "b"}, "b": {"base": "a"}}, "models.b.base: a -> b -> a is a circle"),
        ({"a": {"base": ["vae"]}}, "models.a.base: ['vae']: no such model"),
        ({"a": 3}, "models.a: 3 is not a mapping of settings"),
        ({"a": {"base": "vae", "betta": 1.0}}, "models.a.betta: unknown key (value 1.0), did you"),
        ({"a": {"base": "vae", "kind": "iwae"}}, "models.a.num_importance: this key is missing"),
        ({"a": {"base": "vae", "kind": "vea"}}, "models.a.kind: 'vea' is not one of"),
        (
            {"a": {"base": "vae", "kind": "iwae", "num_importance": 5, "beta": 1.0}},
            "models.a.beta: unknown key (value 1.0)",
        ),
    ],
)
def test_a_mistake_is_one_line_with_the_entry(entries, message):
    with pytest.raises(UserError) as error:
        resolve(**entries)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_an_error_names_the_entry_that_sets_the_value():
    entries = {
        "parent": {"base": "gan_r1", "num_steps": -1},
        "heir": {"base": "parent", "width": 8},
    }
    with pytest.raises(UserError) as error:
        presets.resolve({"gan_r1": shipped()["gan_r1"], "heir": entries["heir"], **entries}, "p: m")
    assert str(error.value).startswith("p: m.heir.num_steps: -1 is not allowed")
    assert str(error.value).endswith("(num_steps is set in models.parent)")


def test_a_contradiction_between_an_own_and_an_inherited_setting_names_both_places():
    with pytest.raises(UserError) as error:
        resolve(heir={"base": "vae", "likelihood": "gaussian"})
    assert "models.heir: likelihood" in str(error.value)
    assert "sigma is set in models.vae" in str(error.value)
    assert "likelihood stands" not in str(error.value)


@pytest.mark.parametrize("file", [paths.PARAMS, paths.TUNE_YAML])
def test_the_settings_are_written_as_dvc_writes_yaml(file: Path):
    text = file.read_text()
    out = io.StringIO()
    YAML().dump(YAML().load(text), out)
    assert out.getvalue() == text


@pytest.mark.parametrize(
    ("override", "removed", "added"),
    [
        ("models.beta_vae.beta=8", ["    beta: 4.0"], ["    beta: 8"]),
        ("+models.beta_vae.latent_dim=8", [], ["    latent_dim: 8"]),
        ("+selected.sngan=gan", [], ["  sngan: gan"]),
        ("seeds=[0,1,2]", [], ["- 2"]),
    ],
)
def test_an_override_changes_one_line(tmp_path: Path, override, removed, added):
    file = tmp_path / "params.yaml"
    file.write_bytes(paths.PARAMS.read_bytes())
    apply_overrides(file, [override])
    before, after = paths.PARAMS.read_text().split("\n"), file.read_text().split("\n")
    difference = [line for line in difflib.ndiff(before, after) if line[0] in "+-"]
    assert [line[2:] for line in difference if line[0] == "-"] == removed
    assert [line[2:] for line in difference if line[0] == "+"] == added

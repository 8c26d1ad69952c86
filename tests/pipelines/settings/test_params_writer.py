"""What `apply` writes into params.yaml changes nothing else, byte for byte."""

import json
from pathlib import Path

import pytest

from pipelines.settings import params_writer, paths, yaml_files
from pipelines.settings.errors import UserError

TEXT = paths.PARAMS.read_text()
SCHEDULE = (
    "    learning_rate_schedule: cosine # constant, linear, cosine or a list of {step, factor}"
)
LISTED = """    learning_rate_schedule: # constant
      - step: 500 # first
        factor: 0.5
      - step: 900
        factor: 0.1"""
OF_A_LIST = TEXT.replace(SCHEDULE, LISTED).replace(
    "    learning_rate_end: 0.05 # the last", "    learning_rate_end: 1.0 # the last"
)
COMMENT = "trial 1 of study s: beta 2"


@pytest.fixture
def file(tmp_path):
    return tmp_path / "params.yaml"


def write(file: Path, text: str, name: str, model: str = "vae", **changes) -> str:
    """Writes `model` with changes as `name`; returns the text, which says what was meant."""
    file.write_bytes(text.encode())
    before = yaml_files.read_yaml(file)
    entry = before["models"][model] | changes
    assert params_writer.write_model(name, model, entry, COMMENT, file)
    after = yaml_files.read_yaml(file)
    assert after["models"].pop(name) == entry
    assert after["selected"].pop(name) == entry["kind"]
    for section in ("models", "selected"):
        before[section].pop(name, None)
    assert after == before
    assert params_writer.write_model(name, model, entry, COMMENT, file) == ""
    return file.read_bytes().decode()


def lines_apart(old: str, new: str) -> list[tuple[str, str]]:
    return [
        pair
        for pair in zip(old.splitlines(keepends=True), new.splitlines(keepends=True), strict=True)
        if pair[0] != pair[1]
    ]


def without(text: str, *added: str) -> str:
    for lines in added:
        assert text.count(lines) == 1
        text = text.replace(lines, "")
    return text


def entry_of(text: str, name: str) -> str:
    """The lines of an entry, the empty one before it included."""
    start = text.index(f"\n  {name}: #")
    return text[start : text.index("\n\n", start) + 1]


def test_a_new_entry_is_added_and_nothing_else(file):
    after = write(file, TEXT, "vae_tuned", beta=1.234e-05)
    entry = entry_of(after, "vae_tuned")
    assert without(after, entry, "  vae_tuned: vae\n") == TEXT
    assert entry.startswith(f"\n  vae_tuned: # {COMMENT}\n    kind: vae\n")
    assert "    beta: 1.234e-05\n" in entry
    assert "    learning_rate: 2e-3\n" in entry  # in its spelling
    assert "\n  vae: vae\n  vae_tuned: vae\n  beta_vae: vae\n" in after


@pytest.mark.parametrize("heading", ["\n  # ---- disentangling ----", "\n  # two\n\n  # lines"])
def test_a_heading_stays_above_the_entry_that_it_belongs_to(file, heading):
    text = TEXT.replace("\n  beta_vae: # Higgins", f"{heading}\n  beta_vae: # Higgins")
    after = write(file, text, "vae_tuned", beta=2.0)
    assert f"{heading}\n  beta_vae: # Higgins" in after
    assert without(after, entry_of(after, "vae_tuned"), "  vae_tuned: vae\n") == text


def test_a_comment_inside_the_last_entry_stays_in_it(file):
    last = list(yaml_files.read_yaml(paths.PARAMS)["models"])[-1]
    text = TEXT.replace("\n\nevaluate:", "\n    # ema_half_life: 500\n\n# measured\nevaluate:", 1)
    after = write(file, text, f"{last}_tuned", last, num_steps=2001)
    assert f"    # ema_half_life: 500\n\n  {last}_tuned: # {COMMENT}\n" in after
    assert "\n\n# measured\nevaluate:" in after


def test_what_is_not_selected_is_selected_at_the_end_with_the_comments_where_they_were(file):
    models = yaml_files.read_yaml(paths.PARAMS)["models"]
    selected = yaml_files.read_yaml(paths.PARAMS)["selected"]
    other = next(name for name in models if name not in selected)
    last, kind = list(selected.items())[-1]
    text = TEXT.replace(f"\n  {last}: {kind}\n", f"\n  {last}: {kind} # the last\n\n# ---\n", 1)
    after = write(file, text, other, other, num_steps=3)
    added = f"  {other}: {models[other]['kind']}\n"
    assert f"  {last}: {kind} # the last\n{added}\n# ---\n" in after


def test_a_schedule_is_copied_and_no_alias(file):
    after = write(file, OF_A_LIST, "vae_tuned", beta=2.0)
    assert "&" not in entry_of(after, "vae_tuned")
    assert without(after, entry_of(after, "vae_tuned"), "  vae_tuned: vae\n") == OF_A_LIST


def test_a_number_in_a_list_is_changed_and_the_comments_of_the_list_stay(file):
    schedule = [{"step": 500, "factor": 0.25}, {"step": 900, "factor": 0.1}]
    after = write(file, OF_A_LIST, "vae", learning_rate_schedule=schedule)
    assert lines_apart(OF_A_LIST, after) == [("        factor: 0.5\n", "        factor: 0.25\n")]


def test_a_list_and_a_word_take_the_place_of_one_another(file):
    schedule = [{"step": 500, "factor": 0.5}, {"step": 900, "factor": 0.1}]
    after = write(file, TEXT, "vae", learning_rate_schedule=schedule, learning_rate_end=1.0)
    listed = LISTED.replace(" # first", "").replace("constant", SCHEDULE.partition("# ")[2])
    assert listed in after
    back = write(file, after, "vae", learning_rate_schedule="cosine", learning_rate_end=0.05)
    assert back == TEXT


@pytest.mark.parametrize("name", ["vae", "vae_tuned"])
def test_line_ends_stay_what_they_are(file, name):
    after = write(file, TEXT.replace("\n", "\r\n"), name, beta=2.0)
    assert after.count("\n") == after.count("\r\n")
    assert file.read_text() == write(file, TEXT, name, beta=2.0)


def test_a_file_without_a_last_line_end_and_one_in_json_are_changed_as_they_are(file):
    assert not write(file, TEXT.rstrip("\n"), "vae_tuned", beta=2.0).endswith("\n")
    raw = json.dumps(yaml_files.read_yaml(paths.PARAMS))
    schedule = [{"step": 500, "factor": 0.5}]
    changes = {"beta": 2.0, "learning_rate_schedule": schedule, "learning_rate_end": 1.0}
    for name in ("vae_tuned", "vae"):
        json.loads(write(file, raw, name, **changes))
    json.loads(write(file, raw, "vae", likelihood="gaussian", binarize="none", sigma="optimal"))


ANCHORED = TEXT.replace("  vae: # Kingma", "  vae: &vae # Kingma")
MERGED = ANCHORED.replace(
    "\nevaluate:", "\n  merged:\n    <<: *vae\n    latent_dim: 8\n\nevaluate:", 1
)


def test_anchors_stay_where_nothing_else_is_changed_by_it(file):
    after = write(file, MERGED, "vae_tuned", beta=2.0)
    assert without(after, entry_of(after, "vae_tuned"), "  vae_tuned: vae\n") == MERGED
    write(file, MERGED, "merged_tuned", "merged", beta=2.0)
    write(file, MERGED, "merged", "merged", latent_dim=9)


@pytest.mark.parametrize(("name", "changes"), [("vae", {"beta": 2.0}), ("merged", {"beta": 2.0})])
def test_a_change_that_an_anchor_would_carry_elsewhere_is_refused(file, name, changes):
    file.write_text(MERGED)
    entry = yaml_files.read_yaml(file)["models"][name] | changes
    with pytest.raises(UserError, match=rf"params\.yaml: models\.{name}: cannot be .* anchor"):
        params_writer.write_model(name, name, entry, COMMENT, file)
    assert file.read_text() == MERGED


def test_what_would_be_refused_is_not_written(file):
    file.write_text(TEXT)
    entry = yaml_files.read_yaml(file)["models"]["vae"] | {"beta": -1.0}
    with pytest.raises(UserError, match=r"params\.yaml: models\.vae_tuned\.beta: -1\.0"):
        params_writer.write_model("vae_tuned", "vae", entry, COMMENT, file)
    assert file.read_text() == TEXT
    assert [path.name for path in file.parent.iterdir()] == [file.name]

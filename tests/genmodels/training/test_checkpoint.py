import pickle

import pytest
import torch

from genmodels.training import checkpoint


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    state = {"step": 3, "weights": {"w": torch.arange(4.0)}, "rows": [{"loss": 1.5}]}
    checkpoint.save(tmp_path / "a.pt", state)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert loaded["step"] == 3
    assert torch.equal(loaded["weights"]["w"], torch.arange(4.0))
    assert loaded["rows"] == [{"loss": 1.5}]


def test_equal_states_give_equal_bytes_whatever_the_file_is_called(tmp_path):
    for name in ("a.pt", "another_name.pt"):
        checkpoint.save(tmp_path / name, {"w": torch.ones(3)})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another_name.pt").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pt", "another_name.pt"]


class Evil:
    def __reduce__(self):
        return (print, ("never",))


@pytest.mark.parametrize("content", [b"", b"not a zip", pickle.dumps(Evil(), protocol=2)])
def test_what_is_no_checkpoint_is_refused_in_one_line(tmp_path, content, capsys):
    path = tmp_path / "bad.pt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a checkpoint of plain tensors") as error:
        checkpoint.load(path)
    assert "\n" not in str(error.value)
    assert capsys.readouterr().out == ""


def test_a_pickled_object_inside_a_torch_file_is_refused(tmp_path):
    torch.save({"evil": Evil()}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match="not a checkpoint of plain tensors"):
        checkpoint.load(tmp_path / "evil.pt")

import pickle
import subprocess
import sys

import pytest
import torch

from pipelines.data import tensor_file


def tensors():
    """One of each dtype and layout that a model may hold."""
    rng = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 3, 2, 2, generator=rng)
    return {
        "float": weight,
        "channels_last": weight.contiguous(memory_format=torch.channels_last),
        "same_memory": weight,
        "part_of_the_memory": weight[1:, 0],
        "transposed": weight.permute(3, 2, 1, 0),
        "double": weight.double(),
        "bfloat16": weight.bfloat16(),
        "not_finite": torch.tensor([torch.nan, torch.inf, -0.0]),
        "parameter": torch.nn.Parameter(weight),
        "scalar": torch.tensor(2.5),
        "count": torch.tensor(7),
        "bool": torch.tensor([True, False]),
        "bytes": torch.arange(256).to(torch.uint8),
        "int32": torch.tensor([-1, 2], dtype=torch.int32),
        "empty": torch.empty(0, 3),
    }


def assert_same_bits(loaded, expected):
    assert loaded.keys() == expected.keys()
    for name, tensor in expected.items():
        assert loaded[name].dtype == tensor.dtype
        assert loaded[name].shape == tensor.shape
        assert not loaded[name].requires_grad
        one, two = (
            t.detach().contiguous().view(-1).view(torch.uint8) for t in (loaded[name], tensor)
        )
        assert torch.equal(one, two), name


def test_tensors_and_settings_are_equal_bit_for_bit_after_reading(tmp_path):
    settings = {"scale": 0.1 + 0.2, "shape": [1, 2], "name": "é", "none": None}
    tensor_file.write(tmp_path / "new" / "a.safetensors", tensors(), settings)
    loaded, header = tensor_file.read(tmp_path / "new" / "a.safetensors", "a command")
    assert_same_bits(loaded, tensors())
    assert header == settings
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_loaded_tensors_do_not_depend_on_the_file_afterwards(tmp_path):
    path = tmp_path / "a.safetensors"
    tensor_file.write(path, tensors())
    loaded, _ = tensor_file.read(path, "a command")
    path.write_bytes(b"")
    assert_same_bits(loaded, tensors())


def test_equal_tensors_give_equal_bytes_in_any_order_and_process(tmp_path):
    settings = {"b": 1, "a": [2, 3], "c": "d"}
    tensor_file.write(tmp_path / "one", tensors(), settings)
    reversed_order = dict(reversed(tensors().items())), dict(reversed(settings.items()))
    tensor_file.write(tmp_path / "two", *reversed_order)
    code = (
        "import sys; from pathlib import Path; from pipelines.data import tensor_file;"
        "tensor_file.write(Path(sys.argv[2]), *tensor_file.read(Path(sys.argv[1]), 'x'))"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "one", tmp_path / "three"], check=True)
    one, two, three = ((tmp_path / name).read_bytes() for name in ("one", "two", "three"))
    assert one == two == three


class Evil:
    def __reduce__(self):
        return (print, ("never",))


@pytest.mark.parametrize(
    "content",
    [b"", b"damaged", b"\xff" * 20, pickle.dumps(Evil()), b"\x02" + b"\0" * 7 + b"{}"],
)
def test_other_content_is_refused_in_one_line(tmp_path, content, capsys):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.safetensors: not a readable safetensors file") as e:
        tensor_file.read(path, "a command")
    assert "\n" not in str(e.value)
    assert capsys.readouterr().out == ""


def test_a_torch_file_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    torch.save(tensors(), path)
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        tensor_file.read(path, "a command")


def test_a_file_that_was_cut_off_is_refused_wherever_it_ends(tmp_path):
    path = tmp_path / "a.safetensors"
    tensor_file.write(path, {"a": torch.ones(5), "b": torch.zeros(2, 2)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="not a readable safetensors file"):
            tensor_file.read(path, "a command")
    path.write_bytes(whole + b"\0")
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        tensor_file.read(path, "a command")


def test_an_error_names_a_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"a\.safetensors: no such file"):
        tensor_file.read(tmp_path / "a.safetensors", "a command")

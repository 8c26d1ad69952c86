import pytest
import torch
from torch import nn

from genmodels.training.ema import EMA


def test_averages_follow_the_closed_form():
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.zero_()
    ema = EMA(module, half_life=1000)
    with torch.no_grad():
        module.weight.fill_(1.0)
    for _ in range(10):
        ema.update(100, images_seen=10**9)
    # After one half-life, half of the distance remains.
    torch.testing.assert_close(ema.state["weight"], torch.full((2, 3), 0.5))


def test_the_half_life_is_at_most_a_twentieth_of_the_images_seen():
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.zero_()
    ema = EMA(module, half_life=20_000)
    with torch.no_grad():
        module.weight.fill_(1.0)
    ema.update(64, images_seen=64)
    assert ema.state["weight"].item() == pytest.approx(1 - 0.5**20)


def test_buffers_are_copied_not_averaged():
    module = nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4))
    ema = EMA(module, half_life=10_000)
    module.train()
    for step in range(5):
        module(torch.randn(8, 2))
        ema.update(8, images_seen=8 * (step + 1))
    assert ema.state["1.num_batches_tracked"].item() == 5
    assert ema.state["1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(ema.state["1.running_mean"], module[1].running_mean)


def test_the_vectors_of_spectral_norm_stay_unit_vectors():
    module = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(8, 6)).train()
    ema = EMA(module, half_life=100)
    for step in range(10):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(generator=torch.Generator().manual_seed(step))
        module(torch.zeros(1, 8))
        ema.update(10, images_seen=10 * (step + 1))
    buffers = dict(module.named_buffers())
    assert len(buffers) == 2
    for name, buffer in buffers.items():
        assert torch.equal(ema.state[name], buffer)
        assert ema.state[name].norm().item() == pytest.approx(1, rel=1e-5)
    assert {key: value.dtype for key, value in ema.state.items()} == {
        key: value.dtype for key, value in module.state_dict().items()
    }


def test_applied_weights_are_restored_on_exit():
    module = nn.Linear(2, 2)
    ema = EMA(module, half_life=10)
    own = module.weight.detach().clone()
    with torch.no_grad():
        ema.state["weight"].zero_()
    with ema.applied():
        assert module.weight.abs().max() == 0
    assert torch.equal(module.weight, own)

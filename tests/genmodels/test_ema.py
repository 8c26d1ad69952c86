import pytest
import torch
from torch import nn

from genmodels.ema import EMA


def test_averages_follow_the_closed_form():
    module = nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.zero_()
    ema = EMA(module, half_life=1000)
    with torch.no_grad():
        module.weight.fill_(1.0)
    for _ in range(10):
        ema.update(100, images_seen=10**9)
    # After one half-life half of the way is left.
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


def test_applied_weights_are_given_back():
    module = nn.Linear(2, 2)
    ema = EMA(module, half_life=10)
    own = module.weight.detach().clone()
    with torch.no_grad():
        ema.state["weight"].zero_()
    with ema.applied():
        assert module.weight.abs().max() == 0
    assert torch.equal(module.weight, own)

import pytest
import torch
from torch import nn

from genmodels.networks.blocks import Dropout, bind_dropout, draw_weights


def test_dropout_keeps_the_expectation_and_drops_whole_channels():
    dropout = Dropout(0.25).train()
    bind_dropout(dropout, torch.Generator().manual_seed(0))
    out = dropout(torch.ones(200, 100, 2, 2))
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)
    per_channel = out.flatten(2)
    assert torch.equal(per_channel.amin(2), per_channel.amax(2))


def test_dropout_is_the_identity_in_evaluation_mode():
    x = torch.rand(3, 4)
    assert torch.equal(Dropout(0.9).eval()(x), x)


def test_unbound_dropout_does_not_fall_back_to_the_global_generator():
    with pytest.raises(RuntimeError, match="bind_dropout"):
        Dropout(0.5).train()(torch.ones(2, 2))


def test_weights_are_a_function_of_the_generator_alone():
    def drawn():
        net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ConvTranspose2d(3, 1, 3))
        draw_weights(net, torch.Generator().manual_seed(7))
        return net.state_dict()

    first = drawn()
    torch.rand(5)
    assert all(torch.equal(value, first[key]) for key, value in drawn().items())


def test_weights_have_the_scale_of_the_library_default():
    net = nn.Linear(400, 300)
    draw_weights(net, torch.Generator().manual_seed(0))
    assert net.weight.abs().max().item() == pytest.approx(1 / 20, rel=1e-2)
    assert net.bias.abs().max().item() == pytest.approx(1 / 20, rel=5e-2)


def test_a_layer_without_an_initialisation_rule_is_rejected():
    with pytest.raises(TypeError, match="no initialisation for LSTM"):
        draw_weights(nn.Sequential(nn.LSTM(2, 2)), torch.Generator())

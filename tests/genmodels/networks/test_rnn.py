"""The recurrent networks against their equations."""

import pytest
import torch
from torch import nn

from genmodels import networks
from genmodels.networks.blocks import bind_dropout
from genmodels.networks.shape import ImageShape
from tests.genmodels.networks.builders import ODD, drawn, options, pictures, rng


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_an_rnn_has_no_norm(norm: str):
    message = f"norm '{norm}' is not available for architecture 'rnn'"
    with pytest.raises(ValueError, match=message):
        networks.downward("rnn", ODD, 1, options(norm=norm))
    with pytest.raises(ValueError, match="norm"):
        networks.upward("rnn", 4, ODD, options(norm=norm))


def test_a_gru_has_the_scale_of_the_library_default():
    network = drawn(networks.downward("rnn", ImageShape(1, 8, 30), 3, options(width=64, depth=1)))
    (gru,) = (part for part in network.modules() if isinstance(part, nn.GRU))
    for parameter in gru.parameters():
        assert 1 / 8 >= parameter.abs().max().item() >= 0.95 / 8


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_penalty_of_an_rnn_has_a_gradient_on_a_gpu():
    network = drawn(networks.downward("rnn", ODD, 1, options())).train()
    gradients = []
    for device in ("cpu", "cuda"):
        network.to(device).zero_grad()
        x = pictures(ODD).to(device).requires_grad_()
        (slope,) = torch.autograd.grad(network(x).sum(), x, create_graph=True)
        slope.square().sum().backward()
        # Copies, because the move to the GPU also moves the gradients.
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        gradients.append([grad.clone().cpu() for grad in grads])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


def test_the_rnn_decoder_equals_its_equations():
    shape, units = ImageShape(3, 8, 11), 5
    network = drawn(networks.upward("rnn", 4, shape, options(width=units, depth=2)))
    z = torch.randn(2, 4, generator=rng())
    start, row = (m for m in network.modules() if isinstance(m, nn.Linear))
    first, second = (m for m in network.modules() if isinstance(m, nn.GRU))
    states = torch.tanh(start(z)).split(units, dim=1)
    rows = []
    for _ in range(shape.height):
        below = torch.gru_cell(z, states[0], *first.parameters())
        states = below, torch.gru_cell(below, states[1], *second.parameters())
        rows.append(row(states[1]).unflatten(1, (3, 11)))
    torch.testing.assert_close(network(z), torch.stack(rows, dim=2))


def test_the_rnn_encoder_equals_its_equations():
    shape = ImageShape(3, 8, 11)
    network = drawn(networks.downward("rnn", shape, 4, options(depth=1)))
    (gru,) = (m for m in network.modules() if isinstance(m, nn.GRU))
    (last,) = (m for m in network.modules() if isinstance(m, nn.Linear))
    x = pictures(shape, 2)
    state = torch.zeros(2, 5)
    for h in range(shape.height):
        state = torch.gru_cell(x[:, :, h].flatten(1), state, *gru.parameters())
    torch.testing.assert_close(network(x), last(state))


def test_z_reaches_every_row_without_the_recurrence():
    network = drawn(networks.upward("rnn", 4, ODD, options(depth=1)))
    (gru,) = (m for m in network.modules() if isinstance(m, nn.GRU))
    with torch.no_grad():
        gru.weight_hh_l0.zero_()
        gru.bias_ih_l0[5:10] = -100  # the update gate discards the last state
    z = torch.zeros(1, 4)
    moved = (network(z) - network(z + 1)).abs().amax((0, 1, 3))
    assert (moved > 1e-3).all()


def test_the_dropout_mask_of_an_rnn_is_the_same_for_all_rows():
    network = drawn(networks.upward("rnn", 4, ODD, options(width=40, depth=1, dropout=0.5)))
    seen = []
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    bind_dropout(network, rng())
    network.train()(torch.randn(3, 4, generator=rng()))
    dropped = seen[0] == 0
    assert 0.3 < dropped.float().mean().item() < 0.7
    assert torch.equal(dropped.all(1), dropped.any(1))

"""Batch norm and spectral norm in networks of every architecture."""

import copy
import io

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genmodels import networks
from genmodels.networks import spectral
from genmodels.networks.normalisation import batch_norms, frozen_statistics
from tests.genmodels.networks.builders import (
    NO_RNN,
    ODD,
    all_four,
    drawn,
    every_architecture,
    inputs,
    options,
    pictures,
    same,
)


def spectrals(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in network.state_dict().items() if k.endswith(("_u", "_v"))}


@every_architecture
def test_spectral_norm_is_for_discriminators(architecture: str):
    how = options(norm="spectral")
    with pytest.raises(ValueError, match="discriminators"):
        networks.upward(architecture, 4, ODD, how)
    with pytest.raises(ValueError, match="discriminators"):
        networks.to_grid(architecture, ODD, 2, how)
    with pytest.raises(ValueError, match="discriminators"):
        networks.from_grid(architecture, 2, ODD, how)


@pytest.mark.parametrize("architecture", NO_RNN)
def test_spectral_norm_bounds_every_layer_and_keeps_its_vectors_in_evaluation(architecture: str):
    how = options(norm="spectral", head_depth=0 if architecture == "mlp" else 1)
    network = drawn(networks.downward(architecture, ODD, 1, how)).train()
    layers = [m for m in network.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(50):
        optimizer.zero_grad()
        (-network(pictures(ODD)).sum()).backward()
        optimizer.step()
    network.eval()
    vectors = spectrals(network)
    network(pictures(ODD))
    assert same(spectrals(network), vectors)
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.flatten(1), ord=2).item()
        assert 0.95 <= largest <= 1.05


def test_drawn_weights_are_normalised_from_the_start():
    network = drawn(networks.downward("mlp", ODD, 1, options(norm="spectral", width=30))).eval()
    for layer in (m for m in network.modules() if isinstance(m, nn.Linear)):
        assert torch.linalg.matrix_norm(layer.weight, ord=2).item() == pytest.approx(1, abs=0.1)


def test_spectral_norm_survives_a_checkpoint_and_a_copy():
    def network_of(seed: int) -> nn.Module:
        return drawn(networks.downward("resnet", ODD, 1, options(norm="spectral")), seed).train()

    network, other = network_of(0), network_of(1)
    network(pictures(ODD))
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))  # noqa: TID251
    for twin in (other, copy.deepcopy(network)):
        assert same(twin.state_dict(), network.state_dict())
        assert torch.equal(copy.deepcopy(network)(pictures(ODD)), twin(pictures(ODD)))


def test_two_training_forwards_of_spectral_norm_can_be_differentiated():
    network = drawn(networks.downward("conv", ODD, 1, options(norm="spectral"))).train()
    real, fake = pictures(ODD).requires_grad_(), pictures(ODD) / 2
    logits = network(real), network(fake)
    (slope,) = torch.autograd.grad(logits[0].sum(), real, create_graph=True)
    (logits[1].mean() - logits[0].mean() + slope.square().sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())
    assert len(spectral.normalisations(network)) == sum(p.dim() > 1 for p in network.parameters())


@pytest.mark.parametrize("architecture", NO_RNN)
def test_a_frozen_discriminator_keeps_its_vectors(architecture: str):
    network = drawn(networks.downward(architecture, ODD, 1, options(norm="spectral"))).train()
    vectors = spectrals(network)
    x = pictures(ODD).requires_grad_()
    with frozen_statistics(network):
        network(x).sum().backward()
    assert same(spectrals(network), vectors)
    assert (x.grad != 0).any()
    network(x)
    assert not same(spectrals(network), vectors)


def test_frozen_statistics_leave_the_modes_as_they_were():
    network = drawn(networks.downward("conv", ODD, 1, options(norm="spectral")))
    for training in (True, False):
        network.train(training)
        with frozen_statistics(network):
            pass
        assert all(part.training == training for part in network.modules())


@pytest.mark.parametrize("architecture", NO_RNN)
def test_batch_norm_follows_every_hidden_layer(architecture: str):
    for plain, normed, x in zip(
        all_four(architecture, ODD),
        all_four(architecture, ODD, norm="batch"),
        inputs(ODD),
        strict=True,
    ):
        hidden = sum(isinstance(part, nn.LeakyReLU) for part in plain.modules())
        assert len(batch_norms(normed)) == hidden > 0
        assert not batch_norms(plain)
        assert torch.isfinite(normed(x)).all()

import copy
import io
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from genmodels import networks
from genmodels.networks import spectral
from genmodels.networks.blocks import (
    NetworkOptions,
    activation,
    batch_norms,
    bind_dropout,
    draw_weights,
    still_statistics,
)
from genmodels.networks.shape import ImageShape

SHAPES = [
    ImageShape(1, 8, 8),
    ImageShape(3, 8, 11),
    ImageShape(1, 28, 28),
    ImageShape(3, 33, 20),
    ImageShape(1, 65, 128),
]
ODD = ImageShape(3, 9, 14)
ALL = list(networks.ARCHITECTURES)
NO_RNN = [name for name in ALL if name != "rnn"]

every_architecture = pytest.mark.parametrize("architecture", ALL)


def options(**changes: Any) -> NetworkOptions:
    plain = {"width": 5, "depth": 2, "head_width": 6, "head_depth": 0}
    rest = {"norm": "none", "dropout": 0.0, "activation": "leaky_relu"}
    return NetworkOptions(**(plain | rest | changes))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(network: nn.Module, seed: int = 0) -> nn.Module:
    draw_weights(network, rng(seed))
    return network


def pictures(shape: ImageShape, n: int = 3) -> Tensor:
    return torch.rand(n, *shape, generator=rng(9))


def all_four(architecture: str, shape: ImageShape, **changes: Any) -> list[nn.Module]:
    """Every network of an architecture that has no spectral norm."""
    how = options(**changes)
    return [
        drawn(networks.downward(architecture, shape, 4, how)),
        drawn(networks.upward(architecture, 4, shape, how)),
        drawn(networks.to_grid(architecture, shape, 2, how)),
        drawn(networks.from_grid(architecture, 2, shape, how)),
    ]


def inputs(shape: ImageShape) -> list[Tensor]:
    """What the networks of `all_four` take."""
    rows, columns = networks.grid_size(shape)
    x = pictures(shape)
    return [x, torch.randn(3, 4, generator=rng(1)), x, torch.randn(3, rows * columns, 2)]


def spectrals(network: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in network.state_dict().items() if k.endswith(("_u", "_v"))}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


# Shapes


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@every_architecture
def test_every_size_of_image_goes_down_and_up(architecture: str, shape: ImageShape):
    rows, columns = networks.grid_size(shape)
    outputs = [net(x) for net, x in zip(all_four(architecture, shape), inputs(shape), strict=True)]
    images = (3, *shape)
    assert [tuple(out.shape) for out in outputs] == [(3, 4), images, (3, rows * columns, 2), images]


@pytest.mark.parametrize(
    ("shape", "grid"),
    [((1, 28, 28), (7, 7)), ((3, 32, 32), (8, 8)), ((1, 9, 64), (3, 16)), ((1, 65, 128), (9, 16))],
)
def test_the_grid_is_rounded_up_and_one_level_coarser_above_64(shape, grid):
    assert networks.grid_size(ImageShape(*shape)) == grid


@pytest.mark.parametrize("architecture", ["conv", "resnet"])
def test_a_head_stands_between_vector_and_features(architecture: str):
    how = options(width=4, head_width=6, head_depth=2)
    shape = ImageShape(1, 28, 28)
    down = networks.downward(architecture, shape, 5, how)
    up = networks.upward(architecture, 3, shape, how)
    dense = [
        [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]
        for net in (down, up)
    ]
    assert dense == [[(8 * 49, 6), (6, 6), (6, 5)], [(3, 6), (6, 6), (6, 8 * 49)]]


@pytest.mark.parametrize("architecture", ["conv", "resnet"])
def test_a_convolutional_grid_is_spatial(architecture: str):
    shape = ImageShape(1, 64, 64)
    down = drawn(networks.to_grid(architecture, shape, 2, options(depth=1)))
    up = drawn(networks.from_grid(architecture, 2, shape, options(depth=1)))
    x = pictures(shape, 1)
    changed = x.clone()
    changed[0, 0, 0, 0] += 1
    moved = (down(x) != down(changed)).any(2).reshape(16, 16)
    assert moved[0, 0]
    assert not moved[8:].any()
    assert not moved[:, 8:].any()
    grid = torch.randn(1, 16, 16, 2, generator=rng())
    lit = grid.clone()
    lit[0, 0, 15] += 1  # the first row's last column
    moved = (up(grid.flatten(1, 2)) != up(lit.flatten(1, 2)))[0, 0]
    assert moved[0, 63]
    assert not moved[32:].any()
    assert not moved[:, :32].any()


@every_architecture
def test_every_pixel_is_seen(architecture: str):
    network = drawn(networks.downward(architecture, ODD, 4, options(activation="tanh")))
    x = pictures(ODD, 1).requires_grad_()
    network(x).sum().backward()
    assert (x.grad != 0).all()


def test_depth_counts_residual_blocks_and_recurrent_layers():
    def count(architecture: str, kind: type, depth: int) -> int:
        network = networks.downward(architecture, SHAPES[2], 2, options(depth=depth))
        return sum(isinstance(part, kind) for part in network.modules())

    assert [count("resnet", nn.Conv2d, depth) for depth in (1, 2)] == [1 + 2 * 2 + 1, 1 + 4 * 2 + 1]
    assert [count("rnn", nn.GRU, depth) for depth in (1, 3)] == [1, 3]


# Options


def test_activations_are_what_their_names_say():
    x = torch.tensor([-1.0, 2.0])
    assert activation("relu")(x).tolist() == [0.0, 2.0]
    assert activation("leaky_relu")(x).tolist() == pytest.approx([-0.2, 2.0])
    assert activation("silu")(x).tolist() == pytest.approx((x * x.sigmoid()).tolist())
    assert activation("tanh")(x).tolist() == pytest.approx(x.tanh().tolist())


@pytest.mark.parametrize("architecture", NO_RNN)
def test_the_activation_reaches_the_layers(architecture: str):
    for name, kind in {"silu": nn.SiLU, "tanh": nn.Tanh}.items():
        for network in all_four(architecture, ODD, activation=name):
            kinds = {type(part) for part in network.modules()}
            assert kind in kinds
            assert not kinds & {nn.ReLU, nn.LeakyReLU}


@pytest.mark.parametrize("architecture", NO_RNN)
def test_batch_norm_is_everywhere_where_it_is_asked_for(architecture: str):
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


@pytest.mark.parametrize("norm", ["batch", "spectral"])
def test_an_rnn_has_no_norm(norm: str):
    message = f"norm '{norm}' is not available for architecture 'rnn'"
    with pytest.raises(ValueError, match=message):
        networks.downward("rnn", ODD, 1, options(norm=norm))
    with pytest.raises(ValueError, match="norm"):
        networks.upward("rnn", 4, ODD, options(norm=norm))


@every_architecture
def test_spectral_norm_is_for_discriminators(architecture: str):
    how = options(norm="spectral")
    with pytest.raises(ValueError, match="discriminators"):
        networks.upward(architecture, 4, ODD, how)
    with pytest.raises(ValueError, match="discriminators"):
        networks.to_grid(architecture, ODD, 2, how)
    with pytest.raises(ValueError, match="discriminators"):
        networks.from_grid(architecture, 2, ODD, how)


@every_architecture
def test_dropout_draws_from_the_bound_generator_alone(architecture: str):
    for network, x in zip(all_four(architecture, ODD, dropout=0.4), inputs(ODD), strict=True):
        with pytest.raises(RuntimeError, match="bind_dropout"):
            network.train()(x)
        untouched = torch.get_rng_state()
        outputs = []
        for seed in (1, 1, 2):
            bind_dropout(network, rng(seed))
            outputs.append(network(x))
        assert torch.equal(outputs[0], outputs[1])
        assert not torch.equal(outputs[0], outputs[2])
        assert torch.equal(torch.get_rng_state(), untouched)
        network.eval()
        assert torch.equal(network(x), network(x))


# Initial weights


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [(name, "none") for name in ALL] + [(name, "spectral") for name in NO_RNN],
)
def test_weights_are_a_function_of_the_generator_alone(architecture: str, norm: str):
    def weights(seed: int) -> dict[str, Tensor]:
        down = networks.downward(architecture, ODD, 3, options(norm=norm))
        up = networks.upward(architecture, 3, ODD, options())
        before = torch.get_rng_state()
        network = drawn(nn.ModuleList([down, up]), seed)
        assert torch.equal(torch.get_rng_state(), before)
        return network.state_dict()

    first, again, other = weights(0), weights(0), weights(1)
    assert same(first, again)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_a_gru_has_the_scale_of_the_library_default():
    network = drawn(networks.downward("rnn", ImageShape(1, 8, 30), 3, options(width=64, depth=1)))
    (gru,) = (part for part in network.modules() if isinstance(part, nn.GRU))
    for parameter in gru.parameters():
        assert 1 / 8 >= parameter.abs().max().item() >= 0.95 / 8


# Spectral norm


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


@pytest.mark.parametrize("architecture", NO_RNN)
def test_a_frozen_discriminator_keeps_its_vectors(architecture: str):
    network = drawn(networks.downward(architecture, ODD, 1, options(norm="spectral"))).train()
    vectors = spectrals(network)
    x = pictures(ODD).requires_grad_()
    with still_statistics(network):
        network(x).sum().backward()
    assert same(spectrals(network), vectors)
    assert (x.grad != 0).any()
    network(x)
    assert not same(spectrals(network), vectors)


def test_still_statistics_leave_the_modes_as_they_were():
    network = drawn(networks.downward("conv", ODD, 1, options(norm="spectral")))
    for training in (True, False):
        network.train(training)
        with still_statistics(network):
            pass
        assert all(part.training == training for part in network.modules())


def test_spectral_norm_survives_a_checkpoint_and_a_copy():
    def made(seed: int) -> nn.Module:
        return drawn(networks.downward("resnet", ODD, 1, options(norm="spectral")), seed).train()

    network, other = made(0), made(1)
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


# Gradient penalties


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [(name, "none") for name in ALL] + [(name, "spectral") for name in NO_RNN],
)
def test_the_penalty_has_a_gradient(architecture: str, norm: str):
    """Along a random direction in the weights, against central differences in float64."""
    how = options(norm=norm, activation="tanh")
    network = drawn(networks.downward(architecture, ODD, 1, how)).double().eval()
    x = pictures(ODD).double().requires_grad_()
    weights = dict(network.named_parameters())
    direction = {k: torch.randn(p.shape, generator=rng(3)).double() for k, p in weights.items()}

    def penalty(shift: float) -> Tensor:
        moved = {key: weight + shift * direction[key] for key, weight in weights.items()}
        logits = torch.func.functional_call(network, moved, (x,))
        (slope,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
        return slope.square().sum()

    gradients = torch.autograd.grad(penalty(0.0), list(weights.values()), materialize_grads=True)
    along = sum((g * d).sum() for g, d in zip(gradients, direction.values(), strict=True))
    expected = (penalty(1e-5) - penalty(-1e-5)) / 2e-5
    assert along.item() == pytest.approx(expected.item(), rel=1e-5)
    assert abs(along.item()) > 1e-3


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
        # Copies: the move of the weights to the GPU takes their gradients along.
        grads = [p.grad for p in network.parameters() if p.grad is not None]
        gradients.append([grad.clone().cpu() for grad in grads])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-5)


# The output's bias


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
@every_architecture
def test_a_network_without_weights_draws_its_output_bias(architecture: str, shape: ImageShape):
    image = torch.randn(shape, generator=rng())
    expected = {
        "mlp": image,
        "rnn": image.mean(1, keepdim=True).expand_as(image),
    }.get(architecture, image.mean((1, 2), keepdim=True).expand_as(image))
    _, up, _, from_grid = all_four(architecture, shape)
    _, z, _, grid = inputs(shape)
    for network, x in ((up, z), (from_grid, grid)):
        networks.set_output_bias(network, image)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.dim() > 1:
                    parameter.zero_()
        for out in network(x):
            torch.testing.assert_close(out, expected, rtol=1e-6, atol=0)
        assert torch.equal(networks.shared_by_bias(network, image), expected)


@every_architecture
def test_a_shared_image_is_drawn_as_it_is(architecture: str):
    network = networks.upward(architecture, 4, ODD, options())
    shared = networks.shared_by_bias(network, torch.randn(ODD, generator=rng()))
    torch.testing.assert_close(networks.shared_by_bias(network, shared), shared)


# The rnn


def test_an_rnn_writes_as_its_equations_say():
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


def test_an_rnn_reads_as_its_equations_say():
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
        gru.bias_ih_l0[5:10] = -100  # the update gate: nothing of the last state is kept
    z = torch.zeros(1, 4)
    moved = (network(z) - network(z + 1)).abs().amax((0, 1, 3))
    assert (moved > 1e-3).all()


def test_the_dropout_of_an_rnn_holds_for_all_rows():
    network = drawn(networks.upward("rnn", 4, ODD, options(width=40, depth=1, dropout=0.5)))
    seen = []
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    last.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    bind_dropout(network, rng())
    network.train()(torch.randn(3, 4, generator=rng()))
    dropped = seen[0] == 0
    assert 0.3 < dropped.float().mean().item() < 0.7
    assert torch.equal(dropped.all(1), dropped.any(1))


# Precision


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [(name, "none") for name in ALL] + [(name, "spectral") for name in NO_RNN],
)
def test_bf16_gives_nearly_the_same(architecture: str, norm: str):
    down = drawn(networks.downward(architecture, ODD, 4, options(norm=norm, width=16)))
    up = drawn(networks.upward(architecture, 4, ODD, options(width=16)), seed=1)
    both = nn.Sequential(down, up).eval()
    gradients = []
    for enabled in (False, True):
        both.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            out = both(pictures(ODD))
        out.float().square().sum().backward()
        gradients.append(torch.cat([p.grad.flatten() for p in both.parameters()]))
    assert torch.cosine_similarity(*gradients, dim=0).item() > 0.99

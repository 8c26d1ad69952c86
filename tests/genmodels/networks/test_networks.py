"""Every architecture: shapes, options, initial weights, output bias, precision."""

import pytest
import torch
from torch import Tensor, nn

from genmodels import networks
from genmodels.networks.blocks import activation, bind_dropout
from genmodels.networks.shape import ImageShape
from tests.genmodels.networks.builders import (
    ALL,
    NO_RNN,
    ODD,
    SHAPES,
    all_four,
    drawn,
    every_architecture,
    inputs,
    options,
    pictures,
    rng,
    same,
)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@every_architecture
def test_every_network_has_the_right_output_shape_for_every_image_size(
    architecture: str, shape: ImageShape
):
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
def test_every_pixel_has_a_gradient(architecture: str):
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


def test_activations_equal_their_formulas():
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


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [(name, "none") for name in ALL] + [(name, "spectral") for name in NO_RNN],
)
def test_the_gradient_of_a_penalty_equals_finite_differences(architecture: str, norm: str):
    """Along a random direction of the weights, compared with central differences in float64."""
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


@pytest.mark.parametrize("shape", SHAPES[:4], ids=str)
@every_architecture
def test_a_network_with_zero_weights_outputs_its_output_bias(architecture: str, shape: ImageShape):
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
def test_shared_by_bias_is_idempotent(architecture: str):
    network = networks.upward(architecture, 4, ODD, options())
    shared = networks.shared_by_bias(network, torch.randn(ODD, generator=rng()))
    torch.testing.assert_close(networks.shared_by_bias(network, shared), shared)


@pytest.mark.parametrize(
    ("architecture", "norm"),
    [(name, "none") for name in ALL] + [(name, "spectral") for name in NO_RNN],
)
def test_gradients_under_bf16_point_in_the_same_direction(architecture: str, norm: str):
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

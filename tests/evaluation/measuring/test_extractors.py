import subprocess
import sys

import pytest
import torch

from evaluation.measuring.extractors import Classifier, Extractor, identity


def test_the_identity_depends_on_names_values_and_scale_only() -> None:
    state = {"a": torch.arange(4.0), "b": torch.ones(2)}
    value = identity(state, 2.0)
    assert value == identity(dict(reversed(state.items())), 2.0)
    assert value == identity({"a": torch.arange(8.0)[::2] / 2, "b": torch.ones(2)}, 2.0)
    assert value != identity(state, 3.0)
    assert value != identity(state | {"b": torch.zeros(2)}, 2.0)
    assert value != identity({"a": state["a"], "c": state["b"]}, 2.0)
    assert value != identity(state | {"a": state["a"].double()}, 2.0)


def test_logits_come_from_the_features(extractor, make_pictures) -> None:
    x = make_pictures(6, 0)
    expected = extractor.classifier(x)
    torch.testing.assert_close(extractor.logits(x), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(extractor.classify(extractor.features(x)), extractor.logits(x))


def test_the_extractor_stays_in_evaluation_mode_and_has_no_gradients(
    extractor, make_pictures
) -> None:
    features = extractor.features(make_pictures(3, 0))
    assert features.dtype == torch.float32
    assert features.shape == (3, 8)
    assert not features.requires_grad
    assert not any(module.training for module in extractor.classifier.modules())


def test_images_of_another_shape_are_refused(extractor) -> None:
    with pytest.raises(ValueError, match=r"takes images of shape \(1, 12, 12\)"):
        extractor.features(torch.zeros(2, 3, 12, 12))


@pytest.mark.parametrize(
    ("side", "flat"), [(8, 4 * 8), (28, 49 * 8), (40, 100 * 8), (64, 64 * 16), (128, 64 * 32)]
)
def test_larger_images_get_more_blocks_so_that_the_map_stays_small(side: int, flat: int) -> None:
    network = Classifier((3, side, side), 5, 4, 6)
    hidden = network.body[-2]
    assert hidden.in_features == flat
    network.initialise(torch.Generator().manual_seed(0))
    assert network(torch.zeros(2, 3, side, side)).shape == (2, 5)


def test_weights_come_from_the_generator_alone() -> None:
    before = torch.get_rng_state()
    networks = [Classifier((1, 12, 12), 4, 4, 8) for _ in range(2)]
    for network in networks:
        network.initialise(torch.Generator().manual_seed(7))
    assert torch.equal(torch.get_rng_state(), before)
    one, two = (network.state_dict() for network in networks)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert all(value.abs().max() <= 1 for value in one.values())


def test_evaluation_imports_neither_genmodels_nor_pipelines() -> None:
    code = (
        "import importlib, pkgutil, sys, evaluation\n"
        "for module in pkgutil.walk_packages(evaluation.__path__, 'evaluation.'):\n"
        "    importlib.import_module(module.name)\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in {'genmodels', 'pipelines'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr


def test_an_extractor_scales_its_features(extractor, make_pictures) -> None:
    x = make_pictures(5, 0)
    double = Extractor(
        extractor.classifier,
        image_shape=extractor.image_shape,
        num_classes=4,
        width=4,
        num_features=8,
        scale=20.0,
    )
    torch.testing.assert_close(double.features(x), 2 * extractor.features(x))
    assert double.sha256 != extractor.sha256

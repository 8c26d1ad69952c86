"""Parity with independent implementations on the same features, within measured tolerances."""

import pytest
import torch
from torch import Tensor, nn

from evaluation.measuring.moments import frechet_parts
from evaluation.metrics.inception_score import class_score, split_scores
from evaluation.metrics.kid import kernel_distance

N, D = 300, 32


@pytest.fixture
def features(rng) -> tuple[Tensor, Tensor]:
    mix = torch.randn(D, D, generator=rng, dtype=torch.float64) / D**0.5
    one = torch.randn(N, D, generator=rng, dtype=torch.float64) @ mix
    other = 1.2 * torch.randn(N, D, generator=rng, dtype=torch.float64) @ mix + 0.2
    return one, other


class PassThrough(nn.Module):
    """An extractor that returns its input."""

    num_features = D

    def forward(self, x: Tensor) -> Tensor:
        return x


def test_fid_is_that_of_torch_fidelity(features) -> None:
    fid = pytest.importorskip("torch_fidelity.metric_fid")
    one, two = (fid.fid_features_to_statistics(side) for side in features)
    peer = fid.fid_statistics_to_metric(one, two, verbose=False)["frechet_inception_distance"]
    assert sum(frechet_parts(*features)) == pytest.approx(peer, rel=1e-9)


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_fid_is_that_of_torchmetrics(features, dtype: torch.dtype, rel: float) -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    sides = [side.to(dtype) for side in features]
    metric = FrechetInceptionDistance(feature=PassThrough())
    metric.update(sides[0], real=True)
    metric.update(sides[1], real=False)
    assert sum(frechet_parts(*sides)) == pytest.approx(metric.compute().item(), rel=rel)


def test_kid_is_that_of_torch_fidelity(features) -> None:
    kid = pytest.importorskip("torch_fidelity.metric_kid")
    peer = kid.kid_features_to_metric(
        *features, kid_subsets=1, kid_subset_size=N, rng_seed=0, verbose=False
    )["kernel_inception_distance_mean"]
    assert kernel_distance(*features) == pytest.approx(peer, rel=1e-9)


@pytest.mark.parametrize(("dtype", "rel"), [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_kid_is_that_of_torchmetrics(features, dtype: torch.dtype, rel: float) -> None:
    from torchmetrics.image.kid import poly_mmd

    peer = poly_mmd(*(side.to(dtype) for side in features)).item()
    assert kernel_distance(*features) == pytest.approx(peer, rel=rel)


def test_class_score_is_that_of_torch_fidelity(rng) -> None:
    isc = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * torch.randn(200, 10, generator=rng)
    peer = isc.isc_features_to_metric(logits, splits=1)["inception_score_mean"]
    assert class_score(logits) == pytest.approx(peer, rel=1e-9)


def test_the_deviation_over_splits_is_that_of_torch_fidelity_up_to_ddof(rng) -> None:
    isc = pytest.importorskip("torch_fidelity.metric_isc")
    logits = 3 * torch.randn(200, 10, generator=rng)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(5))
    peer = isc.isc_features_to_metric(logits[order], splits=10, shuffle=False)
    scores = split_scores(logits, seed=5)
    assert scores.mean().item() == pytest.approx(peer["inception_score_mean"], rel=1e-9)
    deviation = scores.std(correction=0).item()
    assert deviation == pytest.approx(peer["inception_score_std"], rel=1e-6)


def test_class_score_is_that_of_torchmetrics(rng) -> None:
    from torchmetrics.image.inception import InceptionScore

    logits = 3 * torch.randn(200, 10, generator=rng, dtype=torch.float64)
    with pytest.warns(UserWarning, match="InceptionScore. will save all extracted features"):
        metric = InceptionScore(feature=PassThrough(), splits=1, normalize=False)
    metric.update(logits)
    # With one split its standard deviation is of one value.
    with torch.random.fork_rng(), pytest.warns(UserWarning, match="degrees of freedom"):
        peer = metric.compute()[0].item()
    assert class_score(logits) == pytest.approx(peer, rel=1e-6)

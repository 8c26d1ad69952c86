"""Points that are hard for the fast formula of distances, for neighbours and overlap."""

import pytest
from torch import Tensor

from evaluation.measuring import neighbours
from tests.evaluation.measuring.hard_points import CASES


@pytest.fixture(params=[2**21, 700], ids=["one chunk", "many chunks"])
def chunked(request, monkeypatch):
    monkeypatch.setattr(neighbours, "_CHUNK", request.param)


@pytest.fixture(params=CASES)
def sides(request) -> tuple[Tensor, Tensor]:
    return CASES[request.param]

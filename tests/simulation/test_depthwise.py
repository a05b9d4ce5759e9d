"""Depthwise convolutions of several planes: split into single channels by the oneDNN engine."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dse.simulation.engines import OneDnnEngine, is_exact


@pytest.fixture(params=["highest", "medium"])
def precision(request):
    """A caller may have allowed bfloat16 products; integer sums must not use them."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("n_planes", [1, 2, 3, 8, 16])
@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 1), (1, 2))])
def test_depthwise_planes_equal_int64_convolution(n_planes, stride, dilation, precision):
    if not is_exact(OneDnnEngine()):
        pytest.skip("oneDNN is not exact on this machine, so it is not used")
    rng, channels = np.random.default_rng(n_planes), 24
    weight = torch.from_numpy(rng.integers(-128, 128, (channels, n_planes, 3, 3), dtype=np.int8))
    x = torch.from_numpy(rng.integers(0, 256, (2, channels * n_planes, 11, 10), dtype=np.uint8))
    x[0], weight[0] = 255, 127  # the largest sums
    x = x.contiguous(memory_format=torch.channels_last)
    sums = OneDnnEngine().prepare(weight, stride, dilation, channels)(x)
    assert torch.equal(sums.double(), F.conv2d(x.double(), weight.double(), None, stride, 0, dilation, channels))
    assert sums.is_contiguous(memory_format=torch.channels_last)

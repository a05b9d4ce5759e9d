import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dse.simulation.engines import (
    ENGINES,
    FLOAT_EXACT,
    FloatEngine,
    OneDnnEngine,
    default_engine,
    is_exact,
    largest_sum,
)


@pytest.mark.parametrize("name", sorted(ENGINES))
@pytest.mark.parametrize(
    ("channels", "outputs", "kernel", "stride", "dilation", "groups"),
    [(4, 5, (3, 3), (1, 1), (1, 1), 1), (6, 6, (3, 3), (2, 2), (1, 1), 6), (6, 12, (1, 3), (1, 2), (2, 1), 3),
     (33, 17, (1, 1), (1, 1), (1, 1), 1), (1, 1, (5, 5), (1, 1), (1, 1), 1), (8, 4, (2, 1), (3, 1), (3, 3), 2)],
)  # fmt: skip
def test_equals_int64_convolution(name, channels, outputs, kernel, stride, dilation, groups, random_codes):
    if not is_exact(ENGINES[name]()):
        pytest.skip(f"{name} is not exact on this machine, so it is not used")
    rng = np.random.default_rng(0)
    weight = random_codes((outputs, channels // groups, *kernel), torch.int8, rng)
    x = random_codes((3, channels, 9, 8), torch.uint8, rng).contiguous(memory_format=torch.channels_last)
    assert largest_sum(weight) < FLOAT_EXACT
    result = ENGINES[name]().prepare(weight, stride, dilation, groups)(x)
    assert result.dtype == torch.float32
    expected = F.conv2d(x.double(), weight.double(), None, stride, 0, dilation, groups)
    assert torch.equal(result.double(), expected)


def test_largest_sum_is_reached_by_extreme_inputs(random_codes):
    weight = random_codes((5, 3, 2, 2), torch.int8, np.random.default_rng(3))
    reached = max(
        int((255 * w[sign * w > 0].abs()).sum()) for w in weight.to(torch.int64) for sign in (1, -1)
    )
    assert largest_sum(weight) == reached
    assert largest_sum(torch.full((1, 1, 1, 1), -128, dtype=torch.int8)) == 255 * 128


def test_float_engine_is_exact():
    assert is_exact(FloatEngine())


def test_a_saturating_engine_is_found_out():
    class Saturating:
        def prepare(self, weight, stride, dilation, groups):
            exact = FloatEngine().prepare(weight, stride, dilation, groups)
            return lambda x: exact(x).clamp(-(2**15), 2**15 - 1)

    class Absent:
        def prepare(self, weight, stride, dilation, groups):
            raise AttributeError("no such operator")

    assert not is_exact(Saturating())
    assert not is_exact(Absent())


def test_default_engine_is_exact_and_kept():
    assert is_exact(default_engine())
    assert default_engine() is default_engine()
    assert isinstance(default_engine(), OneDnnEngine | FloatEngine)

from dataclasses import replace

import numpy as np
import pytest
import torch

from dse.errors import ShapeError
from dse.multipliers.multiplier import exact_table
from dse.simulation.problem import INT32_MAX, integer_conv, padded, rescale, unsigned_padded, wrapped_int32

WEIGHT = torch.zeros(4, 2, 3, 3, dtype=torch.uint8)


def _table(value=0):
    return torch.full((256, 256), value, dtype=torch.int32)


@pytest.mark.parametrize("height", [5, 8])
@pytest.mark.parametrize(
    ("stride", "padding", "dilation"), [((1, 2), (0, 1, 2, 3), (2, 1)), ((3, 1), (0,) * 4, (1, 2))]
)
def test_output_size_is_torchs(height, stride, padding, dilation):
    problem = integer_conv(WEIGHT, torch.uint8, stride=stride, padding=padding, dilation=dilation)
    padded = torch.nn.functional.pad(torch.zeros(1, 2, height, 7), padding)
    expected = torch.nn.functional.conv2d(padded, WEIGHT.float(), stride=stride, dilation=dilation)
    assert problem.output_size(height, 7) == tuple(expected.shape[2:])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"groups": 3}, "groups"),
        ({"groups": 0}, "groups"),
        ({"stride": (0, 1)}, "stride"),
        ({"dilation": (1, 0)}, "dilation"),
        ({"padding": (0, -1, 0, 0)}, "padding"),
        ({"x_zero_point": 256}, "x_zero_point"),
        ({"x_zero_point": -1}, "x_zero_point"),
    ],
)
def test_refuses_bad_arguments(arguments, message):
    with pytest.raises(ShapeError, match=message):
        integer_conv(WEIGHT, torch.uint8, **arguments)


@pytest.mark.parametrize("weight", [WEIGHT.float(), WEIGHT[0], WEIGHT[:0], WEIGHT[:, :, :0]])
def test_refuses_bad_weights(weight):
    with pytest.raises(ShapeError, match="expected"):
        integer_conv(weight, torch.uint8)


@pytest.mark.parametrize(
    "x",
    [torch.zeros(1, 2, 5, 5), torch.zeros(1, 3, 5, 5, dtype=torch.uint8), torch.zeros(2, 5, 5, dtype=torch.uint8),
     torch.zeros(1, 2, 2, 5, dtype=torch.uint8)],
)  # fmt: skip
def test_refuses_bad_input(x):
    with pytest.raises(ShapeError):
        integer_conv(WEIGHT, torch.uint8).check_input(x)


def test_overflow_of_large_sums_is_refused():
    largest = torch.full((1, 33026, 1, 1), 255, dtype=torch.uint8)
    exact = torch.tensor(exact_table(False))
    integer_conv(largest[:, :33025], torch.uint8).check_range(exact)  # 33025 * 65025 <= 2^31 - 1
    with pytest.raises(ShapeError, match="int32"):
        integer_conv(largest, torch.uint8).check_range(exact)


def test_weights_that_cannot_overflow_are_accepted():
    """The worst table entry times the fan-in of VGG-16's first linear layer is too large; these weights are not."""
    weight = torch.from_numpy(np.random.default_rng(0).integers(100, 156, (3, 25088, 1, 1))).to(torch.uint8)
    zero_points = torch.full((3,), 128)
    problem = integer_conv(weight, torch.uint8, w_zero_point=zero_points, constant=torch.full((3,), 10**6))
    problem.check_range(torch.tensor(exact_table(False)))
    with pytest.raises(ShapeError):
        replace(problem, constant=torch.full((3,), INT32_MAX)).check_range(torch.tensor(exact_table(False)))


@pytest.mark.parametrize("value", [INT32_MAX, -INT32_MAX - 1])
def test_overflow_of_extreme_tables_is_refused(value):
    single = integer_conv(torch.zeros(1, 1, 1, 1, dtype=torch.uint8), torch.uint8)
    if value > 0:
        single.check_range(_table(value))
    with pytest.raises(ShapeError, match="int32"):
        integer_conv(WEIGHT, torch.uint8).check_range(_table(value))


@pytest.mark.parametrize(("dtype", "zero_point"), [(torch.uint8, 7), (torch.int8, -3)])
def test_pads_with_the_zero_code(dtype, zero_point):
    low = torch.iinfo(dtype).min
    problem = integer_conv(WEIGHT.to(dtype), dtype, x_zero_point=zero_point, padding=(1, 0, 2, 3))
    x = torch.arange(2 * 2 * 3 * 3).view(2, 2, 3, 3).sub(low % 5).to(dtype)
    codes = padded(problem, x)
    assert codes.dtype == dtype
    assert codes.is_contiguous(memory_format=torch.channels_last)
    expected = torch.nn.functional.pad(x.long(), (1, 0, 2, 3), value=zero_point)
    assert torch.equal(codes.long(), expected)
    assert unsigned_padded(problem, x).dtype == torch.uint8
    assert torch.equal(unsigned_padded(problem, x).long(), expected - low)


def test_int32_modulo_its_range():
    values = torch.tensor([0, -1, 2**31 - 1, 2**31, -(2**31) - 1, 5 * 2**32 + 3])
    assert wrapped_int32(values).tolist() == [0, -1, 2**31 - 1, -(2**31), 2**31 - 1, 3]


def test_rescales_with_two_roundings():
    sums = torch.tensor([[[[16777217]], [[3]]]], dtype=torch.int32)
    scale, bias = torch.tensor([0.1, 0.1]), torch.tensor([-1677721.6, 1e-9])
    rounded = np.array([16777216, 3], dtype=np.float32) * np.float32(0.1)  # float32 has no 16777217
    assert rescale(sums, scale, bias).flatten().tolist() == (rounded + bias.numpy()).tolist()


def test_bounds_of_some_outputs(make_case):
    problem = make_case(False, outputs=6, groups=2).problem
    some = problem.outputs(torch.tensor([1, 4]))
    assert some.n_outputs == 2
    assert torch.equal(some.weight, problem.weight[[1, 4]])
    assert torch.equal(some.constant, problem.constant[[1, 4]])

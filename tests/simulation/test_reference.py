import itertools

import numpy as np
import pytest
import torch

from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation import reference
from dse.simulation.reference import ReferenceConv


def _loops(problem, x, table):
    """The definition, product by product, in Python numbers."""
    p, x = problem, x.to(torch.int64).numpy()
    weight, (left, right, top, bottom) = p.weight.to(torch.int64).numpy(), p.padding
    n, _, height, width = x.shape
    padded = np.full((n, x.shape[1], height + top + bottom, width + left + right), p.x_zero_point)
    padded[:, :, top : top + height, left : left + width] = x
    out_height, out_width = p.output_size(height, width)
    result = np.zeros((n, p.n_outputs, out_height, out_width), dtype=np.int64)
    per_group = weight.shape[1]
    for i, o, row, column in np.ndindex(*result.shape):
        first = o // (p.n_outputs // p.groups) * per_group
        total = int(p.constant[o])
        for c, u, v in itertools.product(range(per_group), range(weight.shape[2]), range(weight.shape[3])):
            at = (row * p.stride[0] + u * p.dilation[0], column * p.stride[1] + v * p.dilation[1])
            a, w = int(padded[i, first + c, at[0], at[1]]), int(weight[o, c, u, v])
            total += int(table[a - p.x_low, w - p.w_low]) - int(p.w_zero_point[o]) * a
        result[i, o, row, column] = total
    return torch.from_numpy(result).to(torch.int32)


CASES = [
    {"channels": 2, "outputs": 3},
    {"channels": 4, "outputs": 4, "groups": 2, "stride": (2, 1), "dilation": (1, 2)},
    {"channels": 3, "outputs": 6, "groups": 3, "kernel": (2, 3), "padding": (0, 2, 1, 0)},
    {"channels": 2, "outputs": 2, "kernel": (1, 1), "padding": (0, 0, 0, 0), "has_zero_points": False},
]


@pytest.mark.parametrize("arguments", CASES)
@pytest.mark.parametrize(("is_signed", "x_zero_point"), [(False, 0), (False, 77), (True, 0), (True, -5)])
def test_is_the_definition(make_case, arguments, is_signed, x_zero_point):
    table = np.random.default_rng(1).integers(-(2**16), 2**16, (256, 256))
    case = make_case(is_signed, size=(4, 5), x_zero_point=x_zero_point, **arguments)
    result = ReferenceConv(case.problem, torch.tensor(table, dtype=torch.int32))(case.x)
    assert result.dtype == torch.int32
    assert torch.equal(result, _loops(case.problem, case.x, table))


def test_exact_table_is_a_convolution(make_case):
    case = make_case(False, has_zero_points=False, padding=(0, 0, 0, 0))
    result = ReferenceConv(case.problem, torch.tensor(exact_table(False)))(case.x)
    expected = torch.nn.functional.conv2d(case.x.double(), case.problem.weight.double())
    assert torch.equal(result.double(), expected + case.problem.constant.view(1, -1, 1, 1))


def test_is_cut_to_bound_memory(make_case, monkeypatch):
    case = make_case(True, n=5)
    table = torch.tensor(Multiplier.from_function("t", lambda a, b: a * b - 3, is_signed=True).table)
    whole = ReferenceConv(case.problem, table)(case.x)
    monkeypatch.setattr(reference, "_MAX_ELEMENTS", 1)
    assert torch.equal(ReferenceConv(case.problem, table)(case.x), whole)


def test_empty_batch(make_case):
    case = make_case(False)
    result = ReferenceConv(case.problem, torch.tensor(exact_table(False)))(case.x[:0])
    assert result.shape == (0, 6, 6, 5)
    assert result.dtype == torch.int32

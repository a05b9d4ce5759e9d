"""Derivatives of tables: against sums over every product."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dse.multipliers.multiplier import operand_codes
from dse.recovery import table_gradients
from dse.recovery.table_gradients import TableGradients, column_slopes, convolution_gradients
from dse.simulation.problem import integer_conv
from dse.testing.tiny import tiny_library

GEOMETRIES = {
    "plain": {"padding": (1, 1, 1, 1)},
    "strided": {"stride": (2, 1), "padding": (0, 1, 1, 0)},
    "dilated": {"dilation": (2, 2), "padding": (2, 1, 2, 1)},
    "grouped": {"groups": 2, "padding": (1, 1, 0, 0)},
    "depthwise": {"groups": 4},
}


def make_problem(is_signed, geometry):
    generator = torch.Generator().manual_seed(3)
    low, high, dtype = (-128, 128, torch.int8) if is_signed else (0, 256, torch.uint8)
    options = GEOMETRIES[geometry]
    shape = (4, 4 // options.get("groups", 1), 3, 2)
    weight, codes = (torch.randint(low, high, s, generator=generator).to(dtype) for s in (shape, (2, 4, 6, 6)))
    problem = integer_conv(weight, dtype, x_zero_point=0 if is_signed else 7, **options)
    upstream = torch.randn(2, 4, *problem.output_size(6, 6), generator=generator)
    return problem, codes, upstream


def brute_force(problem, codes, upstream, by_x, by_weight):
    """Sums of the derivatives at every product, by autograd through a bilinear stand-in."""
    x, w = codes.double().requires_grad_(), problem.weight.double().requires_grad_()
    left, right, top, bottom = problem.padding
    kernel = problem.weight.shape[2:]

    def patches(values, fill):
        padded = F.pad(values, (left, right, top, bottom), value=fill)
        return F.unfold(padded, kernel, problem.dilation, 0, problem.stride).unflatten(1, (problem.groups, -1))

    at_x, by = patches(codes.double(), problem.x_zero_point).long() - problem.x_low, patches(x, 0.0)
    n, groups, n_inputs, n_positions = by.shape
    at_w, weights = (v.reshape(groups, -1, n_inputs) for v in (problem.weight.long() - problem.w_low, w))
    at_x, by = at_x[:, :, None], by[:, :, None]  # n, groups, 1, inputs, positions
    at_w, weights = at_w[None, ..., None], weights[None, ..., None]
    slopes_x, slopes_w = (torch.from_numpy(table)[at_x, at_w] for table in (by_x, by_weight))
    sums = (slopes_x * by + slopes_w * weights).sum(3).reshape(n, -1, *upstream.shape[2:])
    return torch.autograd.grad(sums, [x, w], upstream.double())


@pytest.fixture
def all_components(monkeypatch):
    monkeypatch.setattr(table_gradients, "RANK", 256)
    table_gradients._table_gradients.cache_clear()
    yield
    table_gradients._table_gradients.cache_clear()


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("is_signed", [False, True])
def test_all_components_are_the_smoothed_derivative(geometry, is_signed, all_components):
    multiplier = tiny_library(is_signed=is_signed)[0]
    problem, codes, upstream = make_problem(is_signed, geometry)
    error = multiplier.error.astype(np.float64)
    slopes = table_gradients._difference(error), table_gradients._difference(error.T).T
    expected = brute_force(problem, codes, upstream, *slopes)
    found = TableGradients.of(multiplier).apply(problem, codes, problem.weight, upstream, needs_x=True)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-3, atol=1e-3 * float(theirs.abs().max()))
    without, by_weight = TableGradients.of(multiplier).apply(problem, codes, problem.weight, upstream, needs_x=False)
    assert without is None
    assert torch.equal(by_weight, found[1])


def test_the_exact_multiplier_adds_nothing():
    multiplier = tiny_library()[5]
    problem, codes, upstream = make_problem(False, "plain")
    by_x, by_weight = TableGradients.of(multiplier).apply(problem, codes, problem.weight, upstream, needs_x=True)
    assert not by_x.any()
    assert not by_weight.any()
    assert TableGradients.of(multiplier) is TableGradients.of(multiplier)


def test_slopes_over_a_few_codes():
    line = np.arange(256.0)[:, None] * np.array([3.0, -1.0])
    np.testing.assert_allclose(table_gradients._difference(line), np.broadcast_to([3.0, -1.0], (256, 2)))
    steps = np.floor(np.arange(256) / 16)[:, None] * 16  # jumps of 16 every 16 codes: a slope of 1
    assert (table_gradients._difference(steps)[8:-8] == 1).all()


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_convolution_gradients(geometry):
    problem, codes, upstream = make_problem(False, geometry)
    x, w = codes.float().requires_grad_(), problem.weight.float().requires_grad_()
    outputs = F.conv2d(F.pad(x, problem.padding), w, None, problem.stride, 0, problem.dilation, problem.groups)
    expected = torch.autograd.grad(outputs, [x, w], upstream)
    found = convolution_gradients(problem, x.detach(), w.detach(), upstream, needs=(True, True))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-2)
    assert convolution_gradients(problem, x.detach(), w.detach(), upstream, needs=(False, True))[0] is None


@pytest.mark.parametrize("is_signed", [False, True])
def test_column_slopes_are_those_of_fitted_lines(is_signed):
    library, rng = tiny_library(is_signed=is_signed), np.random.default_rng(0)
    codes, histogram = operand_codes(is_signed), rng.random(256)
    for multiplier in library:
        slopes = column_slopes(multiplier, histogram).numpy()
        fitted = np.polyfit(codes, multiplier.table, 1, w=np.sqrt(histogram))[0]
        np.testing.assert_allclose(slopes, fitted, atol=1e-3)
        if multiplier.is_exact:
            np.testing.assert_allclose(slopes, codes, atol=1e-4)


def test_without_spread_the_slope_is_the_weight():
    histogram = np.zeros(256)
    histogram[7] = 3.0
    slopes = column_slopes(tiny_library()[0], histogram)
    np.testing.assert_array_equal(slopes.numpy(), np.arange(256))

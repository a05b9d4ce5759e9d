"""Skipping weights of zero adds exactly nothing for them, on every backend."""

import dataclasses

import numpy as np
import pytest
import torch

from dse.multipliers.families import builtin_library
from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation.native import PermuteKernel
from dse.simulation.native_library import load
from dse.simulation.ops import BACKENDS, prepare
from dse.simulation.planner import KERNELS
from dse.simulation.reference import unfold_codes
from dse.simulation.zero_weights import prepare_skipping, skipping_zeros

CASES = {
    "plain": {"outputs": 9},
    "strided": {"outputs": 5, "stride": (2, 1), "size": (7, 6), "padding": (0, 2, 1, 0), "x_zero_point": 5},
    "dilated": {"outputs": 5, "dilation": (2, 1), "kernel": (2, 3), "padding": (2, 1, 1, 2), "x_zero_point": 3},
    "linear": {"outputs": 7, "channels": 33, "kernel": (1, 1), "padding": (0, 0, 0, 0), "size": (1, 1)},
    "grouped": {"outputs": 12, "groups": 4, "x_zero_point": 9},
    "depthwise": {"outputs": 8, "groups": 8, "stride": (2, 2)},
}


@pytest.fixture(params=sorted(BACKENDS))
def backend(request):
    """Every backend that this machine can run."""
    name, library = request.param, load()
    if name in KERNELS and library is None:
        pytest.skip("no native library")
    if name == "permute" and not PermuteKernel.fits(exact_table(False), library):
        pytest.skip(f"level {library.isa_name} has no byte permutes")
    return name


def with_zeros(problem, zero_points, share=0.6, seed=0):
    """The problem with other zero codes, and a share of the weights at them."""
    is_zero = torch.from_numpy(np.random.default_rng(seed).random(problem.weight.shape) < share)
    is_zero[0], is_zero[-1] = True, False  # a filter of zeros, one without
    zero = zero_points.view(-1, 1, 1, 1).to(problem.weight.dtype)
    return dataclasses.replace(problem, weight=torch.where(is_zero, zero, problem.weight), w_zero_point=zero_points)


def skipped_sums(problem, multiplier, x):
    """The definition: `SUM T[x, w] - z_w x` over the weights that are not zero, one by one."""
    patches = unfold_codes(problem, x).numpy()  # [groups, K, positions]
    weight, zero = problem.weight.flatten(1).to(torch.int64).numpy(), problem.w_zero_point.numpy()
    table = multiplier.table.astype(np.int64)
    sums = np.zeros((problem.n_outputs, patches.shape[2]), dtype=np.int64) + problem.constant.numpy()[:, None]
    for o in range(problem.n_outputs):
        inputs = patches[o // (problem.n_outputs // problem.groups)]
        for k in np.flatnonzero(weight[o] != zero[o]):
            sums[o] += table[inputs[k] - problem.x_low, weight[o, k] - problem.w_low] - zero[o] * inputs[k]
    return sums.reshape(problem.n_outputs, len(x), *problem.output_size(*x.shape[2:])).transpose(1, 0, 2, 3)


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_skipped_weights_add_nothing(case, is_signed, backend, make_case, low_rank_multiplier):
    made, multiplier = make_case(is_signed, **CASES[case]), low_rank_multiplier(is_signed)
    if backend == "permute" and not PermuteKernel.fits(multiplier.table, load()):
        multiplier = Multiplier("rough", exact_table(is_signed) // 8 * 8 + 5, is_signed)
    zero_code = 0 if is_signed else 128
    problem = with_zeros(made.problem, torch.full((made.problem.n_outputs,), zero_code))
    found = prepare_skipping(problem, multiplier, backend)(made.x)
    assert np.array_equal(found.numpy().astype(np.int64), skipped_sums(problem, multiplier, made.x))
    reference = prepare(problem, skipping_zeros(multiplier, zero_code), "reference")(made.x)
    assert torch.equal(found.to(torch.int32), reference)
    assert not torch.equal(found.to(torch.int32), prepare(problem, multiplier, "reference")(made.x))


@pytest.mark.parametrize("case", ["plain", "grouped", "strided"])
def test_channels_may_have_zero_codes_of_their_own(case, backend, make_case):
    made, multiplier = make_case(False, **CASES[case]), builtin_library()["u8_trunc6"]
    zero_points = torch.arange(made.problem.n_outputs) % 3 * 101 + 7
    problem = with_zeros(made.problem, zero_points)
    found = prepare_skipping(problem, multiplier, backend)(made.x)
    assert np.array_equal(found.numpy().astype(np.int64), skipped_sums(problem, multiplier, made.x))


@pytest.mark.parametrize("is_signed", [False, True])
def test_only_the_column_of_zero_changes(is_signed, low_rank_multiplier):
    multiplier = low_rank_multiplier(is_signed)
    column = 3 + 128 * is_signed
    skipping = skipping_zeros(multiplier, 3)
    assert not skipping.error[:, column].any()
    others = np.arange(256) != column
    assert np.array_equal(skipping.table[:, others], multiplier.table[:, others])
    assert skipping.key != multiplier.key
    assert skipping_zeros(skipping, 3) is skipping
    exact = Multiplier("exact", exact_table(is_signed), is_signed)
    assert skipping_zeros(exact, 3) is exact

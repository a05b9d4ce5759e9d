"""Convolutions that every GPU kernel must compute exactly."""

import numpy as np
import torch
from hypothesis import strategies as st

from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation.problem import integer_conv
from dse.simulation.reference import ReferenceConv


@st.composite
def arguments(draw):
    """Signedness and arguments of `make_case`."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    is_signed = draw(st.booleans())
    low = -128 if is_signed else 0
    return is_signed, {
        "channels": groups * draw(st.integers(1, 9)),
        "groups": groups,
        "outputs": groups * draw(st.sampled_from([1, 2, 3, 8, 9, 16, 17, 20, 40, 64, 70])),
        "kernel": draw(pairs),
        "stride": draw(pairs),
        "dilation": draw(pairs),
        "padding": draw(st.tuples(*[st.integers(0, 2)] * 4)),
        "size": draw(st.tuples(st.integers(7, 9), st.integers(7, 9))),
        "n": draw(st.integers(0, 3)),
        "x_zero_point": low + draw(st.integers(0, 255)),
        "has_zero_points": draw(st.booleans()),
        "seed": draw(st.integers(0, 10**6)),
    }


def check(conv, table, x):
    """`conv(x)` equals `reference`, bit for bit, and leaves `x` alone."""
    before, expected = x.clone(), ReferenceConv(conv.problem, torch.tensor(table))(x)
    result = conv(x)
    assert result.dtype == torch.int32
    assert result.shape == expected.shape
    assert torch.equal(result, expected)
    assert torch.equal(x, before)


def check_one_position(make_case, make, multiplier):
    """A Linear layer on one image, several times: the sums of one call are not where the next one begins."""
    case = make_case(False, kernel=(1, 1), padding=(0, 0, 0, 0), size=(1, 1), n=1)
    conv = make(case.problem, multiplier)
    for _ in range(3):
        check(conv, multiplier.table, case.x)


def layouts(x):
    """The same codes `[n, C, H, W]`, with W at least 2, in other layouts, one of them misaligned."""
    odd = torch.empty(x.numel() + 1, dtype=x.dtype)[1:].view(x.shape)
    return [
        x.contiguous(memory_format=torch.channels_last),
        odd.copy_(x),
        torch.empty(x.numel() + 3, dtype=x.dtype)[3:].view(x.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2).copy_(x),
        x.transpose(2, 3).contiguous().transpose(2, 3),
        torch.cat([x, x], 3)[:, :, :, : x.shape[3]],
        torch.stack([x, x], 4)[..., 0],
    ]


def largest_sums(make, fan_in):
    """`fan_in` products of a largest entry just below 2^31 in all, through `make(problem, multiplier)`."""
    table = exact_table(False).copy()
    table[255, 255] = (2**31 - 1) // fan_in
    problem = integer_conv(torch.full((3, fan_in, 1, 1), 255, dtype=torch.uint8), torch.uint8)
    x = torch.full((2, fan_in, 1, 1), 255, dtype=torch.uint8)
    check(make(problem, Multiplier("largest", table, is_signed=False)), table, x)


def wide_table():
    """Entries of 21 bits, without structure."""
    return np.random.default_rng(1).integers(-(2**20), 2**20, (256, 256)).astype(np.int32)

"""Elementwise steps of the native library against PyTorch's, bit for bit, at every level that this machine can run."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dse.multipliers.families import drum, exact, truncated
from dse.networks.convert import quantize_network
from dse.networks.layers import LayerOperator
from dse.quantization.affine import quantize_affine, scheme_for
from dse.simulation.native import Slope, complete, expand, quantize, window_sums
from dse.simulation.native_library import LEVELS, NativeLibrary, find
from dse.simulation.ops import prepare
from dse.simulation.problem import integer_conv
from dse.testing.tiny import randomize, tiny_network, tiny_split

PART = 2**16  # elements of a task in csrc/pointwise.c
CODES = {torch.uint8: range(256), torch.int8: range(-128, 128)}


@pytest.fixture(scope="session", params=LEVELS)
def library(request):
    found = find()
    if not isinstance(found, NativeLibrary):
        pytest.skip(f"no native library: {found}")
    if request.param not in found.levels:
        pytest.skip(f"this machine and build can run {', '.join(found.levels)}")
    return replace(found, isa=LEVELS.index(request.param))


@pytest.fixture(params=[1, 3])
def n_threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def _values(scale, rng):
    """Values in and far out of the range, ties, and where float32 stops to hold halves; more than one task."""
    steps = np.concatenate([
        rng.normal(0, 100, PART), np.arange(-1200, 1200) / 2, 2.0 ** np.arange(-149, 128), -(2.0 ** np.arange(15, 128)),
        2.0**22 + np.arange(-4, 4) / 2, -(2.0**23) + np.arange(-4, 4) / 2, 1e6 + np.arange(-4, 4) / 4, [0.0, -0.0],
        [np.inf, -np.inf], rng.integers(-(2**31), 2**31, 999),
    ]).astype(np.float32)  # fmt: skip
    with np.errstate(over="ignore"):
        return torch.from_numpy(steps * scale.numpy())


@given(
    scale=st.one_of(st.integers(-126, 100).map(lambda e: 2.0**e), st.floats(2.0**-126, 2.0**100, width=32)),
    dtype=st.sampled_from(sorted(CODES, key=str)),
    zero=st.integers(0, 255),
    seed=st.integers(0, 99),
)
@settings(max_examples=25, deadline=None)
def test_quantizes_as_the_oracle(library, scale, dtype, zero, seed):
    scale, zero_point = torch.tensor(scale, dtype=torch.float32), CODES[dtype][zero]
    x = _values(scale, np.random.default_rng(seed))
    before = x.clone()
    codes = quantize(x, scale, zero_point, dtype, library)
    assert codes.dtype == dtype
    assert torch.equal(codes, quantize_affine(x, scale, torch.tensor(float(zero_point)), dtype))
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("n", [0, 1, 7, 15, 17, 63, 65, PART - 1, PART, PART + 1, 3 * PART + 5])
def test_quantizes_any_number_of_values(library, n_threads, dtype, n):
    scale, x = torch.tensor(0.37), torch.from_numpy(np.random.default_rng(n).normal(0, 60, n).astype(np.float32))
    assert torch.equal(quantize(x, scale, 5, dtype, library), quantize_affine(x, scale, torch.tensor(5.0), dtype))


@pytest.mark.parametrize("dtype", CODES)
def test_nan_becomes_the_smallest_code(library, dtype):
    x = torch.zeros(133)
    x[::3] = torch.nan
    codes = quantize(x, torch.tensor(0.1), 3, dtype, library)
    assert codes[::3].eq(torch.iinfo(dtype).min).all()
    assert codes[1::3].eq(3).all()


def test_quantizes_any_memory_format(library):
    scale, zero_point = torch.tensor(0.013), torch.tensor(7.0)
    whole = torch.randn(3, 10, 6, 9, generator=torch.Generator().manual_seed(0))
    last = whole.contiguous(memory_format=torch.channels_last)
    views = {
        "channels first": whole, "channels last": last, "turned": whole.permute(3, 1, 0, 2), "part": whole[1:],
        "gaps": whole[:, ::2, 1:-1], "gaps, channels last": last[..., :5], "repeated": whole[:1].expand(3, -1, -1, -1),
        "scalar": whole[0, 0, 0, 0], "channel": last[:, 3:4], "empty": whole[:0], "odd address": whole.view(-1)[1:],
    }  # fmt: skip
    for name, x in views.items():
        codes = quantize(x, scale, 7, torch.uint8, library)
        assert torch.equal(codes, quantize_affine(x, scale, zero_point, torch.uint8)), name
    for x in (whole, last, whole.permute(3, 1, 0, 2)):
        assert quantize(x, scale, 7, torch.uint8, library).stride() == x.stride()


@pytest.mark.parametrize("channels", [1, 3, 16, 17, 64, 1000])
@pytest.mark.parametrize("is_float", [False, True])
def test_rescales_with_two_roundings(library, n_threads, channels, is_float):
    """A fused multiply-add would show in some of so many values."""
    rng = np.random.default_rng(channels)
    shape = (2, channels, 9, (2 * PART + 999) // (18 * channels) + 1)
    constant = torch.from_numpy(rng.integers(-(2**31), 2**31, channels, dtype=np.int64).astype(np.int32))
    total = torch.from_numpy(rng.integers(-(2**31), 2**31, shape, dtype=np.int64).astype(np.int32))
    if is_float:  # as float32 holds them exactly
        constant, total = constant >> 9, total >> 8
    scale, bias = torch.from_numpy(rng.normal(size=(2, channels)).astype(np.float32))
    bias *= 1e7
    expected = total.to(torch.float32).mul_(scale.view(1, -1, 1, 1)).add_(bias.view(1, -1, 1, 1))
    sums = (total.to(torch.int64) - constant.view(1, -1, 1, 1)).to(torch.float32 if is_float else torch.int32)
    sums = sums.contiguous(memory_format=torch.channels_last)
    result = complete(sums, constant, None, scale, bias, library=library)
    assert torch.equal(result, expected)
    assert result.data_ptr() == sums.data_ptr()


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (17, 1), (18, 3), (16, 16), (5, 5)])
@pytest.mark.parametrize("is_float", [False, True])
def test_completes_sums_with_windows(library, n_threads, channels, groups, is_float):
    rng = np.random.default_rng(channels)
    n, height, width = 3, 7, PART // 100
    shape = (n, channels, height, width)
    sums, slope, constant, windows = (
        torch.from_numpy(rng.integers(-(2**22), 2**22, size).astype(np.int32))
        for size in (shape, channels, channels, (n * height * width, groups))
    )
    by_output = windows.view(n, height, width, groups).permute(0, 3, 1, 2).repeat_interleave(channels // groups, 1)
    column = (1, -1, 1, 1)
    total = sums.long() + constant.view(column) + slope.long().view(column) * by_output
    expected = ((total + 2**31) % 2**32 - 2**31).to(torch.int32)  # sums are right modulo 2^32
    given = sums.to(torch.float32 if is_float else torch.int32).contiguous(memory_format=torch.channels_last)
    for scale in (None, torch.full((channels,), 0.3)):
        bias = None if scale is None else torch.full((channels,), 1.7)
        result = complete(given.clone(), constant, Slope(slope, windows), scale, bias, library=library)
        wanted = expected if scale is None else expected.to(torch.float32).mul_(scale[0]).add_(bias[0])
        assert torch.equal(result, wanted)


@pytest.mark.parametrize(("channels", "groups"), [(1, 1), (33, 1), (6, 2), (16, 16)])
@pytest.mark.parametrize("n", [0, 1, 5])
def test_sums_windows(library, n_threads, channels, groups, n):
    weight = torch.ones(2 * groups, channels // groups, 2, 3, dtype=torch.uint8)
    problem = integer_conv(weight, torch.uint8, stride=(2, 1), padding=(1, 0, 2, 1), dilation=(1, 2), groups=groups)
    x = torch.from_numpy(np.random.default_rng(n).integers(0, 256, (n, channels, 6, 7), dtype=np.uint8))
    codes = F.pad(x, problem.padding, value=3).contiguous(memory_format=torch.channels_last)
    ones = torch.ones(groups, channels // groups, 2, 3, dtype=torch.float64)
    expected = F.conv2d(codes.double(), ones, None, (2, 1), 0, (1, 2), groups).permute(0, 2, 3, 1).reshape(-1, groups)
    assert torch.equal(window_sums(problem, codes, library).double(), expected)


def test_rescales_nothing(library):
    one = torch.ones(3)
    nothing = torch.empty(0, 3, 4, 4, dtype=torch.int32)
    result = complete(nothing, one.to(torch.int32), None, one, one, library=library)
    assert (result.shape, result.dtype) == ((0, 3, 4, 4), torch.float32)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.complex128])
@pytest.mark.parametrize("n", [0, 1, 33, 2 * PART + 7])
def test_expands(library, n_threads, dtype, n):
    rng = np.random.default_rng(n)
    rows = torch.from_numpy(rng.integers(0, 256, 256 * dtype.itemsize, dtype=np.uint8)).view(dtype)
    codes = torch.from_numpy(rng.integers(0, 256, n + 1, dtype=np.uint8))[1:]
    out = torch.empty(n, dtype=dtype)
    expand(codes, rows, out=out, library=library)
    assert torch.equal(out.view(torch.uint8), rows[codes.long()].view(torch.uint8))


@pytest.mark.parametrize("step", [-1, 1])
def test_levels_that_cannot_run_are_refused(library, step):
    """Python never asks for them; the library does not trust it, as a wrong instruction would end the process."""
    impossible = replace(library, isa=library.best_isa + 1 if step > 0 else -1)
    with pytest.raises(AssertionError, match="dse_quantize .* code -2"):
        quantize(torch.zeros(3), torch.tensor(1.0), 0, torch.uint8, impossible)


LAYERS = {
    "conv": nn.Conv2d(2, 20, 3, padding=1, stride=2),
    "depthwise": nn.Conv2d(2, 2, 3, groups=2),
    "padded values": nn.Conv2d(2, 5, (3, 2), padding=(1, 2), padding_mode="reflect"),
    "linear": nn.Linear(8, 5),
}


def _outputs(layer, multiplier, backend, x):
    """Codes and outputs of a layer, without and with sum compensation."""
    sums, codes = prepare(layer.problem, multiplier, backend), layer.quantize(x)
    slope = torch.linspace(-1, 1, layer.problem.n_outputs)
    plain = LayerOperator(sums, layer.scale, layer.bias)
    sloped = LayerOperator(sums, layer.scale, layer.bias, slope=slope, input_sums=sums)
    return codes, plain(codes), sloped(codes)


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("kind", LAYERS)
def test_layer_is_the_same_without_the_library(library, monkeypatch, kind, is_signed):
    monkeypatch.setenv("DSE_KERNELS", "fixed")
    module = randomize(nn.Sequential(LAYERS[kind], nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    network = quantize_network(module, tiny_split(), scheme=scheme_for(is_signed))
    (layer,) = network.integer_layers
    x = tiny_split(9, seed=1).images * 1.3  # some beyond the calibrated range
    for multiplier in (exact(is_signed=is_signed), drum(3, is_signed=is_signed), truncated(6, is_signed=is_signed)):
        monkeypatch.setenv("DSE_ISA", "off")
        expected = _outputs(layer, multiplier, "reference", x)
        without = _outputs(layer, multiplier, "auto", x)
        monkeypatch.setenv("DSE_ISA", library.isa_name)
        for found in (without, *(_outputs(layer, multiplier, b, x) for b in ("reference", "factored", "auto", "rows"))):
            assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_network_is_the_same_without_the_library(library, monkeypatch):
    monkeypatch.setenv("DSE_KERNELS", "fixed")
    network = quantize_network(tiny_network(), tiny_split(), scheme=scheme_for(False))
    logits = {}
    for isa in ("off", library.isa_name):
        monkeypatch.setenv("DSE_ISA", isa)
        for layer in network.integer_layers:
            layer.operator = LayerOperator(prepare(layer.problem, drum(4)), layer.scale, layer.bias)
        logits[isa] = network(tiny_split(20, seed=2).images)
    assert torch.equal(logits["off"], logits[library.isa_name])

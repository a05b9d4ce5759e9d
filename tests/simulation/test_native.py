"""Native kernels against the oracle, bit for bit, at every level that this machine can run.

Each call runs in a new Python thread, whose workspace is exactly as large as the kernel asked for, so that a sanitizer
(`.ci/sanitize`) sees what lies beyond it.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ShapeError
from dse.multipliers.library import load_library
from dse.multipliers.multiplier import exact_table
from dse.simulation import native
from dse.simulation.native import NativeConv, PermuteKernel
from dse.simulation.native_library import LEVELS, NativeLibrary, find
from dse.simulation.planner import KERNELS
from dse.simulation.problem import INT32_MAX, integer_conv
from dse.simulation.reference import ReferenceConv

PERMUTE = ("permute", "avx512-vbmi")
VARIANTS = [(name, level) for name in KERNELS if name != "permute" for level in LEVELS[:3]] + [PERMUTE]
CHANNELS, OUTPUTS = (1, 3, 15, 16, 17, 33, 65), (1, 7, 16, 17, 40)
UNPADDED = {"kernel": (1, 1), "padding": (0, 0, 0, 0)}
CONSTANTS = 10**6  # largest of `make_case`


@pytest.fixture(scope="session", params=VARIANTS, ids="-".join)
def variant(request):
    """`(kernel, library)`: every kernel at every level that it is compiled for."""
    library, (name, level) = find(), request.param
    if not isinstance(library, NativeLibrary):
        pytest.skip(f"no native library: {library}")
    if level not in library.levels:
        pytest.skip(f"this machine and build can run {', '.join(library.levels)}")
    return KERNELS[name], replace(library, isa=LEVELS.index(level))


@dataclass(frozen=True)
class Solved:
    """A problem and what the oracle makes of it."""

    problem: object
    table: np.ndarray
    x: torch.Tensor
    sums: torch.Tensor


@pytest.fixture(scope="session")
def solve(make_case):
    """`solve(variant, is_signed, ...)`: a case of `make_case` through the widest entries that the kernel can take."""

    @cache
    def solved(is_wide, is_signed, **arguments):
        case = make_case(is_signed, **arguments)
        table = _table(case.problem.fan_in, is_wide, np.random.default_rng(arguments.get("seed", 0)))
        return Solved(case.problem, table, case.x, ReferenceConv(case.problem, torch.tensor(table))(case.x))

    return lambda variant, is_signed, **arguments: solved(variant[0] is not PermuteKernel, is_signed, **arguments)


@pytest.fixture
def set_threads():
    """`torch.set_num_threads`, taken back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(params=["OpenMP's threads", "own threads"])
def _threads(request, variant):
    """Those of torch's OpenMP runtime, as always, or those that a machine without one falls back to."""
    native.share_threads(variant[1])
    if request.param == "own threads":
        variant[1].functions.dse_use_openmp(None)
    yield
    native.share_threads.cache_clear()  # the next call sets them again


def _table(fan_in, is_wide, rng):
    """The widest entries, within 16 bits unless `is_wide`, whose sums fit int32 for any weights and zero points."""
    largest = (INT32_MAX - CONSTANTS) // fan_in - 255 * 255
    low, high = -largest, largest
    if not is_wide:
        low = int(rng.integers(low, max(low, high - 65535) + 1))
        high = min(low + 65535, high)
    table = rng.integers(low, high + 1, (256, 256)).astype(np.int32)
    table[tuple(rng.permutation(256)[:4].reshape(2, 2))] = low, high
    return table


def _native(variant, problem, table):
    kernel, library = variant
    made = kernel.of(table, problem.x_low)
    return NativeConv(problem, table, lambda positions: made, library)


def _in_new_thread(function, *arguments):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *arguments).result()


def _check(variant, solved):
    before = solved.x.clone()
    result = _in_new_thread(_native(variant, solved.problem, solved.table), solved.x)
    assert result.dtype == torch.int32
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, solved.sums)
    assert torch.equal(solved.x, before)


@st.composite
def _problems(draw):
    kernel, dilation = (draw(st.tuples(st.integers(1, top), st.integers(1, top))) for top in (4, 3))
    groups = draw(st.sampled_from((1, 1, 2, 3, 17, 40)))
    channels, outputs = st.sampled_from(CHANNELS), st.sampled_from(OUTPUTS)
    if groups > 3:
        channels, outputs = st.integers(1, 3), st.integers(1, 3)
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    smallest = (spans[0] - padding[2] - padding[3], spans[1] - padding[0] - padding[1])
    is_signed = draw(st.booleans())
    return is_signed, {
        "channels": groups * draw(channels), "outputs": groups * draw(outputs), "groups": groups, "kernel": kernel,
        "dilation": dilation, "padding": padding, "stride": draw(st.tuples(st.integers(1, 3), st.integers(1, 3))),
        "size": tuple(max(1, low) + draw(st.integers(0, 6)) for low in smallest), "n": draw(st.integers(0, 3)),
        "x_zero_point": draw(st.integers(-128, 127)) + (0 if is_signed else 128),
        "has_zero_points": draw(st.booleans()), "seed": draw(st.integers(0, 1000)),
    }  # fmt: skip


@given(problem=_problems(), n_threads=st.integers(1, 5))
@settings(max_examples=20, deadline=None)
def test_equals_the_oracle(variant, solve, problem, n_threads):
    is_signed, arguments = problem
    solved = solve(variant, is_signed, **arguments)
    before = torch.get_num_threads()
    torch.set_num_threads(n_threads)
    try:
        _check(variant, solved)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("channels", CHANNELS)
def test_ragged_channels_and_outputs(variant, solve, channels):
    for outputs in OUTPUTS:
        is_signed = (channels + outputs) % 2 == 1
        _check(variant, solve(variant, is_signed, channels=channels, outputs=outputs, kernel=(2, 1), size=(6, 13)))


SHAPES = {
    "one product": {"channels": 1, "outputs": 1, "size": (1, 1), "n": 1, **UNPADDED},
    "27 products": {"channels": 3, "outputs": 16, "size": (11, 9)},
    "depthwise": {"channels": 130, "outputs": 130, "groups": 130, "size": (9, 8)},
    "depthwise, two outputs a channel": {"channels": 33, "outputs": 66, "groups": 33, "stride": (2, 2)},
    "groups of one output": {"channels": 210, "outputs": 70, "groups": 70, "padding": (1, 0, 2, 0)},
    "groups of many channels": {"channels": 140, "outputs": 34, "groups": 2, "stride": (1, 2)},
    "parts of the channels": {"channels": 135, "outputs": 18},
    "more channels than a part": {"channels": 1100, "outputs": 5, **UNPADDED},
    "more taps than a part": {"channels": 2, "outputs": 3, "kernel": (23, 23), "size": (26, 25)},
    "more taps than a part, depthwise": {
        "channels": 3, "outputs": 3, "groups": 3, "kernel": (24, 22), "padding": (0, 5, 11, 0), "size": (26, 25),
    },
    "more outputs than a block": {"channels": 3, "outputs": 530, "size": (2, 3), "n": 1, **UNPADDED},
    "positions of several tasks": {"channels": 3, "outputs": 17, "size": (97, 89), "n": 1, **UNPADDED},
    "positions of several images": {"channels": 2, "outputs": 2, "kernel": (2, 1), "size": (21, 19), "n": 21},
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_shapes_at_which_work_is_cut(variant, solve, shape, set_threads):
    solved = solve(variant, True, x_zero_point=-3, **SHAPES[shape])
    set_threads(3)
    _check(variant, solved)


def test_as_many_positions_as_a_task_takes(variant, solve):
    """8192: the whole workspace of the rows kernel."""
    _check(variant, solve(variant, False, channels=2, outputs=3, size=(64, 128), n=1, **UNPADDED))


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("size", [(1, 1), (5, 7), (33, 31)])
def test_any_number_of_threads(variant, solve, set_threads, size):
    solved = solve(variant, False, channels=5, outputs=35, size=size, n=1)
    for n_threads in (1, 2, 3, 4, 5):
        set_threads(n_threads)
        _check(variant, solved)


@pytest.mark.parametrize("variant", [(name, LEVELS[-1]) for name in KERNELS], ids="-".join, indirect=True)
def test_highest_level(variant, solve):
    _check(variant, solve(variant, True, **SHAPES["27 products"]))


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("variant", [("rows", "portable"), PERMUTE], ids="-".join, indirect=True)
def test_more_threads_than_the_library_starts(variant, solve, set_threads):
    solved = solve(variant, False, channels=320, outputs=320, groups=320, size=(9, 33))
    set_threads(300)
    _check(variant, solved)


@pytest.mark.parametrize("sign", [1, -1])
def test_largest_sums_that_fit(variant, sign):
    """More products than 2^15, each the largest entry; the entries span 16 bits and the sums 32."""
    fan_in = 2**15 + 1
    largest = INT32_MAX // fan_in
    table = np.full((256, 256), -sign, dtype=np.int32)
    table[128:] = sign * largest
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.integers(0, 256, (4, fan_in, 1, 1), dtype=np.uint8))
    x[0], x[1], x[2, 0] = 255, 0, 128
    weight = torch.from_numpy(rng.integers(0, 256, (2, fan_in, 1, 1), dtype=np.uint8))
    problem = integer_conv(weight, torch.uint8)
    solved = Solved(problem, table, x, ReferenceConv(problem, torch.tensor(table))(x))
    assert solved.sums[0].flatten().tolist() == [sign * largest * fan_in] * 2
    _check(variant, solved)


@pytest.mark.parametrize("entry", [INT32_MAX, -INT32_MAX])
def test_entries_of_32_bits(variant, entry):
    other = entry - int(np.sign(entry)) * 65535
    table = np.full((256, 256), entry, dtype=np.int32)
    table[3, :7] = other
    x = torch.tensor([3, 4], dtype=torch.uint8).view(2, 1, 1, 1)
    problem = integer_conv(torch.tensor([6, 7], dtype=torch.uint8).view(2, 1, 1, 1), torch.uint8)
    assert _native(variant, problem, table)(x).flatten().tolist() == [other, entry, entry, entry]


def test_sums_that_a_constant_brings_back(variant, random_codes):
    """The sums of products alone, and the constants, are beyond int32."""
    rng = np.random.default_rng(0)
    weight, x = (random_codes(shape, torch.int8, rng) for shape in ((3, 3000, 1, 1), (5, 3000, 1, 1)))
    table = rng.integers(10**6, 10**6 + 2**16, (256, 256)).astype(np.int32)
    problem = integer_conv(weight, torch.int8, constant=torch.tensor([-3_000_000_000, -2_900_000_000, -3_100_000_000]))
    _check(variant, Solved(problem, table, x, ReferenceConv(problem, torch.tensor(table))(x)))
    with pytest.raises(ShapeError, match="int32"):
        _native(variant, integer_conv(weight, torch.int8), table)


def test_span_of_the_permute_kernel(variant):
    library = variant[1]
    can_run = library.isa_name == "avx512-vbmi"
    table = np.zeros((256, 256), dtype=np.int32)
    table[5, 9], table[200, 3] = -30_000, 35_535
    assert PermuteKernel.fits(table, library) == can_run
    table[0, 0] = 35_536
    assert not PermuteKernel.fits(table, library)
    extremes = np.array([[-INT32_MAX - 1, INT32_MAX]], dtype=np.int32)  # whose difference is no int32
    assert not PermuteKernel.fits(np.tile(extremes, (256, 128)), library)


def _layouts(x):
    """The same codes at other addresses: `(name, codes, memory that they are part of)`."""
    n, channels, height, width = x.shape
    yield "channels first", (first := x.contiguous()), first
    yield "channels last", (last := x.contiguous(memory_format=torch.channels_last)), last
    apart = x.new_zeros(n, channels + 2, 2 * height, width + 3)
    apart[:, 1:-1, ::2, 2:-1] = x
    yield "apart", apart[:, 1:-1, ::2, 2:-1], apart
    turned = x.permute(3, 1, 2, 0).contiguous()
    yield "turned", turned.permute(3, 1, 2, 0), turned
    for offset in (1, 3, 31):
        memory = x.new_zeros(x.numel() + offset)
        memory[offset:].view(n, height, width, channels).copy_(x.permute(0, 2, 3, 1))
        yield "channels last, odd address", memory[offset:].view(n, height, width, channels).permute(0, 3, 1, 2), memory
        memory = memory.clone()
        memory[offset:].view_as(x).copy_(x)
        yield "channels first, odd address", memory[offset:].view_as(x), memory


@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (0, 2, 1, 0)])
@pytest.mark.parametrize("channels", [1, 19, 64])
def test_layouts_of_the_input(variant, solve, padding, channels):
    solved = solve(variant, False, channels=channels, outputs=18, padding=padding, size=(7, 5), n=3, x_zero_point=5)
    conv = _native(variant, solved.problem, solved.table)
    for name, x, memory in _layouts(solved.x):
        before = memory.clone()
        assert torch.equal(conv(x), solved.sums), name
        assert torch.equal(memory, before), name
    assert torch.equal(conv(solved.x[:1].expand(3, -1, -1, -1)), solved.sums[:1].expand(3, -1, -1, -1))


def test_empty_batch(variant, make_case):
    case = make_case(False, n=0)
    conv = _native(variant, case.problem, exact_table(False))
    result = conv(case.x)
    assert (result.shape, result.dtype) == ((0, 6, 6, 5), torch.int32)
    assert conv.rescaled(case.x, torch.ones(6), torch.ones(6)).dtype == torch.float32


def test_refuses_what_the_oracle_refuses(variant, make_case):
    case = make_case(False)
    conv = _native(variant, case.problem, exact_table(False))
    for bad in (case.x.float(), case.x.to(torch.int8), case.x[:, :1], case.x[0], case.x[..., :0]):
        with pytest.raises(ShapeError):
            conv(bad)
    with pytest.raises(ShapeError, match="int32"):
        _native(variant, case.problem, np.full((256, 256), INT32_MAX // 4, dtype=np.int32))


@pytest.mark.parametrize("shape", ["27 products", "depthwise", "positions of several images"])
def test_rescaled_is_the_formula(variant, solve, shape):
    """Two roundings: a fused multiply-add would show in some of the outputs."""
    solved = solve(variant, True, **SHAPES[shape])
    scale, bias = torch.from_numpy(np.random.default_rng(6).normal(size=(2, solved.problem.n_outputs))).float()
    bias *= 1e6
    expected = solved.sums.to(torch.float32).mul_(scale.view(1, -1, 1, 1)).add_(bias.view(1, -1, 1, 1))
    conv = _native(variant, solved.problem, solved.table)
    result = _in_new_thread(conv.rescaled, solved.x, scale, bias)
    assert result.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(result, expected)


def test_concurrent_calls(variant, solve, set_threads):
    """Python threads share the prepared convolutions; each call has its own memory."""
    set_threads(2)
    shapes = [(3, 20), (40, 3), (17, 17)]
    solved = [solve(variant, False, channels=c, outputs=o, size=(9, 8)) for c, o in shapes]
    convs = [_native(variant, s.problem, s.table) for s in solved]
    calls = [i % len(shapes) for i in range(24)]
    with ThreadPoolExecutor(5) as pool:
        results = list(pool.map(lambda i: convs[i](solved[i].x), calls))
    assert all(torch.equal(result, solved[i].sums) for i, result in zip(calls, results, strict=True))


@pytest.fixture(scope="session")
def published(make_case, shared_data):
    """A small layer through every table of the reference data."""
    found = []
    for member in load_library(shared_data / "evoapprox"):
        case = make_case(member.is_signed, channels=5, outputs=18, size=(5, 6), x_zero_point=7)
        sums = ReferenceConv(case.problem, torch.tensor(member.table))(case.x)
        found.append(Solved(case.problem, member.table, case.x, sums))
    return found


def test_published_tables(variant, published):
    for solved in published:
        assert PermuteKernel.fits(solved.table, variant[1]) == (variant[1].isa_name == "avx512-vbmi")
        _check(variant, solved)


@pytest.mark.parametrize("n_tables", [1, 2, 3])
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("shape", [{"outputs": 33}, {"channels": 20, "outputs": 40, "groups": 20}])
def test_every_output_goes_through_its_table(variant, make_case, shape, is_signed, n_tables):
    case, rng = make_case(is_signed, x_zero_point=3, **shape), np.random.default_rng(n_tables)
    is_wide = variant[0] is not PermuteKernel
    tables = np.stack([_table(case.problem.fan_in, is_wide, rng) for _ in range(n_tables)])
    table_of = torch.from_numpy(rng.integers(0, n_tables, case.problem.n_outputs)).to(torch.uint8)
    made = variant[0].of(tables, case.problem.x_low)
    conv = NativeConv(case.problem, tables, lambda positions: made, variant[1], table_of=table_of)
    alone = [ReferenceConv(case.problem, torch.tensor(table))(case.x) for table in tables]
    expected = torch.stack([alone[t][:, o] for o, t in enumerate(table_of.tolist())], dim=1)
    assert torch.equal(_in_new_thread(conv, case.x), expected)

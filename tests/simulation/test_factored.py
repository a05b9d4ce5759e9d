"""The factored backend against the oracle, bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse.multipliers.factorization import factorize, factorize_error
from dse.multipliers.families import builtin_library, drum, exact, mitchell, truncated
from dse.multipliers.library import load_library
from dse.multipliers.multiplier import Multiplier
from dse.simulation import factored, native_library
from dse.simulation.engines import FLOAT_EXACT, FloatEngine, OneDnnEngine, default_engine, is_exact
from dse.simulation.factored import FactoredConv
from dse.simulation.problem import integer_conv
from dse.simulation.reference import ReferenceConv

SMALL = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(params=[FloatEngine, OneDnnEngine])
def engine(request):
    engine = request.param()
    if not is_exact(engine):
        pytest.skip(f"{request.param.__name__} is not exact on this machine, so it is not used")
    return engine


def _factored(problem, multiplier, engine=None):
    planes = None if multiplier.is_exact else factorize(multiplier)
    return FactoredConv(problem, planes, engine or default_engine())


def _check(problem, x, multiplier, engine=None):
    before = x.clone()
    result = _factored(problem, multiplier, engine)(x)
    expected = ReferenceConv(problem, torch.tensor(multiplier.table))(x)
    assert result.dtype in (torch.int32, torch.float32)
    assert result.shape == expected.shape
    assert torch.equal(result.to(torch.int32), expected)
    assert torch.equal(x, before)
    return result


@st.composite
def problems(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    is_depthwise = draw(st.booleans())
    channels = draw(st.integers(1, 6)) if is_depthwise else groups * draw(st.integers(1, 4))
    groups = channels if is_depthwise else groups
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    is_signed = draw(st.booleans())
    low = -128 if is_signed else 0
    return is_signed, {
        "channels": channels,
        "groups": groups,
        "outputs": groups * draw(st.integers(1, 3)),
        "kernel": draw(pairs),
        "stride": draw(pairs),
        "dilation": draw(pairs),
        "padding": draw(st.tuples(*[st.integers(0, 2)] * 4)),
        "size": draw(st.tuples(st.integers(7, 9), st.integers(7, 9))),
        "n": draw(st.integers(0, 3)),
        "x_zero_point": low + draw(st.one_of(st.just(0), st.integers(0, 255))),
        "has_zero_points": draw(st.booleans()),
        "seed": draw(st.integers(0, 10**6)),
    }


@SMALL
@given(problems(), st.sampled_from(["exact", "truncated", "drum", "mitchell", "low-rank"]), st.booleans())
def test_equals_reference(make_case, low_rank_multiplier, drawn, kind, is_float):
    is_signed, arguments = drawn
    made = {
        "exact": lambda: exact(is_signed=is_signed),
        "truncated": lambda: truncated(6, is_signed=is_signed),
        "drum": lambda: drum(3, is_signed=is_signed),
        "mitchell": lambda: mitchell(3, is_signed=is_signed),
        "low-rank": lambda: low_rank_multiplier(is_signed),
    }[kind]()
    case = make_case(is_signed, **arguments)
    _check(case.problem, case.x, made, FloatEngine() if is_float else None)


def _check_tables(library, make_case):
    for i, multiplier in enumerate(library):
        low = -128 if multiplier.is_signed else 0
        groups = (1, 2, 16)[i % 3]
        case = make_case(
            multiplier.is_signed, channels=16 * groups if groups < 16 else 16, outputs=2 * groups, groups=groups,
            stride=(1 + i % 2, 1), dilation=(1, 1 + i % 2), x_zero_point=low + 37 * i % 256, n=1, size=(5, 6),
            has_zero_points=i % 4 > 0, seed=i,
        )  # fmt: skip
        _check(case.problem, case.x, multiplier)


def test_every_published_table_equals_reference(shared_data, make_case):
    library = load_library(shared_data / "evoapprox")
    assert len(library) == 49
    assert sum(m.table[0, 0] != 0 for m in library if not m.is_signed) >= 2
    _check_tables(library, make_case)


def test_every_builtin_table_equals_reference(make_case):
    _check_tables(builtin_library(), make_case)


@pytest.mark.parametrize("is_signed", [False, True])
def test_extreme_codes_and_channel_cuts(is_signed, engine, low_rank_multiplier):
    """One value everywhere, 2304 products an output: sums beyond 2^24, so channels are cut and totals are int32."""
    dtype = torch.int8 if is_signed else torch.uint8
    extremes = (-128, 127) if is_signed else (0, 255)
    for multiplier in (exact(is_signed=is_signed), low_rank_multiplier(is_signed)):
        for w in extremes:
            weight = torch.full((2, 256, 3, 3), w, dtype=dtype)
            for x in extremes:
                zeros = torch.tensor([extremes[0], 5])
                problem = integer_conv(weight, dtype, x_zero_point=x, padding=(1, 1, 1, 1), w_zero_point=zeros)
                codes = torch.full((1, 256, 3, 3), x, dtype=dtype)
                conv = _factored(problem, multiplier, engine)
                _check(problem, codes, multiplier, engine)
                assert all(len(piece._parts) > 1 or piece.bound < FLOAT_EXACT for piece in conv._pieces)
    assert any(len(piece._parts) > 1 for piece in conv._pieces)


def test_cuts_of_grouped_channels(engine):
    case_weight = torch.full((4, 600, 1, 1), 255, dtype=torch.uint8)
    problem = integer_conv(case_weight, torch.uint8, groups=2)
    x = torch.from_numpy(np.random.default_rng(0).integers(200, 256, (2, 1200, 2, 2))).to(torch.uint8)
    _check(problem, x, drum(3), engine)
    assert any(len(piece._parts) > 1 for piece in _factored(problem, drum(3), engine)._pieces)


def test_kernel_too_large_for_one_channel(engine):
    """A single channel of this kernel passes 2^24, so its taps are cut."""
    rng = np.random.default_rng(0)
    weight = torch.full((1, 1, 26, 26), 255, dtype=torch.uint8)
    x = torch.from_numpy(rng.integers(250, 256, (1, 1, 27, 26))).to(torch.uint8)
    for multiplier in (exact(), mitchell(4)):
        _check(integer_conv(weight, torch.uint8), x, multiplier, engine)


@pytest.mark.parametrize("is_signed", [False, True])
def test_weights_are_moved_into_int8_where_that_costs_little(make_case, low_rank_multiplier, is_signed, monkeypatch):
    """With the native library one plane holds weights less their zero point; without it they take two or three."""
    case = make_case(is_signed, channels=6, groups=2)
    for multiplier in (exact(is_signed=is_signed), low_rank_multiplier(is_signed)):
        results = {}
        for level in ("off", None):
            monkeypatch.setenv("DSE_ISA", level) if level else monkeypatch.delenv("DSE_ISA", raising=False)
            _check(case.problem, case.x, multiplier)
            results[level] = _factored(case.problem, multiplier)
        assert results["off"]._slope is None
        if native_library.load() is not None:
            assert results[None]._slope is not None
            widths = [sum(piece._n_planes for piece in conv._pieces) for conv in (results[None], results["off"])]
            assert widths[0] < widths[1]


def test_int32_totals_and_float_totals_agree(make_case, low_rank_multiplier, monkeypatch):
    monkeypatch.setenv("DSE_ISA", "off")  # the native library completes all sums in int32
    case = make_case(False, has_zero_points=False)
    multiplier = low_rank_multiplier(False)
    assert _check(case.problem, case.x, multiplier).dtype == torch.float32
    large = replace(case.problem, constant=case.problem.constant + 2**25 + 1)
    assert _check(large, case.x, multiplier).dtype == torch.int32


@pytest.mark.parametrize("bits", [4, 16])
def test_random_tables_of_full_rank(make_case, bits):
    table = np.random.default_rng(bits).integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (256, 256))
    multiplier = Multiplier("random", table, is_signed=True)
    case = make_case(True, channels=3, x_zero_point=-3)
    planes = factorize_error(multiplier.error.astype(np.int64))
    result = FactoredConv(case.problem, planes, default_engine())(case.x)
    assert torch.equal(result.to(torch.int32), ReferenceConv(case.problem, torch.tensor(multiplier.table))(case.x))


def test_table_entries_up_to_int32(make_case):
    """Planes weigh up to 256^4 and more: totals are right modulo 2^32, so they are right."""
    rng = np.random.default_rng(0)
    error = rng.integers(-3, 4, (256, 2)) @ rng.integers(-(2**27), 2**27, (2, 256))
    multiplier = Multiplier("huge", np.clip(error, -(2**31) + 1, 2**31 - 1), is_signed=False)
    case = make_case(False, channels=1, outputs=3, kernel=(1, 1), padding=(0, 0, 0, 0), has_zero_points=False)
    _check(replace(case.problem, constant=torch.zeros(3, dtype=torch.int64)), case.x, multiplier)


@pytest.mark.parametrize("is_signed", [False, True])
def test_memory_formats(make_case, is_signed):
    case = make_case(is_signed, channels=6, size=(6, 6), n=3)
    multiplier = drum(3, is_signed=is_signed)
    conv = _factored(case.problem, multiplier)
    expected = conv(case.x)
    layouts = [
        case.x.contiguous(memory_format=torch.channels_last),
        case.x.transpose(2, 3).contiguous().transpose(2, 3),
        case.x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0),
        torch.cat([case.x, case.x], 3)[:, :, :, :6],
        torch.stack([case.x, case.x], 4)[..., 0],
    ]
    for x in layouts:
        before = x.clone()
        assert torch.equal(conv(x), expected)
        assert torch.equal(x, before)


def test_batches_are_independent(make_case):
    case = make_case(False, n=7)
    conv = _factored(case.problem, mitchell(3))
    whole = conv(case.x)
    assert torch.equal(conv(case.x), whole)
    for size in (1, 2, 5):
        assert torch.equal(torch.cat([conv(part) for part in case.x.split(size)]), whole)
    assert conv(case.x[:0]).shape == (0, *whole.shape[1:])
    assert conv(case.x[:0]).dtype == whole.dtype


def test_weights_without_planes():
    """All weights at their zero code: nothing but the constants is left."""
    weight = torch.full((2, 3, 3, 3), 9, dtype=torch.uint8)
    problem = integer_conv(weight, torch.uint8, w_zero_point=torch.tensor([9, 9]), constant=torch.tensor([4, -5]))
    x = torch.full((2, 3, 4, 4), 200, dtype=torch.uint8)
    assert not _factored(problem, exact())._pieces
    _check(problem, x, exact())


def test_cuts_cover_each_weight_once():
    weight = torch.full((2, 4 * 3, 30, 30), 127, dtype=torch.int8)
    parts = factored._channel_cuts(weight, 3, 2)
    total = torch.zeros(4, 3, 30, 30, dtype=torch.int64)
    for columns, part in parts:
        assert factored.largest_sum(part) < FLOAT_EXACT
        first_group = columns[columns < 4]
        total[first_group] += part[0].view(len(first_group), 3, 30, 30)
    assert (total == 127).all()

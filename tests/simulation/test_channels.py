"""Every channel of a mixed convolution is that channel of the convolution through its multiplier alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, ShapeError
from dse.multipliers.families import drum
from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation.channels import ChannelsConv, prepare_channels
from dse.simulation.native import NativeConv, PermuteKernel
from dse.simulation.native_library import LEVELS, load
from dse.simulation.ops import BACKENDS, prepare, rescaled
from dse.simulation.planner import KERNELS

CASES = {
    "plain": {"outputs": 17},
    "strided": {"outputs": 9, "stride": (2, 1), "size": (7, 6), "padding": (0, 2, 1, 0), "x_zero_point": 5},
    "dilated": {"outputs": 9, "dilation": (2, 1), "kernel": (2, 3), "padding": (2, 1, 1, 2), "x_zero_point": 3},
    "pointwise": {"outputs": 12, "kernel": (1, 1), "padding": (0, 0, 0, 0)},
    "linear": {"outputs": 10, "channels": 33, "kernel": (1, 1), "padding": (0, 0, 0, 0), "size": (1, 1)},
    "grouped": {"outputs": 12, "groups": 4, "x_zero_point": 9},
    "depthwise": {"outputs": 8, "groups": 8, "stride": (2, 2)},
    "depthwise, two outputs": {"outputs": 16, "groups": 8, "n": 1},
    "wide": {"outputs": 6, "channels": 200},
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


@pytest.fixture(scope="module")
def multipliers():
    """`multipliers(is_signed)`: exact, two approximate ones, and a name for the exact one that is no other table."""

    def make(is_signed):
        rng = np.random.default_rng(1)
        error = rng.integers(-9, 10, (256, 3)) @ rng.integers(-9, 10, (3, 256))  # within 16 bits
        rough = exact_table(is_signed) // 8 * 8 if is_signed else drum(3).table
        tables = {
            "exact": exact_table(is_signed), "low-rank": exact_table(is_signed) + error, "rough": rough,
            "exact too": exact_table(is_signed),
        }  # fmt: skip
        return [Multiplier(name, table, is_signed) for name, table in tables.items()]

    return make


def expected_sums(case, multipliers, choice):
    """int32 `[n, C_out, H, W]` by the oracle, channel by channel."""
    alone = [prepare(case.problem, m, "reference")(case.x) for m in multipliers]
    return torch.stack([alone[int(m)][:, o] for o, m in enumerate(choice)], dim=1)


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_channels_equal_the_oracle(backend, multipliers, make_case, name, is_signed):
    case, library = make_case(is_signed, **CASES[name]), multipliers(is_signed)
    choice = np.random.default_rng(2).integers(0, 4, case.problem.n_outputs)
    conv, before = prepare_channels(case.problem, library, choice, backend), case.x.clone()
    sums = conv(case.x)
    assert sums.dtype in (torch.int32, torch.float32)
    assert sums.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(sums.to(torch.int32), expected_sums(case, library, choice))
    assert conv(case.x[:0]).shape == (0, *sums.shape[1:])
    assert torch.equal(case.x, before)


@pytest.mark.parametrize("name", ["plain", "grouped", "depthwise", "wide"])
def test_rescaled_is_the_formula(backend, multipliers, make_case, name):
    case, library = make_case(False, **CASES[name]), multipliers(False)
    rng = np.random.default_rng(3)
    choice = rng.integers(0, 3, case.problem.n_outputs)
    scale, bias = torch.from_numpy(rng.normal(size=(2, case.problem.n_outputs))).float()
    sums = expected_sums(case, library, choice).to(torch.float32)
    expected = sums.mul_(scale.view(1, -1, 1, 1)).add_(bias.view(1, -1, 1, 1))
    found = rescaled(prepare_channels(case.problem, library, choice, backend), case.x, scale, bias)
    assert torch.equal(found, expected)


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_any_choice_of_any_shape(make_case, multipliers, data):
    groups = data.draw(st.sampled_from([1, 2, 3]))
    outputs, channels = groups * data.draw(st.integers(1, 5)), groups * data.draw(st.integers(1, 3))
    case = make_case(
        data.draw(st.booleans()), channels=channels, outputs=outputs, groups=groups, seed=data.draw(st.integers(0, 99)),
        stride=data.draw(st.sampled_from([(1, 1), (2, 3)])), x_zero_point=data.draw(st.integers(0, 127)), n=1,
    )  # fmt: skip
    library = multipliers(case.problem.x_dtype == torch.int8)
    choice = np.array(data.draw(st.lists(st.integers(0, 3), min_size=outputs, max_size=outputs)))
    found = prepare_channels(case.problem, library, choice)(case.x)
    assert torch.equal(found.to(torch.int32), expected_sums(case, library, choice))


def test_one_multiplier_is_an_ordinary_convolution(make_case, multipliers):
    case, library = make_case(False), multipliers(False)
    choice = np.array([0, 3, 0, 3, 3, 0])  # two names of one table
    conv = prepare_channels(case.problem, library, choice)
    assert not isinstance(conv, ChannelsConv)
    assert torch.equal(conv(case.x).to(torch.int32), expected_sums(case, library, choice))


def test_native_kernels_take_all_channels_in_one_call(make_case, multipliers):
    if load() is None:
        pytest.skip("no native library")
    case, library = make_case(False, outputs=12), multipliers(False)
    conv = prepare_channels(case.problem, library, torch.arange(12) % 2 + 1, "rows")
    assert isinstance(conv, NativeConv)
    assert conv.n_bytes == prepare(case.problem, library[1], "rows").n_bytes


@pytest.mark.parametrize("level", ["off", *LEVELS])
@pytest.mark.parametrize("name", ["plain", "depthwise"])
def test_every_level_gives_the_same(multipliers, make_case, monkeypatch, level, name):
    if level != "off" and (load() is None or level not in load().levels):
        pytest.skip("not here")
    case, library = make_case(True, **CASES[name]), multipliers(True)
    choice = np.arange(case.problem.n_outputs) % 3
    monkeypatch.setenv("DSE_ISA", level)
    found = prepare_channels(case.problem, library, choice)(case.x)
    assert torch.equal(found.to(torch.int32), expected_sums(case, library, choice))


def test_more_tables_than_a_kernel_takes(make_case):
    case = make_case(False, channels=1, outputs=260, kernel=(1, 1), padding=(0, 0, 0, 0))
    library = [Multiplier(f"m{i}", exact_table(False) + i, is_signed=False) for i in range(260)]
    choice = np.arange(260)[::-1].copy()
    found = prepare_channels(case.problem, library, choice)(case.x)
    assert torch.equal(found.to(torch.int32), expected_sums(case, library, choice))


def test_sums_beyond_int32_are_refused(make_case):
    case = make_case(False, channels=100, outputs=4)
    library = [Multiplier("exact", exact_table(False), False), Multiplier("huge", exact_table(False) * 30_000, False)]
    for backend in BACKENDS:
        if backend not in KERNELS or (load() is not None and backend != "permute"):
            with pytest.raises(ShapeError, match="exceed int32"):
                prepare_channels(case.problem, library, np.array([0, 1, 0, 1]), backend)


def test_wrong_choices_are_refused(make_case, multipliers):
    case, library = make_case(False), multipliers(False)
    with pytest.raises(ShapeError, match=r"expected a choice of integers \[6\]"):
        prepare_channels(case.problem, library, np.zeros(5, dtype=np.int64))
    with pytest.raises(ShapeError, match="expected a choice of integers"):
        prepare_channels(case.problem, library, np.zeros(6))
    for choice in ([0, 0, 0, 0, 0, 4], [-1, 0, 0, 0, 0, 0]):
        with pytest.raises(ShapeError, match="expected 0 to 3"):
            prepare_channels(case.problem, library, np.array(choice))
    with pytest.raises(ConfigError, match="backend"):
        prepare_channels(case.problem, library, np.array([0, 1, 0, 1, 0, 1]), "fastest")
    with pytest.raises(ShapeError, match="takes codes in"):
        prepare_channels(case.problem, multipliers(True), np.array([0, 1, 0, 1, 0, 1]))
    with pytest.raises(ShapeError, match="expected activation codes"):
        prepare_channels(case.problem, library, np.array([0, 1, 0, 1, 0, 1]))(case.x[:, :3])

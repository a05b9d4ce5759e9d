"""Kernels are chosen by estimated time; the choice never changes a sum."""

from dataclasses import replace

import pytest
import torch

from dse.multipliers.factorization import factorize
from dse.multipliers.families import drum, mitchell, truncated
from dse.multipliers.multiplier import exact_table
from dse.simulation.factored import FactoredConv
from dse.simulation.native import ColumnsKernel, DirectKernel, NativeConv, PermuteKernel, RowsKernel
from dse.simulation.native_library import LEVELS, load
from dse.simulation.ops import prepare
from dse.simulation.planner import Plan, code_sizes, estimate_factored, estimate_native, work_of
from dse.simulation.problem import integer_conv
from dse.simulation.speeds import FIXED


@pytest.fixture
def library():
    found = load()
    if found is None:
        pytest.skip("no native library here")
    return found


@pytest.fixture(autouse=True)
def _fixed_speeds(monkeypatch):
    monkeypatch.setenv("DSE_KERNELS", "fixed")


def _problem(channels=32, outputs=32, *, groups=1, size=3):
    weight = torch.randint(0, 256, (outputs, channels // groups, size, size), dtype=torch.uint8)
    zero_points = torch.full((outputs,), 128)
    return integer_conv(weight, torch.uint8, padding=(size // 2,) * 4, groups=groups, w_zero_point=zero_points)


def _plan(problem, library, table=None):
    return Plan(problem, exact_table(False) if table is None else table, None, library)


def test_few_planes_are_factored_and_many_are_not(library):
    problem = _problem(64, 64)
    assert Plan(problem, exact_table(False), None, library).is_factored
    few, many = truncated(2), mitchell(7)
    assert factorize(few).n_planes <= 2
    assert isinstance(prepare(problem, few), FactoredConv)
    assert factorize(many).n_planes >= 30
    assert isinstance(prepare(problem, many), NativeConv)


@pytest.mark.parametrize(
    ("level", "layer", "positions", "kernel"),
    [
        ("avx512-vbmi", {}, 8192, PermuteKernel),
        ("avx512-vbmi", {"channels": 144, "outputs": 144, "groups": 144}, 8192, PermuteKernel),
        ("avx512-vbmi", {"size": 1}, 1, DirectKernel),
        ("avx2", {}, 8192, RowsKernel),
        ("portable", {}, 8192, RowsKernel),
        ("avx2", {"channels": 144, "outputs": 144, "groups": 144}, 8192, ColumnsKernel),
        ("avx2", {"size": 1}, 1, DirectKernel),
        ("portable", {"channels": 512, "outputs": 512}, 4, DirectKernel),
    ],
)
def test_kernel_of_a_layer(library, level, layer, positions, kernel):
    if level not in library.levels:
        pytest.skip(f"this machine does not run {level}")
    forced = replace(library, isa=LEVELS.index(level))
    assert type(_plan(_problem(**layer), forced).choose_kernel(positions)) is kernel


def test_tables_that_permute_cannot_take(library):
    table = exact_table(False).copy()
    table[0, 0] = 70000
    plan = _plan(_problem(), library, table)
    assert "permute" not in plan.estimates()
    assert type(plan.choose_kernel(8192)) is RowsKernel


def test_code_sizes_are_those_of_the_convolutions(library):
    for multiplier in (drum(3), mitchell(4), drum(7)):
        conv = FactoredConv(_problem(4, 4), factorize(multiplier), _Recorder())
        assert sorted(piece._n_planes for piece in conv._pieces) == sorted(code_sizes(factorize(multiplier)))


class _Recorder:
    def prepare(self, weight, stride, dilation, groups):
        return None


def test_estimates_grow_with_the_work():
    speeds = FIXED["avx512-vbmi"]
    small, large = (work_of(_problem(), positions) for positions in (1000, 64000))
    assert estimate_factored(small, [1], speeds) < estimate_factored(small, [8], speeds)
    assert estimate_factored(large, [4], speeds) == pytest.approx(64 * estimate_factored(small, [4], speeds))
    before, after = estimate_native(small, speeds), estimate_native(large, speeds)
    assert all(before[name] < after[name] for name in before)
    # expanding rows is shared by more positions
    assert after["rows"] < 64 * before["rows"]

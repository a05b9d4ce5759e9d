"""The lookup kernels, compiled for the CPU, against the oracle, bit for bit."""

import importlib
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from dse.errors import ShapeError
from dse.multipliers.families import drum
from dse.multipliers.library import load_library
from dse.multipliers.multiplier import exact_table
from dse.simulation import cuda_geometry
from dse.simulation.lookup import LookupConv, patch_sums
from dse.simulation.problem import integer_conv
from dse.simulation.reference import unfold_codes

from .cuda_on_host import host_kernels
from .gpu_cases import arguments, check, largest_sums, layouts, wide_table

SMALL = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def _conv(problem, table, *, n_buffers=2, **options):
    return LookupConv(problem, table, host_kernels("lookup", BUFFERS=n_buffers, **options), n_buffers=n_buffers)


@SMALL
@given(arguments())
def test_equals_reference(make_case, drawn):
    is_signed, options = drawn
    case, seed = make_case(is_signed, **options), options["seed"]
    table = [drum(3, is_signed=is_signed).table, wide_table()][seed % 2]
    kernels = {"n_buffers": 1 + seed // 2 % 2, "n_multiprocessors": 1 + seed % 200, "is_reversed": seed % 5 < 2}
    check(_conv(case.problem, table, **kernels), table, case.x)


@pytest.mark.parametrize(("outputs", "tile"), [(3, 8), (10, 16), (32, 32), (40, 8), (64, 64), (72, 8), (120, 64)])
def test_tiles(make_case, outputs, tile):
    case = make_case(False, outputs=outputs, channels=3, size=(4, 4), n=1)
    conv = _conv(case.problem, drum(3).table)
    assert conv._sums.tile == tile
    check(conv, drum(3).table, case.x)


def test_more_positions_than_a_block_has(make_case):
    table = drum(3).table
    for outputs in (64, 8, 1):
        case = make_case(False, outputs=outputs, channels=1, kernel=(1, 1), padding=(0, 0, 0, 0), size=(47, 48), n=3)
        check(_conv(case.problem, table), table, case.x)


def test_more_taps_than_columns_at_once(make_case):
    case = make_case(False, outputs=2, channels=9, size=(4, 4))
    check(_conv(case.problem, wide_table()), wide_table(), case.x)


def test_blocks_that_share_a_sum(make_case):
    case = make_case(True, outputs=12, channels=40, size=(4, 4))
    table = drum(3, is_signed=True).table
    launched = []
    conv = _conv(case.problem, table, n_multiprocessors=100)
    kernels = conv._sums._kernels
    launch = kernels.launch
    kernels.launch = lambda name, grid, *rest, **options: launched.append(grid) or launch(name, grid, *rest, **options)
    check(conv, table, case.x)
    assert launched[0][2] > 10


@pytest.mark.parametrize("is_signed", [False, True])
def test_layouts(make_case, is_signed):
    case = make_case(is_signed, channels=6, outputs=9, size=(6, 6))
    table = drum(3, is_signed=is_signed).table
    conv = _conv(case.problem, table)
    for x in layouts(case.x):
        check(conv, table, x)


def test_batches_are_cut_where_32_bits_end(make_case, monkeypatch):
    monkeypatch.setattr(cuda_geometry, "_MAX_INDEX", 100)  # codes of an image: 8 * 8 * 7 with padding
    for outputs in (6, 2):
        case = make_case(False, outputs=outputs, channels=1, padding=(0, 0, 0, 0), n=7)
        check(_conv(case.problem, drum(3).table), drum(3).table, case.x)


def test_largest_sums():
    for fan_in in (31, 700):
        largest_sums(lambda problem, multiplier: _conv(problem, multiplier.table), fan_in)


def test_every_published_table(shared_data, make_case):
    for i, multiplier in enumerate(load_library(shared_data / "evoapprox")):
        case = make_case(
            multiplier.is_signed, channels=2, outputs=(2, 5)[i % 2], size=(3, 4), n=1, has_zero_points=i % 3 > 0, seed=i
        )
        check(_conv(case.problem, multiplier.table), multiplier.table, case.x)


def test_patch_sums(make_case):
    case = make_case(False, channels=6, groups=2, stride=(2, 1), dilation=(1, 2), padding=(0, 0, 0, 0), size=(7, 8))
    height, width = case.problem.output_size(7, 8)
    expected = unfold_codes(case.problem, case.x).sum(1).view(2, 2, height, width).transpose(0, 1)
    assert torch.equal(patch_sums(case.problem, case.x), expected.to(torch.int32))


def test_refuses_what_reference_refuses():
    problem = integer_conv(torch.full((3, 33026, 1, 1), 255, dtype=torch.uint8), torch.uint8)
    with pytest.raises(ShapeError, match="int32"):
        _conv(problem, exact_table(False))
    conv = _conv(integer_conv(torch.zeros(3, 2, 1, 1, dtype=torch.uint8), torch.uint8), exact_table(False))
    with pytest.raises(ShapeError, match="expected activation codes"):
        conv(torch.zeros(1, 3, 1, 1, dtype=torch.uint8))


def test_plain_kernel_of_the_benchmark(make_case, monkeypatch):
    """What the kernels are compared with is exact, too."""
    benchmarks = Path(__file__).resolve().parents[2] / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    bench = importlib.import_module("bench_gpu")
    for groups in (1, 3):
        case = make_case(False, channels=6, outputs=9, groups=groups, stride=(2, 1), size=(6, 7))
        check(bench.PlainConv(case.problem, drum(3).table, host_kernels("plain_lookup")), drum(3).table, case.x)

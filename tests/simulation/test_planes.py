"""The tensor-core kernels, compiled for the CPU with the matrix instruction written out, against the oracle."""

from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from dse.multipliers.factorization import factorize
from dse.multipliers.families import drum, exact, mitchell
from dse.multipliers.library import load_library
from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation import cuda_geometry
from dse.simulation.planes import PlanesConv

from .cuda_on_host import host_kernels
from .gpu_cases import arguments, check, check_one_position, largest_sums, layouts

SMALL = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CPU = torch.device("cpu")


def _conv(problem, multiplier, **options):
    factorization = None if multiplier.is_exact else factorize(multiplier)
    return PlanesConv(problem, factorization, lambda words: host_kernels("planes", WORDS=words, **options), CPU)


@SMALL
@given(arguments())
def test_equals_reference(make_case, low_rank_multiplier, drawn):
    is_signed, options = drawn
    case, seed = make_case(is_signed, **options), options["seed"]
    makers = (exact, partial(drum, 3), partial(mitchell, 3))
    multiplier = low_rank_multiplier(is_signed) if seed % 4 == 3 else makers[seed % 4](is_signed=is_signed)
    conv = _conv(case.problem, multiplier, n_multiprocessors=1 + seed % 200, is_reversed=seed % 5 < 2)
    check(conv, multiplier.table, case.x)


@pytest.mark.parametrize("outputs", [16, 17, 32, 64, 72])
def test_tiles(make_case, outputs):
    case = make_case(False, outputs=outputs, channels=5, size=(4, 4), n=1)
    check(_conv(case.problem, mitchell(3)), mitchell(3).table, case.x)


def test_more_positions_than_a_block_has(make_case):
    for outputs in (64, 16):
        case = make_case(False, outputs=outputs, channels=4, kernel=(1, 1), padding=(0, 0, 0, 0), size=(31, 30))
        check(_conv(case.problem, drum(3)), drum(3).table, case.x)


@pytest.mark.parametrize("is_signed", [False, True])
def test_layouts(make_case, is_signed):
    case = make_case(is_signed, channels=4, outputs=9, kernel=(2, 3), padding=(0, 0, 0, 0), size=(6, 6))
    multiplier = drum(3, is_signed=is_signed)
    conv = _conv(case.problem, multiplier)
    for x in layouts(case.x):
        check(conv, multiplier.table, x)


def test_one_position_again_and_again(make_case):
    for multiplier in (exact(), drum(3)):
        check_one_position(make_case, _conv, multiplier)


def test_batches_are_cut_where_32_bits_end(make_case, monkeypatch):
    monkeypatch.setattr(cuda_geometry, "_MAX_INDEX", 300)
    case = make_case(False, channels=4, padding=(0, 0, 0, 0), n=7)
    check(_conv(case.problem, drum(3)), drum(3).table, case.x)


def test_largest_sums():
    for fan_in in (31, 700):
        largest_sums(_conv, fan_in)


def test_planes_of_weights_beyond_32_bits(make_case):
    rng = np.random.default_rng(0)
    error = rng.integers(-3, 4, (256, 2)) @ rng.integers(-(2**27), 2**27, (2, 256))
    multiplier = Multiplier("huge", np.clip(error, -(2**31) + 1, 2**31 - 1), is_signed=False)
    case = make_case(False, channels=1, outputs=3, kernel=(1, 1), padding=(0, 0, 0, 0), has_zero_points=False)
    case.problem.constant.zero_()
    check(_conv(case.problem, multiplier), multiplier.table, case.x)


def test_weights_without_planes(make_case):
    case = make_case(False)
    case.problem.weight.fill_(9)
    case.problem.w_zero_point.fill_(9)
    conv = _conv(case.problem, exact())
    assert not conv._pieces
    check(conv, exact_table(False), case.x)


def test_published_tables(shared_data, make_case):
    """Every other one of those of the shared set that a GPU may compute by planes; test_lookup.py has all."""
    multipliers = [m for m in load_library(shared_data / "evoapprox") if m.is_exact or factorize(m).n_planes <= 40]
    assert len(multipliers) > 20
    for i, multiplier in enumerate(multipliers[::2]):
        case = make_case(
            multiplier.is_signed, channels=3, outputs=5, size=(3, 4), n=1, has_zero_points=i % 3 > 0, seed=i
        )
        check(_conv(case.problem, multiplier), multiplier.table, case.x)

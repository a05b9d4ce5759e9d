"""Matrix products of int8 against the oracle, bit for bit, on the CPU."""

import pytest
import torch
from hypothesis import HealthCheck, given, settings

from dse.multipliers.factorization import factorize
from dse.multipliers.families import drum, exact, mitchell
from dse.multipliers.library import load_library
from dse.simulation import int8_matmul
from dse.simulation.gpu import Gpu, is_exact
from dse.simulation.int8_matmul import MatmulConv

from .gpu_cases import arguments, check, check_one_position, largest_sums, layouts

SMALL = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
CPU = torch.device("cpu")


@pytest.fixture(scope="module", autouse=True)
def _exact_products():
    if not is_exact(Gpu(CPU)):
        pytest.skip("torch._int_mm saturates on this processor, so it is not used")


def _conv(problem, multiplier):
    return MatmulConv(problem, None if multiplier.is_exact else factorize(multiplier), CPU)


@SMALL
@given(arguments())
def test_equals_reference(make_case, low_rank_multiplier, drawn):
    is_signed, options = drawn
    case, seed = make_case(is_signed, **options), options["seed"]
    multiplier = [exact(is_signed=is_signed), drum(3, is_signed=is_signed), low_rank_multiplier(is_signed)][seed % 3]
    check(_conv(case.problem, multiplier), multiplier.table, case.x)


def test_layouts(make_case):
    case = make_case(True, channels=6, size=(6, 6))
    conv = _conv(case.problem, drum(3, is_signed=True))
    for x in layouts(case.x):
        check(conv, drum(3, is_signed=True).table, x)


def test_one_position_again_and_again(make_case):
    for multiplier in (exact(), drum(3)):
        check_one_position(make_case, _conv, multiplier)


def test_chunks_bound_memory(make_case, monkeypatch):
    case = make_case(False, n=9, channels=5)
    sizes = []
    product = torch._int_mm
    monkeypatch.setattr(torch, "_int_mm", lambda a, b: sizes.append(a.numel()) or product(a, b))
    monkeypatch.setitem(int8_matmul._UNFOLDED_BYTES, "cpu", 2 * 30 * 400)
    check(_conv(case.problem, mitchell(3)), mitchell(3).table, case.x)
    assert len(sizes) > 2
    assert max(sizes) <= 2 * 32 * 400


def test_shapes_that_cublas_takes(make_case, monkeypatch):
    shapes = []
    product = torch._int_mm
    monkeypatch.setattr(
        torch, "_int_mm", lambda a, b: shapes.append((*a.shape, *b.shape, b.stride(0))) or product(a, b)
    )
    for outputs, channels in ((1, 1), (10, 3), (64, 64)):
        case = make_case(False, outputs=outputs, channels=channels, n=1, size=(3, 3))
        check(_conv(case.problem, drum(3)), drum(3).table, case.x)
    for rows, inner, same_inner, columns, stride in shapes:
        assert rows >= 32
        assert not rows % 16
        assert inner == same_inner
        assert not inner % 16
        assert not columns % 16
        assert stride == 1  # the right matrix is transposed


def test_largest_sums():
    for fan_in in (31, 33026):
        largest_sums(_conv, fan_in)


def test_published_tables(shared_data, make_case):
    for i, multiplier in enumerate(load_library(shared_data / "evoapprox")):
        case = make_case(multiplier.is_signed, channels=2, outputs=5, size=(3, 4), n=1, seed=i)
        check(_conv(case.problem, multiplier), multiplier.table, case.x)

"""Measures the speeds that `dse.simulation.planner` estimates with, on small layers and one thread."""

import time
from collections.abc import Callable

import numpy as np
import torch

from dse.multipliers.factorization import Factorization
from dse.multipliers.multiplier import exact_table
from dse.simulation.engines import default_engine
from dse.simulation.factored import FactoredConv
from dse.simulation.native import ColumnsKernel, DirectKernel, Kernel, NativeConv, PermuteKernel, RowsKernel
from dse.simulation.native_library import NativeLibrary
from dse.simulation.planner import ROW_OUTPUTS, Speeds
from dse.simulation.problem import IntegerConv, integer_conv

N_PLANES = 8
REPEATS = 5
TABLE = exact_table(False)
"""Native kernels take as long for any table."""


def measure_speeds(library: NativeLibrary) -> Speeds:
    """Speeds of this machine at the level of `library`; takes some tenths of a second."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(library)
    finally:
        torch.set_num_threads(n_threads)


def _measure(library: NativeLibrary) -> Speeds:
    dense, tiny, depthwise = _layer(32, 32), _layer(64, 64), _layer(32, 32, groups=32)
    many, few = _codes(32, 32, 16), _codes(1, 64, 4)
    product_s, plane_s = _factored(dense, many)
    grouped_product_s, grouped_plane_s = _factored(depthwise, many)
    row_s = _seconds(dense, many, RowsKernel, library) / _products(dense, many)
    expansions = tiny.fan_in * tiny.n_outputs / ROW_OUTPUTS
    rest_s = _seconds(tiny, few, RowsKernel, library) - _products(tiny, few) * row_s
    permute_s = permute_output_s = np.inf
    if PermuteKernel.fits(TABLE, library):
        times = [_seconds(layer, many, PermuteKernel, library) for layer in (dense, depthwise)]
        permute_s, permute_output_s = _solve(
            [(_products(layer, many), _outputs(layer, many)) for layer in (dense, depthwise)], times
        )
    return Speeds(
        product_s, plane_s, grouped_product_s, grouped_plane_s, row_s, max(rest_s, 0.0) / expansions, permute_s,
        permute_output_s, _seconds(depthwise, many, ColumnsKernel, library) / _products(depthwise, many),
        _seconds(tiny, few, DirectKernel, library) / _products(tiny, few),
    )  # fmt: skip


def _layer(channels: int, outputs: int, groups: int = 1) -> IntegerConv:
    weight = _random((outputs, channels // groups, 3, 3), spread=25)
    zero_points = torch.full((outputs,), 128)
    return integer_conv(weight, torch.uint8, padding=(1, 1, 1, 1), groups=groups, w_zero_point=zero_points)


def _codes(n: int, channels: int, size: int) -> torch.Tensor:
    return _random((n, channels, size, size), spread=60).contiguous(memory_format=torch.channels_last)


def _random(shape: tuple[int, ...], spread: float) -> torch.Tensor:
    values = np.random.default_rng(0).normal(128, spread, shape)
    return torch.from_numpy(np.clip(values, 0, 255).astype(np.uint8))


def _outputs(problem: IntegerConv, codes: torch.Tensor) -> int:
    height, width = problem.output_size(*codes.shape[2:])
    return len(codes) * problem.n_outputs * height * width


def _products(problem: IntegerConv, codes: torch.Tensor) -> int:
    return _outputs(problem, codes) * problem.fan_in


def _seconds(problem: IntegerConv, codes: torch.Tensor, kernel: type[Kernel], library: NativeLibrary) -> float:
    made = kernel.of(TABLE, problem.x_low)
    return _fastest(NativeConv(problem, TABLE, lambda positions: made, library), codes)


def _factored(problem: IntegerConv, codes: torch.Tensor) -> tuple[float, float]:
    """Seconds of an exact product, and of one through a plane."""
    random = np.random.default_rng(0)
    planes = Factorization(
        np.zeros(256, dtype=np.int64),
        random.integers(0, 256, (256, N_PLANES)).astype(np.uint8),
        random.integers(-20, 20, (256, N_PLANES)).astype(np.int8),
        np.ones(N_PLANES, dtype=np.int64),
    )
    exact_s, planes_s = (
        _fastest(FactoredConv(problem, part, default_engine()), codes) for part in (None, planes)
    )
    n = _products(problem, codes)
    return exact_s / n, max(planes_s - exact_s, 0.0) / N_PLANES / n


def _fastest(conv: Callable[[torch.Tensor], torch.Tensor], codes: torch.Tensor) -> float:
    """Other work on the machine only adds time, so the shortest of a few calls counts."""
    conv(codes)
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        conv(codes)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def _solve(counts: list[tuple[int, int]], seconds: list[float]) -> tuple[float, float]:
    """Non-negative costs `c` with `counts @ c = seconds`."""
    costs = np.linalg.solve(np.array(counts, dtype=np.float64), np.array(seconds))
    return float(max(costs[0], 0.0)), float(max(costs[1], 0.0))

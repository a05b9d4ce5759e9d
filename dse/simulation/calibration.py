"""Measures the speeds that `dse.simulation.planner` estimates with, on small layers."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from dse.multipliers.factorization import Factorization
from dse.multipliers.multiplier import exact_table
from dse.simulation.engines import default_engine
from dse.simulation.factored import FactoredConv
from dse.simulation.native import ColumnsKernel, DirectKernel, Kernel, NativeConv, PermuteKernel, RowsKernel
from dse.simulation.native_library import NativeLibrary
from dse.simulation.problem import IntegerConv, integer_conv

ROW_OUTPUTS = 16  # ROW in csrc/rows.h
N_PLANES = 8  # with the exact product's own
REPEATS = 5
TABLE = exact_table(False)
"""Native kernels take as long for any table."""

_RANDOM = np.random.default_rng(0)
PLANES = Factorization(
    np.zeros(256, dtype=np.int64),
    _RANDOM.integers(0, 256, (256, N_PLANES - 1)).astype(np.uint8),
    _RANDOM.integers(-20, 20, (256, N_PLANES - 1)).astype(np.int8),
    np.ones(N_PLANES - 1, dtype=np.int64),
)


@dataclass(frozen=True)
class Speeds:
    """What the parts of the kernels take on all threads together, in seconds; `inf` where a kernel cannot run.

    Attributes:
        product_s: a product in an int8 convolution; through a factorized table every plane has one.
        feature_s: a byte of an expanded code there.
        piece_output_s: an output of one of its convolutions.
        grouped_product_s: an exact product in a depthwise convolution.
        grouped_plane_s: a product through one plane there.
        row_s: a product through a row of `ROW_OUTPUTS`, a sixteenth of a load and an addition.
        row_output_s: what a row of `ROW_OUTPUTS` outputs costs beside its products.
        expansion_s: expanding the rows of one product for `ROW_OUTPUTS` outputs.
        permute_s: a product by byte permutes.
        permute_output_s: what an output costs there beside its products.
        column_s: a product in a column.
        direct_s: a product looked up directly.
    """

    product_s: float
    feature_s: float
    piece_output_s: float
    grouped_product_s: float
    grouped_plane_s: float
    row_s: float
    row_output_s: float
    expansion_s: float
    permute_s: float
    permute_output_s: float
    column_s: float
    direct_s: float


def example_layer(channels: int, outputs: int, *, groups: int = 1, size: int = 3) -> IntegerConv:
    """A convolution of `size` x `size` with bell-shaped random weights, the usual kind."""
    weight = _random((outputs, channels // groups, size, size), spread=25)
    zero_points = torch.full((outputs,), 128)
    return integer_conv(weight, torch.uint8, padding=(size // 2,) * 4, groups=groups, w_zero_point=zero_points)


def _random(shape: tuple[int, ...], spread: float) -> torch.Tensor:
    values = np.random.default_rng(0).normal(128, spread, shape)
    return torch.from_numpy(np.clip(values, 0, 255).astype(np.uint8))


def measure_speeds(library: NativeLibrary) -> Speeds:
    """Speeds of this machine at the level of `library`, on as many threads as torch uses; takes half a second."""
    dense, tiny, depthwise = example_layer(32, 32), example_layer(64, 64), example_layer(32, 32, groups=32)
    many, few = _codes(32, 32, 16), _codes(1, 64, 4)
    permute = (np.inf, np.inf)
    if PermuteKernel.fits(TABLE, library):
        layers = (dense, depthwise)
        times = [_seconds(layer, many, PermuteKernel, library) for layer in layers]
        permute = _solve([(_products(layer, many), _outputs(layer, many)) for layer in layers], times)
    return Speeds(
        *_factored(),
        _factored_seconds(depthwise, many, None) / _products(depthwise, many),
        _factored_seconds(depthwise, many, PLANES) / _products(depthwise, many) / N_PLANES,
        *_rows(((dense, many), (tiny, few), (depthwise, many)), library),
        *permute,
        _seconds(depthwise, many, ColumnsKernel, library) / _products(depthwise, many),
        _seconds(tiny, few, DirectKernel, library) / _products(tiny, few),
    )


def _rows(cases: Sequence[tuple[IntegerConv, torch.Tensor]], library: NativeLibrary) -> tuple[float, ...]:
    """Seconds of a product, of a row of outputs, and of the expansion of one product."""
    counts = []
    for problem, codes in cases:
        blocks = problem.groups * -(-(problem.n_outputs // problem.groups) // ROW_OUTPUTS)
        rows = _outputs(problem, codes) // problem.n_outputs * blocks
        counts.append((rows * problem.fan_in * ROW_OUTPUTS, rows, blocks * problem.fan_in))
    return _solve(counts, [_seconds(*case, RowsKernel, library) for case in cases])


def _factored() -> tuple[float, ...]:
    """Seconds of a product, of a byte of an expanded code, and of an output, over the shapes of common layers."""
    narrow, wide, pointwise = example_layer(16, 16), example_layer(64, 64), example_layer(128, 16, size=1)
    large, small, deep = _codes(64, 16, 32), _codes(64, 64, 8), _codes(8, 128, 16)
    cases = [(narrow, large, None), (wide, small, None)]
    cases += [(narrow, large, PLANES), (wide, small, PLANES), (pointwise, deep, PLANES)]
    counts = []
    for problem, codes, planes in cases:
        size = 1 if planes is None else N_PLANES
        features = 0 if planes is None else size * codes.numel()
        counts.append((size * _products(problem, codes), features, _outputs(problem, codes)))
    return _solve(counts, [_factored_seconds(*case) for case in cases])


def _codes(n: int, channels: int, size: int) -> torch.Tensor:
    return _random((n, channels, size, size), spread=60).contiguous(memory_format=torch.channels_last)


def _outputs(problem: IntegerConv, codes: torch.Tensor) -> int:
    height, width = problem.output_size(*codes.shape[2:])
    return len(codes) * problem.n_outputs * height * width


def _products(problem: IntegerConv, codes: torch.Tensor) -> int:
    return _outputs(problem, codes) * problem.fan_in


def _seconds(problem: IntegerConv, codes: torch.Tensor, kernel: type[Kernel], library: NativeLibrary) -> float:
    made = kernel.of(TABLE, problem.x_low)
    return _fastest(NativeConv(problem, TABLE, lambda positions: made, library), codes)


def _factored_seconds(problem: IntegerConv, codes: torch.Tensor, planes: Factorization | None) -> float:
    return _fastest(FactoredConv(problem, planes, default_engine()), codes)


def _fastest(conv: Callable[[torch.Tensor], torch.Tensor], codes: torch.Tensor) -> float:
    """Other work on the machine only adds time, so the shortest of a few calls counts."""
    conv(codes)
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        conv(codes)
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def _solve(counts: Sequence[tuple[int, ...]], seconds: Sequence[float]) -> tuple[float, ...]:
    """Costs that are not negative, with `counts @ costs` as near to `seconds` as they can be, relatively."""
    from scipy.optimize import nnls  # takes 0.4 s to import, and speeds are measured once a machine

    times = np.array(seconds)
    costs, _ = nnls(np.array(counts, dtype=np.float64) / times[:, None], np.ones(len(times)))
    return tuple(costs.tolist())

"""Which kernel a layer goes through: estimated from the speeds of this machine.

All kernels give the same sums, so this decides about time alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dse.multipliers.factorization import Factorization
from dse.simulation.calibration import ROW_OUTPUTS, Speeds
from dse.simulation.factored import row_sizes
from dse.simulation.native import ColumnsKernel, DirectKernel, Kernel, PermuteKernel, RowsKernel
from dse.simulation.native_library import NativeLibrary
from dse.simulation.problem import IntegerConv
from dse.simulation.speeds import load_speeds

TASK_POSITIONS = 8192  # in csrc/rows.h
VECTOR_POSITIONS = 64  # LANES in csrc/permute.h
EXPANDED_COST = 1.6
"""In a network expanded codes push everything else out of the caches, which repeated calls of one layer do not show:
ResNet-20 through tables of 4 to 9 planes took this much longer than estimated."""

FURTHER_PIECE_COST = 4
"""A second convolution's outputs are also converted, scaled and added, in passes of their own."""

MERGE_COST = 8
"""Outputs computed in parts are joined, then gathered, in fresh memory both times."""

MIN_DENSE_OUTPUTS = 8
"""Outputs a group from which grouped convolutions are about as fast as others."""

TYPICAL_POSITIONS = 8192
"""Output positions of a call where only a layer and a table are known."""


@dataclass(frozen=True)
class Work:
    """What one call of a layer has to do.

    Attributes:
        codes: input codes, of all images.
        positions: output positions, of all images.
        groups: of the convolution.
        outputs: channels a group.
        fan_in: products of an output.
    """

    codes: int
    positions: int
    groups: int
    outputs: int
    fan_in: int

    @property
    def products(self) -> int:
        """Of the whole call."""
        return self.positions * self.groups * self.outputs * self.fan_in


def work_of(problem: IntegerConv, positions: int) -> Work:
    """The work of `problem` for a number of output positions."""
    channels = problem.groups * problem.weight.shape[1]
    codes = positions * problem.stride[0] * problem.stride[1] * channels
    return Work(codes, positions, problem.groups, problem.n_outputs // problem.groups, problem.fan_in)


def code_sizes(factorization: Factorization | None) -> list[int]:
    """Bytes that a code is expanded to in each int8 convolution of a factorized table; `None` for the exact product."""
    counts = {1: 1}  # the plane of the exact product has scale 1
    for scale in [] if factorization is None else factorization.weights.tolist():
        counts[scale] = counts.get(scale, 0) + 1
    return [size for count in counts.values() for size in row_sizes(count)]


def estimate_factored(work: Work, sizes: Sequence[int], speeds: Speeds) -> float:
    """Seconds through int8 convolutions of expanded codes, `sizes` as from `code_sizes`."""
    outputs = work.positions * work.groups * work.outputs
    is_expanded = max(sizes) > 1
    if work.groups > 1 and work.outputs < MIN_DENSE_OUTPUTS:
        product_s = sum(sizes) * speeds.grouped_plane_s if is_expanded else speeds.grouped_product_s
        seconds = work.products * product_s
    else:
        passes = 1 + FURTHER_PIECE_COST * (len(sizes) - 1)
        seconds = work.products * sum(sizes) * speeds.product_s + outputs * passes * speeds.piece_output_s
        seconds += work.codes * sum(sizes) * speeds.feature_s if is_expanded else 0.0
    return EXPANDED_COST * seconds if is_expanded else seconds


def estimate_native(work: Work, speeds: Speeds) -> dict[str, float]:
    """Seconds by native kernel."""
    blocks = work.groups * -(-work.outputs // ROW_OUTPUTS)
    chunks = -(-work.positions // TASK_POSITIONS)
    rows = blocks * (
        work.positions * (work.fan_in * ROW_OUTPUTS * speeds.row_s + speeds.row_output_s)
        + chunks * work.fan_in * speeds.expansion_s
    )
    padding = -(-work.positions // VECTOR_POSITIONS) * VECTOR_POSITIONS / max(work.positions, 1)
    outputs = work.positions * work.groups * work.outputs
    return {
        "rows": rows,
        "permute": padding * (work.products * speeds.permute_s + outputs * speeds.permute_output_s),
        "columns": work.products * speeds.column_s,
        "direct": work.products * speeds.direct_s * max(1.0, ROW_OUTPUTS / work.outputs),
    }


class Plan:
    """How a layer goes through a table on this machine.

    Args:
        problem: the layer's convolution.
        tables: int32 `[256, 256]`; or `[n_tables, 256, 256]`, which only native kernels take together.
        factorization: of the one table's error; `None` for the exact product.
        library: the native library at the level to use.
    """

    def __init__(
        self, problem: IntegerConv, tables: np.ndarray, factorization: Factorization | None, library: NativeLibrary
    ):
        self._problem, self._tables, self._speeds = problem, tables, load_speeds(library)
        self._kernels = {name for name in KERNELS if name != "permute" or PermuteKernel.fits(tables, library)}
        self._sizes = code_sizes(factorization)
        self._chosen: dict[int, Kernel] = {}

    def estimates(self, positions: int = TYPICAL_POSITIONS) -> dict[str, float]:
        """Seconds for a number of output positions, by backend."""
        work = work_of(self._problem, positions)
        native = estimate_native(work, self._speeds)
        return {
            "factored": estimate_factored(work, self._sizes, self._speeds),
            **{name: seconds for name, seconds in native.items() if name in self._kernels},
        }

    def native_seconds(self, positions: int = TYPICAL_POSITIONS) -> float:
        """By the fastest native kernel."""
        seconds = estimate_native(work_of(self._problem, positions), self._speeds)
        return min(seconds[name] for name in self._kernels)

    def merge_seconds(self, positions: int = TYPICAL_POSITIONS) -> float:
        """To put channels in order that were computed in parts."""
        return self._problem.n_outputs * positions * MERGE_COST * self._speeds.piece_output_s

    @property
    def is_factored(self) -> bool:
        """Whether the layer goes through the factorized table rather than through a native kernel."""
        seconds = self.estimates()
        return min(seconds, key=seconds.get) == "factored"

    def choose_kernel(self, positions: int) -> Kernel:
        """The fastest native kernel for a number of output positions."""
        if positions not in self._chosen:
            seconds = self.estimates(positions)
            name = min(self._kernels, key=seconds.get)
            self._chosen[positions] = KERNELS[name].of(self._tables, self._problem.x_low)
        return self._chosen[positions]


KERNELS: dict[str, type[Kernel]] = {
    "rows": RowsKernel,
    "permute": PermuteKernel,
    "columns": ColumnsKernel,
    "direct": DirectKernel,
}

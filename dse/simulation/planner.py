"""Which kernel a layer goes through: estimated from the speeds of this machine.

All kernels give the same sums, so this decides about time alone. The speeds are measured once (half a second) and kept
on disk per processor, level, number of threads and versions. `DSE_KERNELS=fixed` takes those of a machine that was
measured beforehand.
"""

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from dse.errors import ConfigError, unknown_name
from dse.multipliers.factorization import Factorization, cache_directory
from dse.simulation.factored import row_sizes
from dse.simulation.native import ColumnsKernel, DirectKernel, Kernel, PermuteKernel, RowsKernel
from dse.simulation.native_library import NativeLibrary
from dse.simulation.problem import IntegerConv

ROW_OUTPUTS = 16  # ROW in csrc/rows.h
TASK_POSITIONS = 8192  # in csrc/rows.h
VECTOR_POSITIONS = 64  # LANES in csrc/permute.h
EXPANDED_COST = 1.6
"""In a network expanded codes push everything else out of the caches, which repeated calls of one layer do not show:
ResNet-20 through tables of 4 to 9 planes took this much longer than estimated."""

FURTHER_PIECE_COST = 4
"""A second convolution's outputs are also converted, scaled and added, in passes of their own."""

MIN_DENSE_OUTPUTS = 8
"""Outputs a group from which grouped convolutions are about as fast as others."""

TYPICAL_POSITIONS = 8192
"""Output positions of a call where only a layer and a table are known."""

MODES = ("measured", "fixed")


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


_INT8 = (2.2e-12, 7e-11, 4.5e-10, 5e-11, 5.6e-11)
_LOOK_UPS = (8.5e-10, 2.8e-10)
FIXED = {
    "portable": Speeds(*_INT8, 6.6e-11, 6.5e-9, 4.9e-7, np.inf, np.inf, *_LOOK_UPS),
    "avx2": Speeds(*_INT8, 3.7e-11, 6.6e-9, 4e-7, np.inf, np.inf, *_LOOK_UPS),
    "avx512": Speeds(*_INT8, 3.2e-11, 7e-9, 3.6e-7, np.inf, np.inf, *_LOOK_UPS),
    "avx512-vbmi": Speeds(*_INT8, 3.2e-11, 7e-9, 3.6e-7, 2.2e-11, 1.2e-9, *_LOOK_UPS),
}
"""By level, from one thread of an AMD EPYC (Zen 5)."""


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
        table: int32 `[256, 256]`.
        factorization: of its error; `None` for the exact product.
        library: the native library at the level to use.
    """

    def __init__(
        self, problem: IntegerConv, table: np.ndarray, factorization: Factorization | None, library: NativeLibrary
    ):
        self._problem, self._table, self._speeds = problem, table, load_speeds(library)
        self._kernels = {name for name in KERNELS if name != "permute" or PermuteKernel.fits(table, library)}
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
            self._chosen[positions] = KERNELS[name].of(self._table, self._problem.x_low)
        return self._chosen[positions]


KERNELS: dict[str, type[Kernel]] = {
    "rows": RowsKernel,
    "permute": PermuteKernel,
    "columns": ColumnsKernel,
    "direct": DirectKernel,
}


def load_speeds(library: NativeLibrary) -> Speeds:
    """Speeds of this machine at the library's level: measured now or before, or fixed where `DSE_KERNELS` says so.

    Raises:
        ConfigError: DSE_KERNELS has another value.
    """
    mode = os.environ.get("DSE_KERNELS") or "measured"
    if mode not in MODES:
        problem = unknown_name("choice", mode, MODES)
        raise ConfigError(f"DSE_KERNELS={mode}: {problem}. Choose one of these, or unset it to measure this machine")
    return FIXED[library.isa_name] if mode == "fixed" else _measured(library, torch.get_num_threads())


@functools.cache
def _measured(library: NativeLibrary, n_threads: int) -> Speeds:
    path = _path(library, n_threads)
    speeds = _read(path)
    if speeds is None:
        from dse.simulation.calibration import measure_speeds

        speeds = measure_speeds(library)
        _write(path, speeds)
    return speeds


def _path(library: NativeLibrary, n_threads: int) -> Path:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    built = library.path.stat().st_mtime_ns
    made_by = [str(library.path), built, library.isa_name, n_threads, torch.__version__]
    text = json.dumps([*made_by, sorted(map(str, capabilities.items()))])
    return cache_directory() / "speeds" / f"{library.isa_name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


def _read(path: Path) -> Speeds | None:
    """None where the file is absent or damaged: then it is measured again."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return Speeds(**{field.name: float(values[field.name]) for field in fields(Speeds)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(path: Path, speeds: Speeds) -> None:
    """Old or new, never half; a read-only or full cache folder costs time on the next start, not correctness."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8") as file:
            json.dump(asdict(speeds), file, indent=1)
        os.replace(file.name, path)
    except OSError:
        pass

"""Which kernel a layer goes through: estimated from the speeds of this machine.

All kernels give the same sums, so this decides about time alone. The speeds are measured once (some tenths of a
second) and kept on disk per processor, level and versions. `DSE_KERNELS=fixed` takes those of a machine that was
measured beforehand.
"""

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch

from dse.errors import ConfigError, unknown_name
from dse.multipliers.factorization import cache_directory
from dse.simulation.native import ColumnsKernel, DirectKernel, Kernel, PermuteKernel, RowsKernel
from dse.simulation.native_library import ABI_VERSION, NativeLibrary
from dse.simulation.problem import IntegerConv

ROW_OUTPUTS = 16  # ROW in csrc/rows.h
TASK_POSITIONS = 8192  # in csrc/rows.h
VECTOR_POSITIONS = 64  # LANES in csrc/permute.h
TYPICAL_POSITIONS = 8192
"""Output positions of a call where only a layer and a table are known."""

MODES = ("measured", "fixed")


@dataclass(frozen=True)
class Speeds:
    """What the parts of the kernels take on one thread, in seconds; `inf` where a kernel cannot run.

    Attributes:
        product_s: an exact product in an int8 convolution.
        plane_s: a product through one plane of a factorized table.
        grouped_product_s, grouped_plane_s: the same in a depthwise convolution.
        row_s: a product through a row of `ROW_OUTPUTS`, a sixteenth of a load and an addition.
        expansion_s: expanding the rows of one product for `ROW_OUTPUTS` outputs.
        permute_s: a product by byte permutes.
        permute_output_s: what an output costs there beside its products.
        column_s: a product in a column.
        direct_s: a product looked up directly.
    """

    product_s: float
    plane_s: float
    grouped_product_s: float
    grouped_plane_s: float
    row_s: float
    expansion_s: float
    permute_s: float
    permute_output_s: float
    column_s: float
    direct_s: float


FIXED = {
    "portable": Speeds(3.8e-12, 2.7e-12, 5.1e-11, 6.1e-11, 7.1e-11, 4.7e-07, np.inf, np.inf, 8.7e-10, 2.8e-10),
    "avx2": Speeds(3.7e-12, 2.8e-12, 4.8e-11, 7.6e-11, 4.1e-11, 3.9e-07, np.inf, np.inf, 8.3e-10, 2.7e-10),
    "avx512": Speeds(3.7e-12, 2.7e-12, 4.9e-11, 6.5e-11, 3.9e-11, 3.7e-07, np.inf, np.inf, 8.4e-10, 2.8e-10),
    "avx512-vbmi": Speeds(3.7e-12, 2.6e-12, 4.9e-11, 6.2e-11, 3.9e-11, 3.6e-07, 2.7e-11, 1.1e-09, 8.4e-10, 2.8e-10),
}
"""By level, from one AMD EPYC (Zen 5)."""


@dataclass(frozen=True)
class Work:
    """What one call of a layer has to do.

    Attributes:
        positions: output positions, of all images.
        groups: of the convolution.
        outputs: channels a group.
        fan_in: products of an output.
    """

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
    return Work(positions, problem.groups, problem.n_outputs // problem.groups, problem.fan_in)


def estimate_factored(work: Work, n_planes: int, speeds: Speeds) -> float:
    """Seconds on one thread through the exact product and `n_planes` planes."""
    is_dense = work.outputs >= VECTOR_POSITIONS // 8 or work.groups == 1
    product_s = speeds.product_s if is_dense else speeds.grouped_product_s
    plane_s = speeds.plane_s if is_dense else speeds.grouped_plane_s
    return work.products * (product_s + n_planes * plane_s)


def estimate_native(work: Work, speeds: Speeds) -> dict[str, float]:
    """Seconds on one thread by native kernel."""
    blocks = work.groups * -(-work.outputs // ROW_OUTPUTS)
    chunks = -(-work.positions // TASK_POSITIONS)
    rows = blocks * work.fan_in * (work.positions * ROW_OUTPUTS * speeds.row_s + chunks * speeds.expansion_s)
    padding = -(-work.positions // VECTOR_POSITIONS) * VECTOR_POSITIONS / max(work.positions, 1)
    outputs = work.positions * work.groups * work.outputs
    return {
        "rows": rows,
        "permute": padding * (work.products * speeds.permute_s + outputs * speeds.permute_output_s),
        "columns": work.products * speeds.column_s,
        "direct": work.products * speeds.direct_s * max(1.0, ROW_OUTPUTS / work.outputs),
    }


def is_factored(problem: IntegerConv, n_planes: int, speeds: Speeds) -> bool:
    """Whether `problem` goes through the factorized table rather than through a native kernel."""
    work = work_of(problem, TYPICAL_POSITIONS)
    return estimate_factored(work, n_planes, speeds) <= min(estimate_native(work, speeds).values())


def choose_kernel(problem: IntegerConv, table: np.ndarray, library: NativeLibrary) -> Callable[[int], Kernel]:
    """Gives the fastest native kernel for `problem` through `table` for a number of output positions."""
    speeds = load_speeds(library)

    @functools.lru_cache(maxsize=64)
    def choose(positions: int) -> Kernel:
        seconds = estimate_native(work_of(problem, positions), speeds)
        if not PermuteKernel.fits(table, library):
            del seconds["permute"]
        return KERNELS[min(seconds, key=seconds.get)].of(table, problem.x_low)

    return choose


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
    return FIXED[library.isa_name] if mode == "fixed" else _measured(library)


@functools.cache
def _measured(library: NativeLibrary) -> Speeds:
    path = _path(library)
    speeds = _read(path)
    if speeds is None:
        from dse.simulation.calibration import measure_speeds

        speeds = measure_speeds(library)
        _write(path, speeds)
    return speeds


def _path(library: NativeLibrary) -> Path:
    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    text = json.dumps([ABI_VERSION, library.isa_name, torch.__version__, sorted(map(str, capabilities.items()))])
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

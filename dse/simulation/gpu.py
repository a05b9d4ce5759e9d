"""Convolutions on a GPU: which kernel computes a (layer, table), and what a device can run.

- feature planes on tensor cores (`planes`), for tables that factorize into few planes, the exact one first;
- table lookups from shared memory (`lookup`) for all others, and for layers with one or two outputs a group;
- plain matrix products (`int8_matmul`) where these kernels cannot be compiled: AMD, or no NVRTC.

All of them give the sums of `reference` bit for bit. A device proves that on a few small layers before its first use.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import numpy as np
import torch

from dse.errors import ConfigError
from dse.multipliers.factorization import Factorization, factorize
from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation.cuda_kernels import Kernels, load_kernels
from dse.simulation.int8_matmul import MatmulConv
from dse.simulation.lookup import MAX_POSITIONS, ROW_BYTES, LookupConv, row_tile
from dse.simulation.planes import PlanesConv, plane_tile
from dse.simulation.problem import IntegerConv, integer_conv
from dse.simulation.reference import ReferenceConv

_log = logging.getLogger("dse")

GpuConv = PlanesConv | LookupConv | MatmulConv

# Clocks of a multiprocessor for one position and tap, counted from the instructions and their published rates on
# compute capability 8.0; not measured. Planes: a look-up of four features, a product of four by one output, and the
# rest. Rows: one of the 64 slots. Columns: one output.
_FEATURES_CLOCKS, _PRODUCT_CLOCKS, _PIECE_CLOCKS = 0.12, 0.0025, 0.08
_SLOT_CLOCKS, _COLUMN_CLOCKS = 0.04, 0.15


@dataclass(frozen=True, eq=False)
class Gpu:
    """What a device runs.

    Attributes:
        device: with its index.
        planes: gives the kernels of planes.cu for 1, 2 or 4 words a code; `None` without.
        lookups: the kernels of lookup.cu; `None` without.
        n_buffers: of rows, as `lookups` was compiled.
        lack: why there are no kernels, where there are none.
    """

    device: torch.device
    planes: Callable[[int], Kernels] | None = None
    lookups: Kernels | None = None
    n_buffers: int = 2
    lack: str = ""

    def factored(self, problem: IntegerConv, factorization: Factorization | None) -> PlanesConv | MatmulConv:
        """The convolution as products of feature planes; `None` is the exact product."""
        if self.planes is None:
            return MatmulConv(problem, factorization, self.device)
        return PlanesConv(problem, factorization, self.planes, self.device)

    def looked_up(self, problem: IntegerConv, table: np.ndarray) -> LookupConv:
        """The convolution by lookups in `table`, int32 `[256, 256]`."""
        return LookupConv(problem, table, self.lookups, n_buffers=self.n_buffers)


def prepare_gpu(problem: IntegerConv, multiplier: Multiplier, gpu: Gpu) -> GpuConv:
    """Packs `problem` for `multiplier` with the kernel that should be faster.

    Raises:
        ShapeError: sums that could exceed int32.
    """
    problem.check_range(torch.tensor(multiplier.table))
    factorization = None if multiplier.is_exact else factorize(multiplier)
    if gpu.lookups is None:
        return gpu.factored(problem, factorization)
    if gpu.planes is not None:
        n_planes = 1 if factorization is None else 1 + factorization.n_planes
        if planes_clocks(problem, n_planes) <= lookup_clocks(problem, multiplier.table):
            return gpu.factored(problem, factorization)
    return gpu.looked_up(problem, multiplier.table)


def planes_clocks(problem: IntegerConv, n_planes: int) -> float:
    """Estimate for one position, tap and group through `n_planes` feature planes, the exact one counted."""
    n_outputs = problem.n_outputs // problem.groups
    tile = plane_tile(n_outputs)
    words = -(-n_planes // 4)
    n_pieces = words // 4 + (words % 4).bit_count()
    clocks = words * (_FEATURES_CLOCKS + _PRODUCT_CLOCKS * tile) + n_pieces * _PIECE_CLOCKS
    return clocks * -(-n_outputs // tile)


def lookup_clocks(problem: IntegerConv, table: np.ndarray) -> float:
    """Estimate for one position, tap and group by lookups."""
    n_outputs = problem.n_outputs // problem.groups
    if n_outputs <= 2:
        return _COLUMN_CLOCKS * n_outputs
    n_passes = 1 if int(table.max()) - int(table.min()) < 2**16 else 2
    tile = row_tile(n_outputs)
    return _SLOT_CLOCKS * tile * -(-n_outputs // tile) * n_passes


@cache
def open_gpu(device: torch.device) -> Gpu:
    """What `device` runs, found out and proven once per process (a few seconds).

    Args:
        device: a CUDA device with its index; the CPU stands in for a device without kernels, in tests.

    Raises:
        ConfigError: it computes wrong sums whatever the kernel.
    """
    lack = ""
    if device.type == "cuda":
        gpu, lack = _proven(_with_kernels, device)
        if gpu is not None:
            return gpu
        _log.warning("%s: the CUDA kernels are not used, which is slower: %s", device, lack)
    gpu, reason = _proven(Gpu, device)
    if gpu is None:
        raise ConfigError(f"device {device} does not compute int8 products as it should ({reason}): use device 'cpu'")
    return replace(gpu, lack=lack)


def _proven(make: Callable[[torch.device], Gpu], device: torch.device) -> tuple[Gpu | None, str]:
    """What `make` gives, or `None` and the reason."""
    try:
        gpu = make(device)
        return (gpu, "") if is_exact(gpu) else (None, "its sums are wrong")
    except (OSError, RuntimeError) as error:
        return None, str(error)


def _with_kernels(device: torch.device) -> Gpu:
    if torch.version.hip is not None:
        raise RuntimeError("they are CUDA C, and this is an AMD GPU")
    properties = torch.cuda.get_device_properties(device)
    available = getattr(properties, "shared_memory_per_block_optin", 48 * 1024)
    n_buffers = 2 if available >= 2 * (ROW_BYTES + MAX_POSITIONS) else 1
    lookups = load_kernels("lookup.cu", device, (("BUFFERS", n_buffers),))
    has_int8 = (properties.major, properties.minor) >= (7, 5)
    return Gpu(device, partial(_load_planes, device) if has_int8 else None, lookups, n_buffers)


def _load_planes(device: torch.device, words: int) -> Kernels:
    return load_kernels("planes.cu", device, (("WORDS", words),))


def is_exact(gpu: Gpu) -> bool:
    """Whether all that `gpu` computes with equals `reference` on small layers with extreme and random codes."""
    rng = np.random.default_rng(0)
    tables = ((None, exact_table(False)), _trial_table(rng))
    for groups, n_outputs, n_channels in ((1, 72, 5), (1, 24, 3), (2, 10, 4), (3, 3, 1)):
        weight = torch.from_numpy(rng.integers(0, 256, (n_outputs, n_channels, 3, 2), dtype=np.uint8))
        x = torch.from_numpy(rng.integers(0, 256, (2, n_channels * groups, 6, 7), dtype=np.uint8))
        weight[0], x[0, :, :3] = 255, 255
        zero_points = torch.from_numpy(rng.integers(0, 256, n_outputs))
        problem = integer_conv(
            weight, torch.uint8, x_zero_point=9, padding=(1, 0, 2, 1), groups=groups, w_zero_point=zero_points
        )
        for factorization, table in tables:
            convs = []
            if gpu.planes is not None or gpu.lookups is None:
                convs.append(gpu.factored(problem, factorization))
            if gpu.lookups is not None:
                convs.append(gpu.looked_up(problem, table))
            expected = ReferenceConv(problem, torch.tensor(table))(x)
            if not all(torch.equal(conv(x.to(gpu.device)).cpu(), expected) for conv in convs):
                return False
    return True


def _trial_table(rng: np.random.Generator) -> tuple[Factorization, np.ndarray]:
    """28 planes of two scales, in pieces of 16, 8, 4 and 1; entries that span more than 16 bits."""
    factorization = Factorization(
        constant=rng.integers(-100, 100, 256),
        phi=rng.integers(0, 256, (256, 28), dtype=np.uint8),
        psi=rng.integers(-128, 128, (256, 28), dtype=np.int8),
        weights=np.repeat([1, 256], [27, 1]),
    )
    return factorization, exact_table(False) + factorization.reconstruct().astype(np.int32)

"""A convolution whose output channels go through different multipliers, equal to `reference` channel by channel.

Every product is computed once [ours]. The kernels of the native library take several tables in one call, so a mixed
layer costs what a layer of one multiplier costs. Without them, or where that is estimated to be faster (above all for
the exact multiplier, whose products need no table), channels of equal multiplier form a part, a smaller ordinary
convolution with whatever backend suits it: input codes are then padded once, and a pass at the end puts the channels in
order.
"""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from dse.errors import ShapeError
from dse.multipliers.factorization import factorize
from dse.multipliers.multiplier import Multiplier
from dse.simulation.calibration import Speeds
from dse.simulation.devices import CPU
from dse.simulation.native import NativeConv
from dse.simulation.native_library import NativeLibrary, load
from dse.simulation.ops import PreparedConv, check_fits, library_for, prepare, rescaled
from dse.simulation.planner import KERNELS, Plan
from dse.simulation.problem import IntegerConv, padded
from dse.simulation.speeds import load_speeds

MAX_TABLES = 256
"""That native kernels take in one call."""


@dataclass(frozen=True, eq=False)
class Part:
    """Channels of one multiplier as a convolution of their own.

    Attributes:
        conv: gives the sums of `rows`, for padded codes.
        rows: output channels of the whole, int64 `[C_part]`; where its groups hold unequal numbers of them, some stand
            more than once.
        inputs: input channels it takes, int64; `None` for all.
    """

    conv: PreparedConv
    rows: torch.Tensor
    inputs: torch.Tensor | None

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """What it takes of padded codes `[n, C_in, H, W]`."""
        if self.inputs is None:
            return x
        return x[:, self.inputs].contiguous(memory_format=torch.channels_last)


class ChannelsConv:
    """`IntegerConv` in parts.

    Args:
        problem: the whole.
        parts: hold every output channel, on the device of the codes.
    """

    def __init__(self, problem: IntegerConv, parts: Sequence[Part]):
        self.problem, self._parts = problem, tuple(parts)
        self.n_bytes = sum(part.conv.n_bytes for part in parts)
        rows = torch.cat([part.rows for part in parts])
        position = torch.empty(problem.n_outputs, dtype=torch.int64, device=rows.device)
        position[rows] = torch.arange(len(rows), device=rows.device)
        self._position = position

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Sums `[n, C_out, H_out, W_out]`, channels last, for codes `x [n, C_in, H, W]`.

        The type is int32, or float32 holding the same integers where every part gives that.
        """
        return self._merged(x, lambda part, codes: part.conv(codes))

    def rescaled(self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`float32(sums) * scale + bias`, with `scale` and `bias` float32 `[C_out]`, as float32 channels last."""
        return self._merged(x, lambda part, codes: rescaled(part.conv, codes, scale[part.rows], bias[part.rows]))

    def _merged(self, x: torch.Tensor, run: Callable[[Part, torch.Tensor], torch.Tensor]) -> torch.Tensor:
        """What `run` gives for every part, its channels in order."""
        p = self.problem
        p.check_input(x)
        codes, size = padded(p, x), p.output_size(*x.shape[2:])
        sums = [run(part, part.codes(codes)) for part in self._parts]
        dtype = sums[0].dtype if len({part.dtype for part in sums}) == 1 else torch.int32
        # As a matrix of positions by channels: a gather along its rows is several times faster than indexing images.
        flat = [part.to(dtype).permute(0, 2, 3, 1).reshape(-1, part.shape[1]) for part in sums]
        merged = torch.cat(flat, 1).index_select(1, self._position)
        return merged.view(len(x), *size, p.n_outputs).permute(0, 3, 1, 2)


def prepare_channels(
    problem: IntegerConv,
    multipliers: Sequence[Multiplier],
    choice: np.ndarray | torch.Tensor,
    backend: str = "auto",
    *,
    device: torch.device = CPU,
) -> PreparedConv:
    """Pack `problem` with a multiplier for every output channel.

    Args:
        problem: the convolution, its tensors on the CPU.
        multipliers: take the problem's codes; those that no channel uses cost nothing.
        choice: multiplier of each output channel, integers `[C_out]`, positions in `multipliers`.
        backend: of every part, see `dse.simulation.ops.prepare`.
        device: likewise.

    Raises:
        ConfigError: unknown backend, or a device that does not compute exactly.
        ShapeError: a choice of another length or beyond the multipliers, codes of another type than a multiplier
            takes, or sums that could exceed int32.

    >>> from dse.multipliers.families import builtin_library
    >>> from dse.simulation.problem import integer_conv
    >>> library = builtin_library().select(names=["u8_exact", "u8_trunc8"])
    >>> problem = integer_conv(torch.full((2, 1, 1, 1), 5, dtype=torch.uint8), torch.uint8)
    >>> conv = prepare_channels(problem, [library["u8_exact"], library["u8_trunc8"]], np.array([0, 1]))
    >>> conv(torch.full((1, 1, 1, 1), 77, dtype=torch.uint8)).flatten().int().tolist()
    [385, 256]
    """
    index = _checked(choice, problem.n_outputs, len(multipliers))
    chosen = [multipliers[i] for i in index.unique().tolist()]
    distinct = list(dict.fromkeys(chosen))  # equal tables may stand twice
    for multiplier in distinct:
        check_fits(problem, multiplier, backend)
    if len(distinct) == 1:
        return prepare(problem, distinct[0], backend, device=device)
    places = {m: i for i, m in enumerate(distinct)}
    table_of = torch.tensor([places.get(m, -1) for m in multipliers])[index]
    if device.type == "cpu" and len(distinct) <= MAX_TABLES:
        together = _together(problem, distinct, table_of, backend)
        if together is not None:
            return together
    parts = [_part_problem(problem, (table_of == i).nonzero().flatten()) for i in range(len(distinct))]
    convs = [prepare(part, m, backend, device=device) for (part, _, _), m in zip(parts, distinct, strict=True)]
    moved = [(rows.to(device), None if inputs is None else inputs.to(device)) for _, rows, inputs in parts]
    return ChannelsConv(problem, [Part(conv, *where) for conv, where in zip(convs, moved, strict=True)])


def _together(
    problem: IntegerConv,
    multipliers: Sequence[Multiplier],
    table_of: torch.Tensor,
    backend: str,
) -> NativeConv | None:
    """All channels by one native kernel, where that is asked for or the fastest; `table_of` int64 `[C_out]`."""
    known, bytes_of = _known_tables(tuple(multipliers)), table_of.to(torch.uint8)
    if backend in KERNELS:
        library = [library_for(backend, m) for m in multipliers][0]
        made = KERNELS[backend].of(known.tables, problem.x_low)
        return NativeConv(
            problem, known.tables, lambda positions: made, library, table_of=bytes_of, largest=known.largest
        )
    library = load()
    if backend != "auto" or library is None:
        return None
    shape, speeds = _Shape.of(problem), load_speeds(library)
    plan = _plan_together(shape, tuple(multipliers), bytes_of.numpy().tobytes(), library, speeds)
    if plan is None:
        return None
    return NativeConv(problem, known.tables, plan.choose_kernel, library, table_of=bytes_of, largest=known.largest)


@dataclass(frozen=True, eq=False)
class _Tables:
    """Tables int32 `[n_tables, 256, 256]`, and the largest magnitude in them."""

    tables: np.ndarray
    largest: int


@lru_cache(maxsize=32)
def _known_tables(multipliers: tuple[Multiplier, ...]) -> _Tables:
    tables = np.stack([m.table for m in multipliers])
    return _Tables(tables, max(-int(tables.min()), int(tables.max())))


class _Shape(NamedTuple):
    """All of a convolution that run times depend on."""

    weight: tuple[int, ...]
    weight_dtype: torch.dtype
    x_dtype: torch.dtype
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int

    @classmethod
    def of(cls, problem: IntegerConv) -> "_Shape":
        """Of `problem`."""
        p = problem
        return cls(tuple(p.weight.shape), p.weight.dtype, p.x_dtype, p.stride, p.padding, p.dilation, p.groups)

    def problem(self) -> IntegerConv:
        """A convolution of this shape that takes no memory."""
        weight = torch.zeros(1, 1, 1, 1, dtype=self.weight_dtype).expand(self.weight)
        zeros = torch.zeros(1, dtype=torch.int64).expand(self.weight[0])
        return IntegerConv(weight, self.x_dtype, 0, self.stride, self.padding, self.dilation, self.groups, zeros, zeros)


@lru_cache(maxsize=64)
def _plan_together(
    shape: _Shape, multipliers: tuple[Multiplier, ...], table_of: bytes, library: NativeLibrary, speeds: Speeds
) -> Plan | None:
    """How one kernel computes all channels, `None` where parts are faster; `speeds` are those of `library`.

    Remembered, since layers that learn are packed at every step.
    """
    problem, index = shape.problem(), torch.tensor(list(table_of))
    plan = Plan(problem, _known_tables(multipliers).tables, None, library)
    parts = (_part_problem(problem, (index == i).nonzero().flatten())[0] for i in range(len(multipliers)))
    apart = [min(_plan(part, m, library).estimates().values()) for part, m in zip(parts, multipliers, strict=True)]
    return None if sum(apart) + plan.merge_seconds() < plan.native_seconds() else plan


def _plan(problem: IntegerConv, multiplier: Multiplier, library: NativeLibrary) -> Plan:
    return Plan(problem, multiplier.table, None if multiplier.is_exact else factorize(multiplier), library)


def _checked(choice: np.ndarray | torch.Tensor, n_outputs: int, n_multipliers: int) -> torch.Tensor:
    """int64 `[C_out]` on the CPU."""
    index = torch.as_tensor(choice).cpu()
    if tuple(index.shape) != (n_outputs,) or index.is_floating_point() or index.dtype == torch.bool:
        raise ShapeError(
            f"expected a choice of integers [{n_outputs}], one multiplier an output channel; got {index.dtype} "
            f"{list(index.shape)}"
        )
    index = index.to(torch.int64)
    if not 0 <= int(index.min()) <= int(index.max()) < n_multipliers:
        raise ShapeError(
            f"choices are {int(index.min())} to {int(index.max())}: expected 0 to {n_multipliers - 1}, positions among "
            f"the {n_multipliers} multipliers"
        )
    return index


def _part_problem(problem: IntegerConv, wanted: torch.Tensor) -> tuple[IntegerConv, torch.Tensor, torch.Tensor | None]:
    """The convolution of some output channels of padded codes, its rows, and the input channels that it takes.

    Groups without any are left out. Where groups hold unequal numbers of them, those that hold few compute their first
    one again.
    """
    per_group, n_channels = problem.n_outputs // problem.groups, problem.weight.shape[1]
    groups, counts = torch.unique_consecutive(wanted // per_group, return_counts=True)
    first = counts.cumsum(0) - counts
    slot = torch.arange(int(counts.max()))
    rows = wanted[first[:, None] + torch.where(slot < counts[:, None], slot, 0)].flatten()
    part = dataclasses.replace(
        problem, weight=problem.weight[rows], padding=(0, 0, 0, 0), groups=len(groups),
        w_zero_point=problem.w_zero_point[rows], constant=problem.constant[rows],
    )  # fmt: skip
    if len(groups) == problem.groups:
        return part, rows, None
    return part, rows, (groups[:, None] * n_channels + torch.arange(n_channels)).flatten()

"""Tables simulated by lookups in a GPU's shared memory (`csrc/lookup.cu`): any table, at a speed that does not depend
on it.

Entries are looked up as 16-bit numbers `T - min(T)`, in two passes where the entries of a table span more than 2^16.
What is constant per output channel and what is linear in the sum of the codes (zero points) is added outside.
"""

import numpy as np
import torch

from dse.simulation.cuda_geometry import Geometry, geometry, in_32_bits, share, tile_of
from dse.simulation.cuda_kernels import Kernels
from dse.simulation.problem import IntegerConv, unsigned_padded, wrapped_int32

ROW_BYTES = 256 * 128
"""Rows of one tap in shared memory."""

MAX_POSITIONS = 4096
"""Of a block: one byte each in shared memory for every buffer of rows."""

_THREADS, _COLUMN_THREADS, _POSITIONS = 512, 256, 8  # as in lookup.cu
_TILES, _TILE_OVERHEAD = (64, 32, 16, 8), 1.3
_COLUMN_BYTES = 32 * 1024
_SMALLEST_SHARE = 16


class LookupConv:
    """`IntegerConv` by lookups on a GPU; equal to `ReferenceConv` bit for bit.

    Args:
        problem: the convolution.
        table: int32 `[256, 256]`, natural operand order, row = activation.
        kernels: of lookup.cu.
        n_buffers: of rows, as the kernels were compiled.
    """

    def __init__(self, problem: IntegerConv, table: np.ndarray, kernels: Kernels, *, n_buffers: int):
        problem.check_range(torch.tensor(table))
        self.problem = problem
        self._taps: dict[tuple[int, int], torch.Tensor] = {}
        has_many = problem.n_outputs // problem.groups > 2
        self._sums = _Rows(problem, table, kernels, n_buffers) if has_many else _Columns(problem, table, kernels)
        self.n_bytes = self._sums.n_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """int32 `[n, C_out, H_out, W_out]` for codes `x [n, C_in, H, W]` on the device of the kernels."""
        p = self.problem
        p.check_input(x)
        height, width = p.output_size(*x.shape[2:])
        if len(x) == 0:
            return torch.empty(0, p.n_outputs, height, width, dtype=torch.int32, device=x.device)
        codes = unsigned_padded(p, x).contiguous()
        parts = [self._sums(part, *self._plan(part, height, width)) for part in in_32_bits(codes, height * width)]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _plan(self, codes: torch.Tensor, height: int, width: int) -> tuple[Geometry, torch.Tensor]:
        size = tuple(codes.shape[2:])
        if size not in self._taps:
            self._taps[size] = tap_offsets(self.problem, *size).to(codes.device)
        return patch_geometry(self.problem, codes, (height, width)), self._taps[size]


class _Rows:
    """Sums of layers whose outputs share their inputs."""

    def __init__(self, problem: IntegerConv, table: np.ndarray, kernels: Kernels, n_buffers: int):
        self._problem, self._kernels, self._n_buffers = problem, kernels, n_buffers
        device = kernels.device
        base = int(table.min())
        entries = np.ascontiguousarray(table.T.astype(np.int64) - base)
        digits = [(1, entries & 0xFFFF)] + ([(1 << 16, entries >> 16)] if entries.max() > 0xFFFF else [])
        self._digits = [(factor, _bits16(digit).to(device)) for factor, digit in digits]
        self.tile = row_tile(problem.n_outputs // problem.groups)
        self._weights = _slots(problem, self.tile).to(device)
        constant = problem.constant + problem.fan_in * (base - problem.w_zero_point * problem.x_low)
        self._constant = wrapped_int32(constant).to(device)
        self._zero_point = problem.w_zero_point.to(torch.int32).to(device) if problem.w_zero_point.any() else None
        self.n_bytes = self._weights.numel() + len(digits) * 2**17

    def __call__(self, codes: torch.Tensor, geometry: Geometry, taps: torch.Tensor) -> torch.Tensor:
        out = self._start(codes, geometry)
        n_positions = _THREADS * _POSITIONS * 8 // self.tile
        n_x, n_y = -(-geometry.n_positions // n_positions), len(self._weights)
        n_multiprocessors = self._kernels.n_multiprocessors
        taps_per_block = share(geometry.n_taps, n_x * n_y, n_multiprocessors, smallest=_SMALLEST_SHARE)
        grid = (n_x, n_y, -(-geometry.n_taps // taps_per_block))
        n_bytes = self._n_buffers * (ROW_BYTES + n_positions)
        for factor, columns in self._digits:
            arguments = (geometry, codes, columns, self._weights, taps, taps_per_block, factor, out)
            self._kernels.launch(f"lookup_rows_{self.tile}", grid, _THREADS, arguments, shared_bytes=n_bytes)
        return out.permute(0, 3, 1, 2)

    def _start(self, codes: torch.Tensor, geometry: Geometry) -> torch.Tensor:
        """What is added to the entries: int32 `[n, H_out, W_out, C_out]`."""
        shape = (len(codes), geometry.out_height, geometry.out_width, geometry.n_outputs)
        out = torch.empty(shape, dtype=torch.int32, device=codes.device)
        if self._zero_point is None:
            return out.copy_(self._constant.expand(shape))
        groups = self._problem.groups
        sums = patch_sums(self._problem, codes).permute(0, 2, 3, 1).unsqueeze(4)  # [n, H_out, W_out, groups, 1]
        constant, zero_point = (values.view(groups, -1) for values in (self._constant, self._zero_point))
        torch.sub(constant, sums * zero_point, out=out.unflatten(3, (groups, -1)))
        return out


class _Columns:
    """Sums of layers with one or two outputs a group."""

    def __init__(self, problem: IntegerConv, table: np.ndarray, kernels: Kernels):
        self._problem, self._kernels = problem, kernels
        device = kernels.device
        self._columns = torch.from_numpy(np.ascontiguousarray(table.T, dtype=np.int32)).to(device)
        self._weights = weight_index(problem).contiguous().to(device)
        self._zero_point = problem.w_zero_point.to(torch.int32).to(device)
        self._constant = wrapped_int32(problem.constant).to(device)
        self.n_bytes = self._weights.numel() + 2**18

    def __call__(self, codes: torch.Tensor, geometry: Geometry, taps: torch.Tensor) -> torch.Tensor:
        shape = (len(codes), geometry.n_outputs, geometry.out_height, geometry.out_width)
        out = torch.empty(shape, dtype=torch.int32, device=codes.device)
        grid = (-(-geometry.n_positions // (_COLUMN_THREADS * _POSITIONS)), geometry.n_outputs, 1)
        arguments = (
            geometry, codes, self._columns, self._weights, taps, self._zero_point, self._constant,
            self._problem.x_low, out,
        )  # fmt: skip
        self._kernels.launch("lookup_columns", grid, _COLUMN_THREADS, arguments, shared_bytes=_COLUMN_BYTES)
        return out


def patch_geometry(problem: IntegerConv, codes: torch.Tensor, size: tuple[int, int]) -> Geometry:
    """Geometry of padded codes `[n, C, H, W]`, channels first, for outputs of `size`."""
    n, channels, rows, columns = codes.shape
    strides = (channels // problem.groups * rows * columns, columns, 1)
    return geometry(problem, n, (channels * rows * columns, *size), strides=strides, n_taps=problem.fan_in)


def tap_offsets(problem: IntegerConv, rows: int, columns: int) -> torch.Tensor:
    """Where the codes of each product of an output lie from the beginning of its patch: int32 `[K]`.

    Args:
        problem: the convolution.
        rows, columns: of the padded codes, channels first.
    """
    channel, row, column = (torch.arange(size) for size in problem.weight.shape[1:])
    row, column = row * problem.dilation[0], column * problem.dilation[1]
    return ((channel[:, None, None] * rows + row[:, None]) * columns + column).flatten().to(torch.int32)


def row_tile(n_outputs: int) -> int:
    """Outputs of a block, of `n_outputs` that share their inputs."""
    return tile_of(n_outputs, _TILES, overhead=_TILE_OVERHEAD)


def patch_sums(problem: IntegerConv, codes: torch.Tensor) -> torch.Tensor:
    """Sum of the padded codes uint8 `[n, C, H, W]` under every output: int32 `[n, groups, H_out, W_out]`."""
    sums = codes.unflatten(1, (problem.groups, -1)).sum(2, dtype=torch.int32)
    for axis, kernel, stride, dilation in zip(
        (2, 3), problem.weight.shape[2:], problem.stride, problem.dilation, strict=True
    ):
        sums = sums.unfold(axis, (kernel - 1) * dilation + 1, stride)[..., ::dilation]
    return sums.sum((4, 5), dtype=torch.int32)


def weight_index(problem: IntegerConv) -> torch.Tensor:
    """Column of the table for every weight: uint8 `[C_out, K]`."""
    return (problem.weight.flatten(1).to(torch.int16) - problem.w_low).to(torch.uint8)


def _slots(problem: IntegerConv, tile: int) -> torch.Tensor:
    """Weight codes of the 64 slots of a row: uint8 `[groups * tiles, K, 64]`, copies of a tile's outputs in turn."""
    index = weight_index(problem).unflatten(0, (problem.groups, -1))  # [groups, outputs, K]
    n_outputs = index.shape[1]
    slot = torch.arange(-(-n_outputs // tile))[:, None] * tile + torch.arange(64) % tile
    return index[:, slot.clamp(max=n_outputs - 1)].permute(0, 1, 3, 2).flatten(0, 1).contiguous()


def _bits16(values: np.ndarray) -> torch.Tensor:
    """Values in 0..65535 as the 16 bits of an int16 tensor, which every version of PyTorch has."""
    return torch.from_numpy(values.astype(np.uint16).view(np.int16))

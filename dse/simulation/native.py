"""Convolutions through any table by the native library (`csrc/`), equal to `ReferenceConv` bit for bit.

Two kernels [ours] take any table (the second: any whose entries span 16 bits), so their speed does not depend on it:

- "rows", for every processor: for an input channel and tap `k` and a block of outputs, the table is expanded to rows
  `R_k[x] = (T[x, w_ko] - z_o * x)_o`; the sum over `k` is one vector load and addition a position and `k`.
- "permute", for AVX-512 VBMI: a column of the table lies in eight registers, and byte permutes look 64 codes up at once.

Tables are brought into a kernel's form once; the layers of a network share it. Preparing a layer costs next to nothing.
"""

import ctypes
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch.nn import functional as F

from dse.simulation.native_library import LEVELS, NativeLibrary
from dse.simulation.problem import IntegerConv

_POINTER, _INT, _INT64, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
_ARGUMENTS = {
    "dse_quantize": [_POINTER, _INT64, _FLOAT, _FLOAT, _INT, _POINTER],
    "dse_rescale": [_POINTER, _INT, _INT64, _INT64, _POINTER, _POINTER],
    "dse_rows": [_POINTER] * 5 + [_INT] + [_POINTER] * 3,
    "dse_permute": [_POINTER] * 5 + [_INT] * 2 + [_POINTER] * 3,
}  # of csrc/native.h, up to the level and the number of threads, which all of them end with
_THREAD = threading.local()


class _Conv(ctypes.Structure):
    """`dse_conv` of csrc/native.h."""

    _fields_ = [
        (name, _INT64)
        for name in (
            "n", "height", "width", "channels", "outputs", "groups", "kernel_h", "kernel_w", "stride_h", "stride_w",
            "dilation_h", "dilation_w",
        )
    ]  # fmt: skip


class _Finish(ctypes.Structure):
    """`dse_finish` of csrc/native.h."""

    _fields_ = [(name, _POINTER) for name in ("constant", "scale", "bias")]


class _ConvCall(NamedTuple):
    """What every kernel of a convolution needs; structures by address."""

    conv: int
    finish: int
    codes: torch.Tensor
    column_of: torch.Tensor
    zero_point: torch.Tensor
    is_signed: bool
    out: torch.Tensor


class Kernel(Protocol):
    """A table in the form that one function of the library takes."""

    def run(self, call: _ConvCall, library: NativeLibrary) -> None:
        """Fills `call.out`."""


@dataclass(frozen=True, eq=False)
class RowsKernel:
    """Rows of the table expanded per layer and call; see csrc/rows.h. Any table, any processor."""

    columns: torch.Tensor

    @classmethod
    def of(cls, table: np.ndarray, x_low: int) -> "RowsKernel":
        """For `table` int32 `[256, 256]`; equal tables share their memory."""
        return _rows_kernel(table.tobytes(), x_low)

    def run(self, call: _ConvCall, library: NativeLibrary) -> None:
        """See `Kernel.run`."""
        measure = library.functions["dse_rows_workspace"]
        measure.argtypes, measure.restype = [_INT], _INT64
        _call(
            library, "dse_rows", call.conv, _address(call.codes), _address(self.columns), _address(call.column_of),
            _address(call.zero_point), call.is_signed, call.finish, _address(call.out),
            _workspace(measure(torch.get_num_threads())),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class PermuteKernel:
    """Byte permutes over the table's low and high bytes; see csrc/permute.h. AVX-512 VBMI, entries within 16 bits."""

    planes: torch.Tensor
    low: int

    @classmethod
    def of(cls, table: np.ndarray, x_low: int) -> "PermuteKernel":
        """For `table` int32 `[256, 256]`; equal tables share their memory."""
        return _permute_kernel(table.tobytes(), x_low)

    @staticmethod
    def fits(table: np.ndarray, library: NativeLibrary) -> bool:
        """Whether this kernel can take `table` here."""
        return LEVELS[library.isa] == "avx512-vbmi" and int(table.max()) - int(table.min()) < 2**16

    def run(self, call: _ConvCall, library: NativeLibrary) -> None:
        """See `Kernel.run`."""
        measure = library.functions["dse_permute_workspace"]
        measure.argtypes, measure.restype = [_POINTER, _INT], _INT64
        _call(
            library, "dse_permute", call.conv, _address(call.codes), _address(self.planes), _address(call.column_of),
            _address(call.zero_point), self.low, call.is_signed, call.finish, _address(call.out),
            _workspace(measure(call.conv, torch.get_num_threads())),
        )  # fmt: skip


class NativeConv:
    """`IntegerConv` through a table by a kernel of the native library.

    Args:
        problem: the convolution.
        table: int32 `[256, 256]` in natural operand order, row = activation.
        kernel: `RowsKernel` or `PermuteKernel` of that table.
        library: the native library at the level to use.
    """

    def __init__(self, problem: IntegerConv, table: np.ndarray, kernel: Kernel, library: NativeLibrary):
        problem.check_range(torch.tensor(table))
        self.problem, self.kernel, self._library = problem, kernel, library
        index = (problem.weight.to(torch.int64) - problem.w_low).to(torch.uint8)
        self._column_of = index.permute(0, 2, 3, 1).contiguous()
        self._zero_point = problem.w_zero_point.to(torch.int32)
        # Sums are right modulo 2^32, so a constant is too.
        self._constant = problem.constant.to(torch.int32)
        self.n_bytes = self._column_of.numel()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """int32 sums `[n, C_out, H_out, W_out]`, channels last, for codes `x [n, C_in, H, W]`."""
        return self._run(x, torch.int32, None, None)

    def rescaled(self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`float32(sums) * scale + bias`, with `scale` and `bias` float32 `[C_out]`, as float32 channels last."""
        return self._run(x, torch.float32, scale, bias)

    def _run(
        self, x: torch.Tensor, dtype: torch.dtype, scale: torch.Tensor | None, bias: torch.Tensor | None
    ) -> torch.Tensor:
        p = self.problem
        p.check_input(x)
        codes = _padded(p, x)
        out_shape = (len(x), p.n_outputs, *p.output_size(*x.shape[2:]))
        out = torch.empty(out_shape, dtype=dtype, memory_format=torch.channels_last)
        conv = _conv(p, codes)
        finish = _Finish(_address(self._constant), _address(scale), _address(bias))
        call = _ConvCall(
            ctypes.addressof(conv), ctypes.addressof(finish), codes, self._column_of, self._zero_point, p.x_low < 0, out
        )
        self.kernel.run(call, self._library)
        return out


def quantize(
    x: torch.Tensor, scale: torch.Tensor, zero_point: int, dtype: torch.dtype, library: NativeLibrary
) -> torch.Tensor:
    """As `dse.quantization.affine.quantize_affine` with one scale, in one pass; NaN becomes the smallest code.

    Args:
        x: float32, any shape.
        scale: float32 scalar.
        zero_point: code of zero.
        dtype: `torch.uint8` or `torch.int8`.
        library: the native library at the level to use.

    Returns:
        Codes of the shape of `x`, and of its memory format where it has no gaps.
    """
    codes = torch.empty_like(x, dtype=dtype)
    if x.stride() != codes.stride():
        x = torch.empty_like(codes, dtype=torch.float32).copy_(x)
    low = torch.iinfo(dtype).min
    inverse_scale = float(scale.reciprocal())
    _call(library, "dse_quantize", _address(x), x.numel(), inverse_scale, float(zero_point), low, _address(codes))
    return codes


def rescale(sums: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor, library: NativeLibrary) -> torch.Tensor:
    """`float32(sums) * scale + bias` per channel in one pass and in place, two roundings.

    Args:
        sums: int32 or float32 `[n, C, H, W]`, channels last; its memory becomes that of the result.
        scale, bias: float32 `[C]`.
        library: the native library at the level to use.

    Returns:
        float32 `[n, C, H, W]`, channels last.
    """
    n, channels, height, width = sums.shape
    shape = (sums.dtype == torch.float32, n * height * width, channels)
    _call(library, "dse_rescale", _address(sums), *shape, _address(scale), _address(bias))
    return sums.view(torch.float32)


@lru_cache(maxsize=256)
def _rows_kernel(table: bytes, x_low: int) -> RowsKernel:
    return RowsKernel(torch.from_numpy(_by_weight(table, x_low)))


@lru_cache(maxsize=256)
def _permute_kernel(table: bytes, x_low: int) -> PermuteKernel:
    columns = _by_weight(table, x_low)
    low = int(columns.min())
    entries = (columns - low).astype(np.uint16)
    planes = np.stack([entries & 255, entries >> 8], axis=1).astype(np.uint8)
    return PermuteKernel(torch.from_numpy(planes), low)


def _by_weight(table: bytes, x_low: int) -> np.ndarray:
    """int32 `[256, 256]`: for every weight, the entries by the byte of the activation code."""
    entries = np.frombuffer(table, dtype=np.int32).reshape(256, 256)
    return np.ascontiguousarray(np.roll(entries, x_low, axis=0).T)


def _padded(problem: IntegerConv, x: torch.Tensor) -> torch.Tensor:
    """Codes padded with the zero code, channels last."""
    x = x.contiguous(memory_format=torch.channels_last)
    if any(problem.padding):
        x = F.pad(x, problem.padding, value=problem.x_zero_point).contiguous(memory_format=torch.channels_last)
    return x


def _conv(problem: IntegerConv, codes: torch.Tensor) -> _Conv:
    n, channels, height, width = codes.shape
    return _Conv(
        n, height, width, channels, problem.n_outputs, problem.groups, *problem.weight.shape[2:], *problem.stride,
        *problem.dilation,
    )  # fmt: skip


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _workspace(n_bytes: int) -> int:
    """Address, a multiple of 64, of memory for one call of this thread."""
    buffer = getattr(_THREAD, "buffer", None)
    if buffer is None or len(buffer) < n_bytes + 63:
        buffer = _THREAD.buffer = np.empty(n_bytes + 63, dtype=np.uint8)
    return -(-buffer.ctypes.data // 64) * 64


def _call(library: NativeLibrary, name: str, *arguments: object) -> None:
    """Calls a function of csrc/native.h at the library's level, on as many threads as torch uses."""
    function = library.functions[name]  # by index: a function object of its own
    function.argtypes = [*_ARGUMENTS[name], _INT, _INT]
    code = function(*arguments, library.isa, torch.get_num_threads())
    assert code == 0, f"{name} of the native library refused its arguments with code {code}"

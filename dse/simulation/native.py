"""Convolutions through any table by the native library (`csrc/`), equal to `ReferenceConv` bit for bit.

Kernels take any table ("permute": any whose entries span 16 bits), so their speed does not depend on it. [ours]:

- "rows", for every processor: for an input channel and tap `k` and a block of outputs, the table is expanded to rows
  `R_k[x] = (T[x, w_ko] - z_o * x)_o`; the sum over `k` is one vector load and addition a position and `k`.
- "permute", for AVX-512 VBMI: a column of the table lies in eight registers, and byte permutes look up 64 codes at
  once.

Two plain ones stand in where these do badly: "columns" for groups of few outputs, "direct" for few output positions.
Tables are brought into a kernel's form once; the layers of a network share it. Preparing a layer costs next to nothing.
"""

import ctypes
import dataclasses
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch

from dse.simulation.native_library import NativeLibrary
from dse.simulation.problem import IntegerConv, padded, wrapped_int32

_POINTER, _INT, _INT64, _FLOAT = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
_CONV = [_POINTER] * 6 + [_INT] + [_POINTER] * 2  # `_ConvCall.arguments`
_ARGUMENTS = {
    "dse_quantize": [_POINTER, _INT64, _FLOAT, _FLOAT, _INT, _POINTER],
    "dse_complete": [_POINTER, _INT, _INT64, _INT64, _INT64, *[_POINTER] * 5],
    "dse_window_sums": [_POINTER] * 4,
    "dse_expand": [_POINTER, _INT64, _POINTER, _INT, _POINTER],
    "dse_rows": [*_CONV, _POINTER],
    "dse_columns": _CONV,
    "dse_direct": _CONV,
    "dse_permute": [_POINTER, *_CONV, _POINTER],
}  # of csrc/native.h, up to the level and the number of threads, which all of them end with
_WORKSPACES = {
    "dse_rows_workspace": [],
    "dse_permute_workspace": [_POINTER],
    "dse_window_workspace": [_POINTER],
}  # likewise, up to the number of threads; they return bytes
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
    """What every kernel of a convolution needs; structures by address, `weights` made on demand."""

    conv: int
    finish: int
    codes: torch.Tensor
    table_of: torch.Tensor | None
    column_of: torch.Tensor
    zero_point: torch.Tensor
    is_signed: bool
    out: torch.Tensor
    weights: Callable[[], torch.Tensor]

    def arguments(self, tables: "_Tables", weights: torch.Tensor) -> list[int]:
        """Those that all kernels share, in the order of csrc/native.h."""
        tensors = (self.codes, tables.addresses, self.table_of, weights, self.zero_point)
        return [self.conv, *map(_address, tensors), self.is_signed, self.finish, _address(self.out)]


class _Tables:
    """One or more tables in the same form, where the library finds them by their addresses."""

    def __init__(self, forms: Sequence[torch.Tensor]):
        self._forms = tuple(forms)
        self.addresses = torch.tensor([form.data_ptr() for form in forms], dtype=torch.int64)


class Kernel(Protocol):
    """Tables in the form that one function of the library takes."""

    def run(self, call: _ConvCall, library: NativeLibrary) -> None:
        """Fills `call.out`."""


@dataclass(frozen=True, eq=False)
class RowsKernel:
    """Rows of the table expanded as a layer runs; see csrc/rows.h. Any table, any processor."""

    columns: _Tables

    @classmethod
    def of(cls, tables: np.ndarray, x_low: int) -> "RowsKernel":
        """For `tables` as `NativeConv` has them; equal ones share their memory."""
        return cls(_Tables([_columns(table, x_low) for table in _each(tables)]))

    def run(self, call: _ConvCall, library: NativeLibrary) -> None:
        """See `Kernel.run`."""
        workspace = _workspace(library, "dse_rows_workspace")
        _call(library, "dse_rows", *call.arguments(self.columns, call.column_of), workspace)


@dataclass(frozen=True, eq=False)
class ColumnsKernel:
    """An output at a time; see csrc/columns.h. For groups of few outputs."""

    columns: _Tables

    @classmethod
    def of(cls, tables: np.ndarray, x_low: int) -> "ColumnsKernel":
        """For `tables` as `NativeConv` has them; equal ones share their memory."""
        return cls(_Tables([_columns(table, x_low) for table in _each(tables)]))

    def run(self, call: _ConvCall, library: NativeLibrary) -> None:
        """See `Kernel.run`."""
        _call(library, "dse_columns", *call.arguments(self.columns, call.column_of))


@dataclass(frozen=True, eq=False)
class DirectKernel:
    """One look-up a product, nothing set up; see csrc/direct.h. For few output positions."""

    rows: _Tables

    @classmethod
    def of(cls, tables: np.ndarray, x_low: int) -> "DirectKernel":
        """For `tables` as `NativeConv` has them; equal ones share their memory."""
        return cls(_Tables([_rows(table, x_low) for table in _each(tables)]))

    def run(self, call: _ConvCall, library: NativeLibrary) -> None:
        """See `Kernel.run`."""
        _call(library, "dse_direct", *call.arguments(self.rows, call.weights()))


@dataclass(frozen=True, eq=False)
class PermuteKernel:
    """Byte permutes over the table's low and high bytes; see csrc/permute.h. AVX-512 VBMI, entries within 16 bits."""

    planes: _Tables
    low: torch.Tensor

    @classmethod
    def of(cls, tables: np.ndarray, x_low: int) -> "PermuteKernel":
        """For `tables` as `NativeConv` has them; equal ones share their memory."""
        planes, low = zip(*(_planes(table, x_low) for table in _each(tables)), strict=True)
        return cls(_Tables(planes), torch.tensor(low, dtype=torch.int32))

    @staticmethod
    def fits(tables: np.ndarray, library: NativeLibrary) -> bool:
        """Whether this kernel can take `tables`, as `NativeConv` has them, here."""
        if library.isa_name != "avx512-vbmi":
            return False
        return all(int(table.max()) - int(table.min()) < 2**16 for table in tables.reshape(-1, 256, 256))

    def run(self, call: _ConvCall, library: NativeLibrary) -> None:
        """See `Kernel.run`."""
        workspace = _workspace(library, "dse_permute_workspace", call.conv)
        _call(library, "dse_permute", _address(self.low), *call.arguments(self.planes, call.column_of), workspace)


class NativeConv:
    """`IntegerConv` through a table, or several, by a kernel of the native library.

    Args:
        problem: the convolution.
        tables: int32 `[256, 256]` in natural operand order, row = activation; or `[n_tables, 256, 256]`, at most 256.
        choose: gives the kernel, made of these tables, for a number of output positions (images times outputs a
            channel).
        library: the native library at the level to use.
        table_of: which table each output channel goes through, uint8 `[C_out]`; needed for several.
        largest: magnitude in the tables, where it is known: most layers need no closer look then.
    """

    def __init__(
        self,
        problem: IntegerConv,
        tables: np.ndarray,
        choose: Callable[[int], Kernel],
        library: NativeLibrary,
        *,
        table_of: torch.Tensor | None = None,
        largest: int | None = None,
    ):
        if largest is None or not problem.is_within_range(largest):
            _check_range(problem, tables, table_of)
        self.problem, self._choose, self._library, self._table_of = problem, choose, library, table_of
        index = (problem.weight.to(torch.int64) - problem.w_low).to(torch.uint8)
        self._column_of = index.permute(0, 2, 3, 1).contiguous()
        self._zero_point = problem.w_zero_point.to(torch.int32)
        self._constant = wrapped_int32(problem.constant)
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
        codes = padded(p, x)
        size = p.output_size(*x.shape[2:])
        out = torch.empty((len(x), p.n_outputs, *size), dtype=dtype, memory_format=torch.channels_last)
        conv, finish = _conv(p, codes), _Finish(_address(self._constant), _address(scale), _address(bias))
        call = _ConvCall(
            ctypes.addressof(conv), ctypes.addressof(finish), codes, self._table_of, self._column_of, self._zero_point,
            p.x_low < 0, out, lambda: self._weights,
        )  # fmt: skip
        self._choose(len(x) * size[0] * size[1]).run(call, self._library)
        return out

    @cached_property
    def _weights(self) -> torch.Tensor:
        """Bytes of the weights by group, tap and channel, outputs innermost."""
        return self._column_of.unflatten(0, (self.problem.groups, -1)).movedim(1, -1).contiguous()


def _check_range(problem: IntegerConv, tables: np.ndarray, table_of: torch.Tensor | None) -> None:
    if table_of is None:
        problem.check_range(torch.tensor(tables))
        return
    for i, table in enumerate(tables):
        problem.outputs(table_of == i).check_range(torch.tensor(table))


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


class Slope(NamedTuple):
    """What else is added to a sum: `slope[o]` times the sum of all codes under the kernel.

    Attributes:
        slope: int32 `[C_out]`.
        windows: int32 `[positions, groups]`, from `window_sums`.
    """

    slope: torch.Tensor
    windows: torch.Tensor


def complete(
    sums: torch.Tensor,
    constant: torch.Tensor,
    added: Slope | None,
    scale: torch.Tensor | None,
    bias: torch.Tensor | None,
    *,
    library: NativeLibrary,
) -> torch.Tensor:
    """`y = sums + constant + slope * windows`, or with scale and bias `float32(y) * scale + bias` with two roundings.

    Args:
        sums: int32, or float32 holding integers below 2^24, `[n, C_out, H, W]`, channels last; worked on in place.
        constant: int32 `[C_out]`.
        added: the slope and its windows, if any.
        scale, bias: float32 `[C_out]`, or None.
        library: the native library at the level to use.

    Returns:
        int32, or float32 with scale and bias, `[n, C_out, H, W]`, channels last.
    """
    n, channels, height, width = sums.shape
    groups = 1 if added is None else added.windows.shape[1]
    slope, windows = (None, None) if added is None else added
    tensors = [_address(tensor) for tensor in (constant, slope, windows, scale, bias)]
    is_float = sums.dtype == torch.float32
    _call(library, "dse_complete", _address(sums), is_float, n * height * width, channels, groups, *tensors)
    return sums.view(torch.int32 if scale is None else torch.float32)


def window_sums(problem: IntegerConv, codes: torch.Tensor, library: NativeLibrary) -> torch.Tensor:
    """Sums of all codes under the kernel, by group, int32 `[positions, groups]`.

    Args:
        problem: the convolution.
        codes: uint8 `[n, C_in, H, W]`, padded, channels last; counted from 0.
        library: the native library at the level to use.
    """
    p, conv = problem, _conv(problem, codes)
    height, width = dataclasses.replace(p, padding=(0, 0, 0, 0)).output_size(*codes.shape[2:])
    out = torch.empty(len(codes) * height * width, p.groups, dtype=torch.int32)
    workspace = _workspace(library, "dse_window_workspace", ctypes.addressof(conv))
    _call(library, "dse_window_sums", ctypes.addressof(conv), _address(codes), _address(out), workspace)
    return out


def expand(codes: torch.Tensor, rows: torch.Tensor, *, out: torch.Tensor, library: NativeLibrary) -> None:
    """`out[:] = rows[codes]`.

    Args:
        codes: uint8, contiguous, any shape.
        rows: `[256]`, of a type of 1, 2, 4, 8 or 16 bytes.
        out: `[codes.numel()]` of the type of `rows`.
        library: the native library at the level to use.
    """
    arguments = (_address(codes), codes.numel(), _address(rows), rows.itemsize, _address(out))
    _call(library, "dse_expand", *arguments)


def _each(tables: np.ndarray) -> list[bytes]:
    """One or several tables, each by itself."""
    return [table.tobytes() for table in tables.reshape(-1, 256, 256)]


@lru_cache(maxsize=256)
def _rows(table: bytes, x_low: int) -> torch.Tensor:
    """int32 `[256, 256]`: entries by the byte of the activation code, then of the weight in natural order."""
    entries = np.frombuffer(table, dtype=np.int32).reshape(256, 256)
    return torch.from_numpy(np.roll(entries, x_low, axis=0))


@lru_cache(maxsize=256)
def _columns(table: bytes, x_low: int) -> torch.Tensor:
    """int32 `[256, 256]`: for every weight, the entries by the byte of the activation code."""
    return _rows(table, x_low).T.contiguous()


@lru_cache(maxsize=256)
def _planes(table: bytes, x_low: int) -> tuple[torch.Tensor, int]:
    """Low and high bytes of the columns, uint8 `[256, 2, 256]`, less their smallest entry, and that."""
    columns = _columns(table, x_low).numpy()
    low = int(columns.min())
    entries = (columns - low).astype(np.uint16)
    return torch.from_numpy(np.stack([entries & 255, entries >> 8], axis=1).astype(np.uint8)), low


def _conv(problem: IntegerConv, codes: torch.Tensor) -> _Conv:
    n, channels, height, width = codes.shape
    return _Conv(
        n, height, width, channels, problem.n_outputs, problem.groups, *problem.weight.shape[2:], *problem.stride,
        *problem.dilation,
    )  # fmt: skip


def _address(tensor: torch.Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _workspace(library: NativeLibrary, name: str, *arguments: object) -> int:
    """Address, a multiple of 64, of what a function of csrc/native.h asks for, until this thread's next call."""
    n_bytes = _function(library, name)(*arguments, torch.get_num_threads())
    buffer = getattr(_THREAD, "buffer", None)
    if buffer is None or len(buffer) < n_bytes + 63:
        buffer = _THREAD.buffer = np.empty(n_bytes + 63, dtype=np.uint8)
    return -(-buffer.ctypes.data // 64) * 64


def _call(library: NativeLibrary, name: str, *arguments: object) -> None:
    """Calls a function of csrc/native.h at the library's level, on as many threads as torch uses."""
    share_threads(library)
    code = _function(library, name)(*arguments, library.isa, torch.get_num_threads())
    if code:
        raise AssertionError(f"{name} of the native library refused its arguments with code {code}")


@cache
def _function(library: NativeLibrary, name: str) -> Callable[..., int]:
    """A function of csrc/native.h with its types declared."""
    function = library.functions[name]  # by index: a function object of its own
    if name in _WORKSPACES:
        function.argtypes, function.restype = [*_WORKSPACES[name], _INT], _INT64
    else:
        function.argtypes = [*_ARGUMENTS[name], _INT, _INT]
    return function


@cache
def share_threads(library: NativeLibrary) -> None:
    """Lets the library run on the threads of torch's OpenMP runtime, so that the two do not wait for each other."""
    gomp_parallel = getattr(ctypes.CDLL(None), "GOMP_parallel", None) if os.name == "posix" else None
    use = library.functions["dse_use_openmp"]
    use.argtypes, use.restype = [_POINTER], None
    use(ctypes.cast(gomp_parallel, _POINTER) if gomp_parallel else None)

"""Convolution and linear layers through a multiplier's table: one signature, several backends, equal bit for bit.

`prepare` does all packing once; the result is applied to activation codes. `lut_conv2d` and `lut_linear` are the
same for single calls. Backends: `reference` (table gather, the oracle), `factored` (exact factorization on int8
convolutions), `rows`, `permute`, `columns` and `direct` (kernels of the native library for any table), `gpu` (see
`dse.simulation.gpu`); `auto` is the fastest that is here for each layer and table.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from numbers import Integral
from typing import Protocol, runtime_checkable

import numpy as np
import torch

from dse.errors import ConfigError, ShapeError, unknown_name
from dse.multipliers.factorization import factorize
from dse.multipliers.multiplier import Multiplier
from dse.simulation.devices import CPU
from dse.simulation.engines import default_engine
from dse.simulation.factored import FactoredConv
from dse.simulation.gpu import open_gpu, prepare_gpu
from dse.simulation.native import NativeConv, PermuteKernel
from dse.simulation.native_library import NativeLibrary, load
from dse.simulation.planner import KERNELS, Plan
from dse.simulation.problem import IntegerConv, integer_conv, rescale
from dse.simulation.reference import ReferenceConv


class PreparedConv(Protocol):
    """A convolution ready to apply; `n_bytes` is about what it holds in memory."""

    n_bytes: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Sums `[n, C_out, H_out, W_out]`, int32 or float32 holding the same integers, for codes `x`."""


@runtime_checkable
class Rescaling(Protocol):
    """A prepared convolution that rescales its sums while it has them at hand."""

    def rescaled(self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """What `rescaled` of this module gives."""


def _prepare_reference(problem: IntegerConv, multiplier: Multiplier) -> PreparedConv:
    return ReferenceConv(problem, torch.tensor(multiplier.table))


def _prepare_factored(problem: IntegerConv, multiplier: Multiplier) -> PreparedConv:
    problem.check_range(torch.tensor(multiplier.table))
    factorization = None if multiplier.is_exact else factorize(multiplier)
    return FactoredConv(problem, factorization, default_engine())


def _prepare_auto(problem: IntegerConv, multiplier: Multiplier) -> PreparedConv:
    library = load()
    if library is None:
        return _prepare_factored(problem, multiplier)
    factorization = None if multiplier.is_exact else factorize(multiplier)
    plan = Plan(problem, multiplier.table, factorization, library)
    if plan.is_factored:
        return _prepare_factored(problem, multiplier)
    return NativeConv(problem, multiplier.table, plan.choose_kernel, library)


def library_for(kernel: str, multiplier: Multiplier) -> NativeLibrary:
    """The native library, checked to run a table through one of its kernels.

    Raises:
        ConfigError: it is not here, or cannot do that.
    """
    library = load()
    if library is None:
        raise ConfigError(f"backend {kernel!r} needs the native library, which is not here: `dse doctor` says why")
    if kernel == "permute" and not PermuteKernel.fits(multiplier.table, library):
        raise ConfigError(
            f"backend 'permute' cannot take multiplier {multiplier.name!r} here: it needs AVX-512 VBMI (this machine "
            f"runs at {library.isa_name}) and entries that span less than 65536. Use 'rows', or 'auto'"
        )
    return library


def _prepare_native(kernel: str, problem: IntegerConv, multiplier: Multiplier) -> PreparedConv:
    library, made = library_for(kernel, multiplier), KERNELS[kernel].of(multiplier.table, problem.x_low)
    return NativeConv(problem, multiplier.table, lambda positions: made, library)


def _prepare_stand_in(problem: IntegerConv, multiplier: Multiplier) -> PreparedConv:
    """The matrix products of a GPU on the CPU, for tests."""
    return prepare_gpu(problem, multiplier, open_gpu(CPU))


class _OnCpu:
    """A convolution on the CPU for codes of another device."""

    def __init__(self, conv: PreparedConv):
        self._conv, self.n_bytes = conv, conv.n_bytes

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        with CPU:  # a network on another device makes new tensors there
            sums = self._conv(x.cpu())
        return sums.to(x.device)


BACKENDS: dict[str, Callable[[IntegerConv, Multiplier], PreparedConv]] = {
    "auto": _prepare_auto,
    "factored": _prepare_factored,
    **{kernel: partial(_prepare_native, kernel) for kernel in KERNELS},
    "gpu": _prepare_stand_in,
    "reference": _prepare_reference,
}


def prepare(
    problem: IntegerConv, multiplier: Multiplier, backend: str = "auto", *, device: torch.device = CPU
) -> PreparedConv:
    """Pack `problem` for `multiplier`.

    Args:
        problem: the convolution, its tensors on the CPU.
        multiplier: takes the problem's codes.
        backend: one of `BACKENDS`. On a GPU "auto" is "gpu", and the others compute on the CPU nevertheless.
        device: of the codes that it will be applied to and of the sums that it gives; a GPU with its index.

    Raises:
        ConfigError: unknown backend, or a device that does not compute exactly.
        ShapeError: codes of another type than the multiplier takes, or sums that could exceed int32.
    """
    check_fits(problem, multiplier, backend)
    if device.type == "cpu":
        return BACKENDS[backend](problem, multiplier)
    if backend in ("auto", "gpu"):
        return prepare_gpu(problem, multiplier, open_gpu(device))
    return _OnCpu(BACKENDS[backend](problem, multiplier))


def check_fits(problem: IntegerConv, multiplier: Multiplier, backend: str) -> None:
    """Refuses an unknown backend, and codes of another type than the multiplier takes."""
    if backend not in BACKENDS:
        raise ConfigError(unknown_name("backend", backend, BACKENDS))
    codes = torch.int8 if multiplier.is_signed else torch.uint8
    if problem.x_dtype != codes or problem.weight.dtype != codes:
        raise ShapeError(
            f"multiplier {multiplier.name!r} takes codes in {codes}, got activations {problem.x_dtype} and weights "
            f"{problem.weight.dtype}: use the quantization scheme that fits its signedness"
        )


def rescaled(conv: PreparedConv, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """`float32(sums) * scale + bias` per output channel, float32 `[n, C_out, H_out, W_out]`, for codes `x`.

    Args:
        conv: gives the sums.
        x: its codes.
        scale, bias: float32 `[C_out]`, contiguous.
    """
    if isinstance(conv, Rescaling):
        return conv.rescaled(x, scale, bias)
    return rescale(conv(x), scale, bias)


def lut_conv2d(
    x: torch.Tensor,
    w: torch.Tensor,
    table: torch.Tensor | np.ndarray,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    x_zero_point: int = 0,
    backend: str = "auto",
) -> torch.Tensor:
    """2-D convolution in which every product is looked up: `y[n, o, p] = SUM_k table[x_k, w_ok]`.

    Args:
        x: activation codes, uint8 or int8 `[n, C_in, H, W]`; the device that has them computes.
        w: weight codes of the same type, `[C_out, C_in/groups, kh, kw]`.
        table: int32 `[256, 256]` in natural operand order (0..255, or -128..127 for int8 codes), row = activation.
        stride, padding, dilation: one number, or (vertical, horizontal).
        groups: as in `torch.nn.functional.conv2d`.
        x_zero_point: code of padding positions; they pass through the table.
        backend: one of `BACKENDS`.

    Returns:
        int32 `[n, C_out, H_out, W_out]`.

    Raises:
        ShapeError: types or shapes that do not fit, or sums that could exceed int32.
        MultiplierError: a table that is not 256x256 integers.

    >>> x, w = torch.ones(1, 1, 3, 3, dtype=torch.uint8), torch.ones(1, 1, 3, 3, dtype=torch.uint8)
    >>> lut_conv2d(x, w, np.multiply.outer(np.arange(256), np.arange(256)).astype(np.int32)).item()
    9
    """
    if x.dtype != w.dtype:
        raise ShapeError(f"activation and weight codes must share a type, got {x.dtype} and {w.dtype}")
    vertical, horizontal = _pair(padding, "padding")
    problem = integer_conv(
        w.cpu(),
        x.dtype,
        x_zero_point=x_zero_point,
        stride=_pair(stride, "stride"),
        padding=(horizontal, horizontal, vertical, vertical),
        dilation=_pair(dilation, "dilation"),
        groups=groups,
    )
    problem.check_input(x)
    conv = prepare(problem, _as_multiplier(table, w.dtype), backend, device=x.device)
    return conv(x).to(torch.int32).contiguous()


def lut_linear(
    x: torch.Tensor, w: torch.Tensor, table: torch.Tensor | np.ndarray, *, backend: str = "auto"
) -> torch.Tensor:
    """Linear layer through a table: `y[..., o] = SUM_k table[x[..., k], w[o, k]]`.

    Args:
        x: activation codes, uint8 or int8 `[..., in]`.
        w: weight codes of the same type, `[out, in]`.
        table: int32 `[256, 256]`, as in `lut_conv2d`.
        backend: as in `lut_conv2d`.

    Returns:
        int32 `[..., out]`.

    Raises:
        ShapeError, MultiplierError: as in `lut_conv2d`.

    >>> x, w = torch.tensor([[3, 5]], dtype=torch.uint8), torch.tensor([[2, 4], [1, 7]], dtype=torch.uint8)
    >>> lut_linear(x, w, np.multiply.outer(np.arange(256), np.arange(256)).astype(np.int32)).tolist()
    [[26, 38]]
    """
    if w.dim() != 2 or x.dim() < 1 or x.shape[-1] != w.shape[1]:
        raise ShapeError(f"expected x [..., in] and w [out, in], got {list(x.shape)} and {list(w.shape)}")
    flat = x.reshape(-1, x.shape[-1], 1, 1)
    sums = lut_conv2d(flat, w[:, :, None, None], table, backend=backend)
    return sums.view(*x.shape[:-1], w.shape[0])


def _pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, Integral) else value
    if not isinstance(pair, Sequence) or len(pair) != 2 or not all(isinstance(v, Integral) for v in pair):
        raise ShapeError(f"{name} must be an int or two ints, got {value!r}")
    return int(pair[0]), int(pair[1])


def _as_multiplier(table: torch.Tensor | np.ndarray, dtype: torch.dtype) -> Multiplier:
    is_signed = dtype == torch.int8
    if isinstance(table, torch.Tensor):
        table = table.detach().cpu().numpy()
    if not isinstance(table, np.ndarray) or table.dtype.kind not in "iuf":
        return Multiplier("table", table, is_signed=is_signed)  # which says what is wrong with it
    array = np.ascontiguousarray(table)
    return _cached_multiplier(array.tobytes(), array.dtype.str, array.shape, is_signed)


@lru_cache(maxsize=64)
def _cached_multiplier(data: bytes, dtype: str, shape: tuple[int, ...], is_signed: bool) -> Multiplier:
    """Repeated calls with one table hash and check it once."""
    return Multiplier("table", np.frombuffer(data, dtype=np.dtype(dtype)).reshape(shape), is_signed=is_signed)

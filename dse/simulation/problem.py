"""The integer convolution that every backend computes, and its check at the door."""

import dataclasses
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from dse.errors import ShapeError

INT32_MAX = 2**31 - 1


@dataclass(frozen=True, eq=False)
class IntegerConv:
    """One integer convolution through a table `T` (a Linear layer is a 1x1 convolution on a 1x1 image).

    For every output `y[n, o, p] = SUM_k (T[x_k, w_ok] - w_zero_point[o] * x_k) + constant[o]`, in int32. Padding
    positions carry code `x_zero_point` through the table, as hardware does.

    Attributes:
        weight: codes, uint8 or int8 `[C_out, C_in/groups, kh, kw]`.
        x_dtype: `torch.uint8` or `torch.int8`, the activations' codes.
        x_zero_point: code of padding positions.
        stride, dilation: (vertical, horizontal).
        padding: (left, right, top, bottom), as in `torch.nn.functional.pad`.
        w_zero_point: int64 `[C_out]`; zeros give the plain sums of `T`.
        constant: int64 `[C_out]`.
    """

    weight: torch.Tensor
    x_dtype: torch.dtype
    x_zero_point: int
    stride: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    w_zero_point: torch.Tensor
    constant: torch.Tensor

    @property
    def n_outputs(self) -> int:
        """Output channels `C_out`."""
        return self.weight.shape[0]

    @property
    def fan_in(self) -> int:
        """Products summed into one output, `K`."""
        return self.weight[0].numel()

    @property
    def x_low(self) -> int:
        """Smallest activation code: 0 or -128."""
        return torch.iinfo(self.x_dtype).min

    @property
    def w_low(self) -> int:
        """Smallest weight code: 0 or -128."""
        return torch.iinfo(self.weight.dtype).min

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output height and width for an input of `height x width`."""
        left, right, top, bottom = self.padding
        spans = [(k - 1) * d + 1 for k, d in zip(self.weight.shape[2:], self.dilation, strict=True)]
        return (
            (height + top + bottom - spans[0]) // self.stride[0] + 1,
            (width + left + right - spans[1]) // self.stride[1] + 1,
        )

    def outputs(self, rows: torch.Tensor) -> "IntegerConv":
        """The convolution with only some output channels, for bounds: its groups are those of the whole.

        Args:
            rows: numbers, or a mask, of at least one output channel.
        """
        return dataclasses.replace(
            self, weight=self.weight[rows], w_zero_point=self.w_zero_point[rows], constant=self.constant[rows]
        )

    def check_input(self, x: torch.Tensor) -> None:
        """Raise `ShapeError` unless `x` is `[n, C_in, H, W]` of `x_dtype` and at least one kernel large."""
        channels = self.weight.shape[1] * self.groups
        if x.dtype != self.x_dtype or x.dim() != 4 or x.shape[1] != channels:
            raise ShapeError(
                f"expected activation codes {self.x_dtype} [n, {channels}, H, W], got {x.dtype} {list(x.shape)}"
            )
        if min(self.output_size(*x.shape[2:])) < 1:
            raise ShapeError(f"input {tuple(x.shape[2:])} is smaller than its kernel {tuple(self.weight.shape[2:])}")

    def check_range(self, table: torch.Tensor) -> None:
        """Raise `ShapeError` where int32 sums through `table`, int32 `[256, 256]`, could overflow for some input."""
        table = table.to(torch.int64)
        largest = int(table.abs().max())
        if not self.is_within_range(largest) and self._largest_output(table) > INT32_MAX:
            largest += int(self.w_zero_point.abs().max()) * 255
            raise ShapeError(
                f"{self.fan_in} products of up to {largest} can exceed int32: split the layer or scale the table down"
            )

    def is_within_range(self, largest: int) -> bool:
        """Whether int32 sums cannot overflow through any table of entries up to this magnitude."""
        term = largest + int(self.w_zero_point.abs().max()) * 255
        return self.fan_in * term + int(self.constant.abs().max()) <= INT32_MAX

    def _largest_output(self, table: torch.Tensor) -> int:
        """Largest magnitude that any input can give with these weights."""
        x = torch.arange(self.x_low, self.x_low + 256).view(-1, 1)
        index = self.weight.flatten(1).to(torch.int64) - self.w_low
        largest = 0
        for zero_point in self.w_zero_point.unique():
            chosen = self.w_zero_point == zero_point
            terms = table - zero_point * x
            for extreme in (terms.amax(0), terms.amin(0)):
                sums = extreme[index[chosen]].sum(1) + self.constant[chosen]
                largest = max(largest, int(sums.abs().max()))
        return largest


def integer_conv(
    weight: torch.Tensor,
    x_dtype: torch.dtype,
    *,
    x_zero_point: int = 0,
    stride: tuple[int, int] = (1, 1),
    padding: tuple[int, int, int, int] = (0, 0, 0, 0),
    dilation: tuple[int, int] = (1, 1),
    groups: int = 1,
    w_zero_point: torch.Tensor | None = None,
    constant: torch.Tensor | None = None,
) -> IntegerConv:
    """An `IntegerConv` with checked arguments; see there for shapes.

    Raises:
        ShapeError: codes of another type than uint8 or int8, a weight that is not 4-dimensional, groups that do not
            divide the channels, a zero point outside the codes, or a stride or dilation below 1.
    """
    codes = (torch.uint8, torch.int8)
    if weight.dtype not in codes or x_dtype not in codes:
        raise ShapeError(f"expected codes in uint8 or int8, got weights {weight.dtype} and activations {x_dtype}")
    if weight.dim() != 4 or weight.numel() == 0:
        raise ShapeError(f"expected weights [C_out, C_in/groups, kh, kw] with no empty axis, got {list(weight.shape)}")
    if groups < 1 or weight.shape[0] % groups:
        raise ShapeError(f"groups ({groups}) must divide the {weight.shape[0]} output channels")
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0:
        raise ShapeError(
            f"stride {stride} and dilation {dilation} must be at least 1 and padding {padding} not negative"
        )
    if not torch.iinfo(x_dtype).min <= x_zero_point <= torch.iinfo(x_dtype).max:
        raise ShapeError(f"x_zero_point {x_zero_point} is not a code of {x_dtype}")
    zeros = torch.zeros(weight.shape[0], dtype=torch.int64)
    return IntegerConv(
        weight.detach().contiguous(),
        x_dtype,
        int(x_zero_point),
        stride,
        padding,
        dilation,
        groups,
        zeros if w_zero_point is None else w_zero_point.to(torch.int64),
        zeros if constant is None else constant.to(torch.int64),
    )


def padded(problem: IntegerConv, x: torch.Tensor) -> torch.Tensor:
    """Codes padded with the zero code, channels last."""
    x = x.contiguous(memory_format=torch.channels_last)
    if any(problem.padding):
        x = F.pad(x, problem.padding, value=problem.x_zero_point).contiguous(memory_format=torch.channels_last)
    return x


def unsigned_padded(problem: IntegerConv, x: torch.Tensor) -> torch.Tensor:
    """Codes as uint8 `x - x_low`, padded with the zero code, channels last."""
    codes = padded(problem, x)
    return codes if codes.dtype == torch.uint8 else codes.view(torch.uint8) ^ 0x80


def wrapped_int32(values: torch.Tensor) -> torch.Tensor:
    """int64 values modulo 2^32 as int32: sums of them are right wherever the whole sum fits."""
    return ((values + 2**31) % 2**32 - 2**31).to(torch.int32)


def rescale(sums: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """`float32(sums) * scale + bias` per output channel.

    Args:
        sums: `[n, C_out, H, W]`, int32 or float32; float32 ones are worked on in place.
        scale, bias: float32 `[C_out]`.
    """
    # Separate roundings: a fused multiply-add would depend on how the compiler vectorized it.
    return sums.to(torch.float32).mul_(scale.view(1, -1, 1, 1)).add_(bias.view(1, -1, 1, 1))

"""Derivatives of a multiplier's table, which has none: three ways to learn through it.

- "ste" [paper]: those of the exact product, `dT/dx = w` and `dT/dw = x`.
- "linear" [ours], the default: `dT/dx = slope[w]`, of the straight line that fits column `w` best where the layer's
  activations are. Columns of cheap multipliers are steeper or flatter than their weight, and the deviations multiply
  from layer to layer: on a ResNet-20 with 76 % saved, straight-through gradients by the biases of a layer in the middle
  were ten times as long as measured differences of the loss, and pointed elsewhere.
- "smoothed" [ours]: those of the exact product, and those of the error on top: central differences over `WIDTH` codes
  to either side (errors jump from one code to the next, their slope over a few does not), and of these the `RANK`
  leading singular components:

      dE/dx[x, w] ~ SUM_r a_r[x] b_r[w],    dE/dw[x, w] ~ SUM_r c_r[x] d_r[w],

  so that the gradient of a layer takes `RANK` more ordinary convolutions, with `b_r[w]` for the weights or `c_r[x]` for
  the activations.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.nn import functional as F

from dse.multipliers.multiplier import Multiplier, operand_codes
from dse.simulation.problem import IntegerConv, padded

WIDTH = 8
RANK = 2

Factors = tuple[torch.Tensor, torch.Tensor]


def column_slopes(multiplier: Multiplier, histogram: np.ndarray) -> torch.Tensor:
    """Least-squares slope of every column of a table over the activation codes.

    Args:
        multiplier: the exact one gives the weights themselves.
        histogram: how often each activation code occurs, float64 `[256]`, natural order.

    Returns:
        float32 `[256]`, natural order of weight codes; the weight itself where all activations are one code.
    """
    codes = operand_codes(multiplier.is_signed).astype(np.float64)
    share = histogram / histogram.sum()
    centered = share * (codes - share @ codes)
    variance = centered @ codes
    slopes = codes if variance == 0 else centered @ multiplier.table.astype(np.float64) / variance
    return torch.from_numpy(slopes.astype(np.float32))


@dataclass(frozen=True, eq=False)
class TableGradients:
    """Factors of both derivatives: by activation code float32 `[256, RANK]` and by weight code, natural order.

    Those of `of` are on the CPU; `apply` computes where they are, and takes tensors that are there too.
    """

    by_x: Factors
    by_weight: Factors

    @classmethod
    def of(cls, multiplier: Multiplier) -> "TableGradients":
        """Of a multiplier's error; zeros for the exact one."""
        return _table_gradients(multiplier)

    def to(self, device: torch.device) -> "TableGradients":
        """The same on another device."""
        return TableGradients(*(tuple(factor.to(device) for factor in pair) for pair in (self.by_x, self.by_weight)))

    def apply(
        self,
        problem: IntegerConv,
        codes: torch.Tensor,
        weight: torch.Tensor,
        of_sums: torch.Tensor,
        *,
        needs_x: bool,
    ) -> tuple[torch.Tensor | None, torch.Tensor]:
        """What the error adds to the gradients by codes and by weights.

        Args:
            problem: the convolution.
            codes: its input `[n, C_in, H, W]`.
            weight: its weight codes.
            of_sums: gradient by the integer sums, float32 `[n, C_out, H_out, W_out]`.
            needs_x: whether the first is wanted.
        """
        x, w = codes.to(torch.int64) - problem.x_low, weight.to(torch.int64) - problem.w_low
        padded_x = padded(problem, codes).to(torch.int64) - problem.x_low
        x_zeros, w_zeros = (torch.zeros(operand.shape, device=codes.device) for operand in (codes, weight))
        by_x, by_weight = None, torch.zeros_like(w_zeros)
        for r in range(RANK):
            if needs_x:
                operands = (x_zeros, self.by_x[1][w, r])
                part, _ = convolution_gradients(problem, *operands, of_sums, needs=(True, False))
                part = part * self.by_x[0][x, r]
                by_x = part if by_x is None else by_x + part
            operands = (self.by_weight[0][padded_x, r], w_zeros)
            _, part = convolution_gradients(problem, *operands, of_sums, needs=(False, True), is_padded=True)
            by_weight += part * self.by_weight[1][w, r]
        return by_x, by_weight


@lru_cache(maxsize=64)
def _table_gradients(multiplier: Multiplier) -> TableGradients:
    error = multiplier.error.astype(np.float64)
    return TableGradients(_factors(_difference(error)), _factors(_difference(error.T).T))


def _difference(error: np.ndarray) -> np.ndarray:
    """Smoothed derivative along the first axis; differences are one-sided where the codes end."""
    index = np.arange(len(error))
    high, low = np.minimum(index + WIDTH, len(error) - 1), np.maximum(index - WIDTH, 0)
    return (error[high] - error[low]) / (high - low)[:, None]


def _factors(derivative: np.ndarray) -> Factors:
    left, values, right = np.linalg.svd(derivative)
    root = np.sqrt(values[:RANK])
    pair = (left[:, :RANK] * root, right[:RANK].T * root)
    return tuple(torch.from_numpy(np.ascontiguousarray(factor, dtype=np.float32)) for factor in pair)


def convolution_gradients(
    problem: IntegerConv,
    x: torch.Tensor,
    weight: torch.Tensor,
    of_sums: torch.Tensor,
    *,
    needs: tuple[bool, bool],
    is_padded: bool = False,
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Gradients of `conv2d(x, weight)` with the geometry of `problem`, float32, by `x` and by `weight`.

    Args:
        problem: gives stride, padding (with zeros), dilation and groups.
        x: `[n, C_in, H, W]`.
        weight: `[C_out, C_in/groups, kh, kw]`.
        of_sums: gradient by the outputs; all three of one type.
        needs: which of the two is wanted.
        is_padded: whether `x` is padded already; then its gradient is that of the padded one.
    """
    left, right, top, bottom = (0, 0, 0, 0) if is_padded else problem.padding
    is_even = (left, top) == (right, bottom)
    x = x if is_even else F.pad(x, (left, right, top, bottom))
    padding = [top, left] if is_even else [0, 0]
    by_x, by_weight, _ = torch.ops.aten.convolution_backward(
        of_sums, x, weight, None, list(problem.stride), padding, list(problem.dilation), False, [0, 0],
        problem.groups, [*needs, False],
    )  # fmt: skip
    if by_x is not None:
        by_x = by_x.to(torch.float32)
        by_x = by_x if is_even else by_x[:, :, top : by_x.shape[2] - bottom, left : by_x.shape[3] - right]
    return by_x, None if by_weight is None else by_weight.to(torch.float32)

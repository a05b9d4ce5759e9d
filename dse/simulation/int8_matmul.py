"""Factorized tables as plain int8 matrix products (`torch._int_mm`): for devices that the CUDA kernels do not run on.

`y = SUM_r weight_r * conv(phi_r(x), psi_r(w)) + constant` (see `dse.simulation.factored`), each convolution as the
product of unfolded features with the weights. Both operands are int8, so features go in less 128, which the constant
takes back. Sums are int32, so nothing needs a bound. On CUDA cuBLASLt computes the products on tensor cores; it takes
matrices whose sides are multiples of 16, the left one with at least 32 rows, the right one transposed.
"""

import numpy as np
import torch

from dse.multipliers.factorization import Factorization
from dse.simulation.factored import Planes, row_words
from dse.simulation.problem import IntegerConv, unsigned_padded, wrapped_int32

_UNFOLDED_BYTES = {"cpu": 2**24, "cuda": 2**28}
_MIN_ROWS = 32


class MatmulConv:
    """`IntegerConv` through a factorized table; equal to `ReferenceConv` bit for bit.

    Args:
        problem: the convolution.
        factorization: of the table's error; `None` for the exact product.
        device: where it runs.
    """

    def __init__(self, problem: IntegerConv, factorization: Factorization | None, device: torch.device):
        self.problem = problem
        planes = Planes(problem, factorization)
        # Totals are right modulo 2^32, where larger weights of planes vanish.
        pieces = [piece for piece in planes.pieces() if piece[0] < 2**32]
        self._pieces = [_Piece(problem, features, weight, scale, device) for scale, features, weight in pieces]
        constant = planes.constant + sum(piece.constant for piece in self._pieces)
        self._constant = wrapped_int32(constant).to(device)
        self._budget = _UNFOLDED_BYTES[device.type]
        self.n_bytes = sum(piece.n_bytes for piece in self._pieces)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """int32 `[n, C_out, H_out, W_out]` for codes `x [n, C_in, H, W]`, on the device they are prepared for."""
        p = self.problem
        p.check_input(x)
        height, width = p.output_size(*x.shape[2:])
        out = self._constant.repeat(len(x), height, width, 1)  # never a view: it is added to
        codes = unsigned_padded(p, x).permute(0, 2, 3, 1)
        largest = max((piece.unfolded_bytes for piece in self._pieces), default=1) * height * width
        step = max(1, self._budget // largest)
        for chunk, sums in zip(codes.split(step), out.split(step), strict=True):
            for piece in self._pieces if len(x) else ():
                piece(chunk, sums.flatten(0, 2))
        return out.permute(0, 3, 1, 2)


class _Piece:
    """Planes of one scale: a matrix product for every group."""

    def __init__(self, problem, features, weight, scale, device):
        self._problem = problem
        n_planes = weight.shape[1] // problem.weight.shape[1]
        if features is None:  # the codes themselves
            features = np.repeat(np.arange(256, dtype=np.uint8)[:, None], n_planes, axis=1)
        self._rows = row_words(features ^ 128).to(device)
        flat = weight.permute(0, 2, 3, 1).flatten(1)  # [C_out, kh * kw * C * planes]
        self._n_words = flat.shape[1] // n_planes
        self._word_bytes = n_planes
        self._outputs = problem.n_outputs // problem.groups
        padded = flat.new_zeros(problem.groups, _padded(self._outputs), _padded(flat.shape[1]))
        padded[:, : self._outputs, : flat.shape[1]] = flat.unflatten(0, (problem.groups, -1))
        self._weights = padded.to(device)
        self._factor = (scale + 2**31) % 2**32 - 2**31
        self.constant = 128 * scale * flat.to(torch.int64).sum(1)
        self.unfolded_bytes = padded.shape[2]
        self.n_bytes = padded.numel()

    def __call__(self, codes: torch.Tensor, sums: torch.Tensor) -> None:
        """Adds to `sums`, int32 `[n * positions, C_out]`, for padded codes `[n, H, W, C]`."""
        p = self._problem
        words = self._rows.index_select(0, codes.reshape(-1).to(torch.int32)).view(codes.shape)
        for axis, kernel, stride, dilation in zip((1, 2), p.weight.shape[2:], p.stride, p.dilation, strict=True):
            words = words.unfold(axis, (kernel - 1) * dilation + 1, stride)[..., ::dilation]
        n_rows, rows = len(sums), max(_MIN_ROWS, _padded(len(sums)))
        # What lies beyond the patches meets weights of zero, or gives rows that nobody reads.
        unfolded = words.new_empty(rows, self.unfolded_bytes // self._word_bytes)
        for group, (weights, channels) in enumerate(zip(self._weights, words.chunk(p.groups, dim=3), strict=True)):
            patches = channels.permute(0, 1, 2, 4, 5, 3)  # [n, H_out, W_out, kh, kw, C]
            target = unfolded[:n_rows, : self._n_words].unflatten(1, patches.shape[3:]).unflatten(0, patches.shape[:3])
            target.copy_(patches)
            product = torch._int_mm(unfolded.view(torch.int8), weights.t())[:n_rows, : self._outputs]
            sums[:, group * self._outputs : (group + 1) * self._outputs].add_(product, alpha=self._factor)


def _padded(size: int) -> int:
    return -(-size // 16) * 16

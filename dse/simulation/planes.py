"""Factorized tables on a GPU's tensor cores (`csrc/planes.cu`): features are looked up where they are multiplied.

The planes are those of `dse.simulation.factored`; tensor cores take uint8 features and int8 weights and add in int32,
so nothing needs an offset and no sum needs a bound.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from dse.multipliers.factorization import Factorization
from dse.simulation.cuda_geometry import geometry, in_32_bits, share, tile_of
from dse.simulation.cuda_kernels import Kernels
from dse.simulation.factored import Planes
from dse.simulation.problem import IntegerConv, unsigned_padded, wrapped_int32

_THREADS = 256  # as in planes.cu
_ROW_TILES = {64: 4, 32: 8, 16: 8}
_TILE_OVERHEAD = 56
_SMALLEST_SHARE = 4


class PlanesConv:
    """`IntegerConv` through a factorized table; equal to `ReferenceConv` bit for bit.

    Args:
        problem: the convolution.
        factorization: of the table's error; `None` for the exact product.
        load: gives the kernels of planes.cu for 1, 2 or 4 words of features a code.
        device: where they run.
    """

    def __init__(
        self,
        problem: IntegerConv,
        factorization: Factorization | None,
        load: Callable[[int], Kernels],
        device: torch.device,
    ):
        self.problem = problem
        self._taps: dict[tuple[int, int, int], torch.Tensor] = {}
        planes = Planes(problem, factorization)
        self._constant = wrapped_int32(planes.constant).to(device)
        # Totals are right modulo 2^32, where larger weights of planes vanish.
        pieces = [piece for piece in planes.pieces() if piece[0] < 2**32]
        self._pieces = [_Piece(problem, features, weight, scale, load, device) for scale, features, weight in pieces]
        self.n_bytes = sum(piece.n_bytes for piece in self._pieces)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """int32 `[n, C_out, H_out, W_out]` for codes `x [n, C_in, H, W]` on the device of the kernels."""
        p = self.problem
        p.check_input(x)
        size = p.output_size(*x.shape[2:])
        out = self._constant.repeat(len(x), *size, 1)  # never a view: it is added to
        if len(x) and self._pieces:
            begin = 0
            for codes in in_32_bits(self._codes(x), size[0] * size[1]):
                self._add(codes, size, out[begin : begin + len(codes)])
                begin += len(codes)
        return out.permute(0, 3, 1, 2)

    def _codes(self, x: torch.Tensor) -> torch.Tensor:
        """Padded codes, channels last, whole words a group: uint8 `[n, H, W, groups * C]`, words aligned."""
        codes = unsigned_padded(self.problem, x).permute(0, 2, 3, 1).contiguous()
        missing = -self.problem.weight.shape[1] % 4
        if missing:
            codes = F.pad(codes.unflatten(3, (self.problem.groups, -1)), (0, missing)).flatten(3)
        return codes.clone() if codes.data_ptr() % 4 else codes

    def _add(self, codes: torch.Tensor, size: tuple[int, int], out: torch.Tensor) -> None:
        """Adds all planes to `out`, int32 `[n, H_out, W_out, C_out]`."""
        p, (n, height, width, channels) = self.problem, codes.shape
        for piece in self._pieces:
            key = height, width, piece.n_taps
            if key not in self._taps:
                self._taps[key] = self._offsets(*key, channels).to(codes.device)
            strides = (channels // p.groups, width * channels, channels)
            where = geometry(p, n, (height * width * channels, *size), strides=strides, n_taps=piece.n_taps)
            piece(codes, where, self._taps[key], out)

    def _offsets(self, height: int, width: int, n_taps: int, channels: int) -> torch.Tensor:
        """Where the words of four taps lie from the beginning of a patch: int32 `[n_taps / 4]`."""
        p = self.problem
        row, column = (torch.arange(n) * d for n, d in zip(p.weight.shape[2:], p.dilation, strict=True))
        word = torch.arange(0, channels // p.groups, 4)
        offsets = ((row[:, None] * width + column) * channels)[..., None] + word
        return F.pad(offsets.flatten(), (0, n_taps // 4 - offsets.numel())).to(torch.int32)


class _Piece:
    """Planes of one scale: a pass of the kernel."""

    def __init__(self, problem, features, weight, scale, load, device):
        n_planes = weight.shape[1] // problem.weight.shape[1]
        self._words = max(1, n_planes // 4)
        if features is None:  # the codes themselves
            features = np.repeat(np.arange(256, dtype=np.uint8)[:, None], n_planes, axis=1)
        missing = 4 * self._words - n_planes
        self._kernels = load(self._words)
        self._features = torch.from_numpy(np.pad(features, ((0, 0), (0, missing)))).to(device)
        self._tile = plane_tile(problem.n_outputs // problem.groups)
        self._weights = _fragments(problem, weight, n_planes, self._words, self._tile).to(device)
        self._factor = (scale + 2**31) % 2**32 - 2**31
        self.n_taps = self._weights.shape[1] * 16 // self._words
        self.n_bytes = self._weights.numel()

    def __call__(self, codes: torch.Tensor, where, taps: torch.Tensor, out: torch.Tensor) -> None:
        """Adds to `out`, int32 `[n, H_out, W_out, C_out]`."""
        row_tiles, step_taps = _ROW_TILES[self._tile], 16 // self._words
        n_positions = _THREADS // 2 * row_tiles
        n_x, (n_y, n_steps) = -(-where.n_positions // n_positions), self._weights.shape[:2]
        steps = share(n_steps, n_x * n_y, self._kernels.n_multiprocessors, smallest=_SMALLEST_SHARE)
        line = n_positions + max(8 * self._words, 2 * row_tiles)
        self._kernels.launch(
            f"planes_{self._tile}",
            (n_x, n_y, -(-n_steps // steps)),
            _THREADS,
            (where, codes, self._features, self._weights, taps, steps, self._factor, out),
            shared_bytes=1024 * self._words + 2 * step_taps * line,
        )


def plane_tile(n_outputs: int) -> int:
    """Outputs of a block, of `n_outputs` that share their inputs."""
    return tile_of(n_outputs, tuple(_ROW_TILES), overhead=_TILE_OVERHEAD)


def _fragments(problem: IntegerConv, weight: torch.Tensor, n_planes: int, words: int, tile: int) -> torch.Tensor:
    """Weights as the lanes of a warp want them: int8 `[groups * tiles, steps, tile / 8, 32 lanes, 16]`.

    Args:
        problem: the convolution.
        weight: int8 `[C_out, C_in/groups * n_planes, kh, kw]`, planes innermost.
        n_planes: of a code; missing ones up to 4 * `words` weigh nothing.
        words: of features a code.
        tile: outputs of a block.
    """
    split = weight.unflatten(0, (problem.groups, -1)).unflatten(2, (-1, n_planes))
    taps = split.permute(0, 1, 4, 5, 2, 3)  # [groups, outputs, kh, kw, C, planes]
    taps = F.pad(taps, (0, 4 * words - n_planes, 0, -taps.shape[4] % 4)).flatten(2, 4)
    taps = F.pad(taps, (0, 0, 0, -taps.shape[2] % (16 // words), 0, -taps.shape[1] % tile))
    # groups, tiles, column tiles, 8 outputs; steps, 4 threads of a quad, taps and planes of a thread
    lanes = taps.flatten(2).view(problem.groups, -1, tile // 8, 8, taps.shape[2] * words // 16, 4, 16)
    return lanes.permute(0, 1, 4, 2, 3, 5, 6).flatten(4, 5).flatten(0, 1).contiguous()

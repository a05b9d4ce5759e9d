"""Tables simulated exactly by ordinary int8 convolutions (exact factorization, METHODS 3 [ours]).

With `T[x, w] = x*w + E[x, w]` and the planes of `dse.multipliers.factorization`, an `IntegerConv` becomes

    y = conv(u, w - z_w - s) + s * SUM_k u_k + SUM_r weight_r * conv(phi_r(x), psi_r(w)) + constant per output channel,

where `u = x - x_low` and `phi_r(x)` are uint8 and the weights int8. The slope `s`, one an output channel, brings
weights less their zero point, nine bits, into int8; without the native library they take two planes instead. All
planes of one `weight_r` are channels of one convolution; activations are expanded by one gather of `n_planes` bytes a
code. Weights and constants are prepared once.

Sums leave the int8 engine as float32, so each convolution is cut (planes, then input channels, then taps) until a bound
proven from its own weights keeps every sum below 2^24; totals beyond that are added in int32.
"""

import threading

import numpy as np
import torch

from dse.multipliers.factorization import Factorization
from dse.simulation.engines import FLOAT_EXACT, Engine, largest_sum
from dse.simulation.native import Slope, complete, expand, window_sums
from dse.simulation.native_library import load
from dse.simulation.problem import IntegerConv, rescale, unsigned_padded, wrapped_int32

_THREAD = threading.local()
_MAX_SCRATCH_BYTES = 64 * 2**20
_MAX_PLANES = 16  # bytes a gathered row may have: wider rows leave the fast path of torch.index_select


class FactoredConv:
    """`IntegerConv` through a factorized table; equal to `ReferenceConv` bit for bit.

    Args:
        problem: the convolution.
        factorization: of the table's error; `None` for the exact product.
        engine: computes the 8-bit convolutions.
    """

    def __init__(self, problem: IntegerConv, factorization: Factorization | None, engine: Engine):
        self.problem = problem
        self._library = load()
        # Without the library the sums under the kernel would take a convolution of their own.
        planes = Planes(problem, factorization, is_sloped=self._library is not None)
        self._constant = wrapped_int32(planes.constant)
        self._slope = planes.slope.to(torch.int32) if planes.slope.any() else None
        self._pieces = [_Piece(problem, features, weight, scale, engine) for scale, features, weight in planes.pieces()]
        self._is_gathered = any(piece.is_gathered for piece in self._pieces)
        bound = sum(piece.bound * piece.scale for piece in self._pieces) + int(planes.constant.abs().max())
        self._is_float = bound < FLOAT_EXACT
        self.n_bytes = sum(piece.n_bytes for piece in self._pieces)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Sums `[n, C_out, H_out, W_out]` for codes `x [n, C_in, H, W]`.

        The type is int32, or float32 holding the same integers where all of them are proven below 2^24.
        """
        return self._complete(x, None, None)

    def rescaled(self, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """`float32(sums) * scale + bias`, with `scale` and `bias` float32 `[C_out]`, as float32 channels last."""
        return self._complete(x, scale, bias)

    def _complete(self, x: torch.Tensor, scale: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
        """Sums with all that is added to them; rescaled where scale and bias are given."""
        p = self.problem
        p.check_input(x)
        codes = unsigned_padded(p, x)
        sums = self._sums(codes, p.output_size(*x.shape[2:]))
        if self._library is not None:
            sums, added = sums.contiguous(memory_format=torch.channels_last), None
            if self._slope is not None:
                added = Slope(self._slope, window_sums(p, codes, self._library))
            return complete(sums, self._constant, added, scale, bias, library=self._library)
        sums.add_(self._constant.to(sums.dtype).view(1, -1, 1, 1))
        if scale is None:
            return sums
        return rescale(sums, scale, bias)

    def _sums(self, codes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Weighted sums of the planes, float32 where they are proven below 2^24, else int32, in a new tensor."""
        if len(codes) == 0 or not self._pieces:
            shape, dtype = (len(codes), self.problem.n_outputs, *size), torch.float32 if self._is_float else torch.int32
            return torch.zeros(shape, dtype=dtype).contiguous(memory_format=torch.channels_last)
        index = _row_index(codes) if self._is_gathered and self._library is None else None
        total = None
        for piece in self._pieces:
            part = piece(codes, index)
            if not self._is_float:
                part = part.to(torch.int32)
            if piece.scale != 1:
                part.mul_(piece.factor)
            total = part if total is None else total.add_(part)
        return total


class Planes:
    """All planes of one (layer, table): features by code, int8 weights, and what is constant per output channel.

    Args:
        problem: the convolution.
        factorization: of the table's error; `None` for the exact product.
        is_sloped: whether weights less their zero point, nine bits, may be moved into one int8 plane, at the cost of a
            `slope`; else they take two planes or three.

    Attributes:
        constant: int64 `[C_out]`, to add to the weighted sums of the pieces.
        slope: int64 `[C_out]`, to add times the sum of all unsigned codes under the kernel.
    """

    def __init__(self, problem: IntegerConv, factorization: Factorization | None, *, is_sloped: bool = False):
        self.problem = problem
        weight = problem.weight.to(torch.int64)
        centered = weight - problem.w_zero_point.view(-1, 1, 1, 1)
        # x * (w - z_w) = (u + x_low) * (w - z_w)
        self.constant = problem.constant + problem.x_low * centered.flatten(1).sum(1)
        self.slope = _slope(centered) if is_sloped else torch.zeros(problem.n_outputs, dtype=torch.int64)
        self._planes = []
        if factorization is not None:
            self._add_error(factorization, weight - problem.w_low)
        # Last, where a group's remainder is: the codes themselves need no gather.
        terms = _int8_terms(centered - self.slope.view(-1, 1, 1, 1))
        self._planes += [(1, None, term.to(torch.int8)) for term in terms]

    def _add_error(self, factorization: Factorization, w_index: torch.Tensor) -> None:
        self.constant = self.constant + torch.from_numpy(factorization.constant)[w_index].flatten(1).sum(1)
        psi = torch.from_numpy(factorization.psi)
        for r, scale in enumerate(factorization.weights.tolist()):
            weight = psi[:, r][w_index]
            if weight.any():  # a plane may be zero for the weights of this layer
                self._planes.append((scale, factorization.phi[:, r], weight))

    def pieces(self):
        """`(scale, features uint8 [256, p] or None for the codes themselves, int8 weight [C_out, C_in/g * p, ...])`."""
        for scale in sorted({plane[0] for plane in self._planes}):
            group = [plane for plane in self._planes if plane[0] == scale]
            while group:
                n_planes = _piece_planes(len(group))
                yield (scale, *_stack(group[:n_planes]))
                group = group[n_planes:]


def _piece_planes(n_planes: int) -> int:
    """How many of `n_planes` go into the next piece: the largest word, or all where one zero plane makes a word."""
    word = min(_MAX_PLANES, 1 << (n_planes.bit_length() - 1))
    return n_planes if n_planes + 1 == 2 * word <= _MAX_PLANES else word


def row_sizes(n_planes: int) -> list[int]:
    """Bytes that a code is expanded to in each piece of `n_planes` of one scale."""
    sizes = []
    while n_planes:
        taken = _piece_planes(n_planes)
        sizes.append(taken + _n_padding(taken))
        n_planes -= taken
    return sizes


def _n_padding(n_planes: int) -> int:
    """Zero planes that make a gathered row a machine word."""
    return 1 if n_planes > 1 and (n_planes + 1).bit_count() == 1 else 0


def _stack(planes: list) -> tuple[np.ndarray | None, torch.Tensor]:
    """Planes of one scale as features `[256, p]` and weights with the planes innermost in the channel axis."""
    n_padding = _n_padding(len(planes))
    weights = [weight for _, _, weight in planes] + [torch.zeros_like(planes[0][2])] * n_padding
    weight = torch.stack(weights, dim=2).flatten(1, 2)
    if all(features is None for _, features, _ in planes):
        return None, weight
    identity = np.arange(256, dtype=np.uint8)
    columns = [identity if features is None else features for _, features, _ in planes]
    return np.stack(columns + [np.zeros(256, np.uint8)] * n_padding, axis=1), weight


def _slope(centered: torch.Tensor) -> torch.Tensor:
    """Per output what brings its weights into int8 when it is taken away: 0 where they fit, and as little as does it.

    Weights of an output are codes less one zero point, so they span at most 255.
    """
    flat = centered.flatten(1)
    return (flat.amax(1) - 127).clamp(min=0) + (flat.amin(1) + 128).clamp(max=0)


def _int8_terms(values: torch.Tensor) -> list[torch.Tensor]:
    """int8-ranged terms that sum to `values` in -255..255: one where it fits, mostly two, three for 255 itself."""
    terms, rest = [], values
    while rest.any():
        terms.append(rest.clamp(-128, 127))
        rest = rest - terms[-1]
    return terms


class _Piece:
    """One convolution of gathered features, cut over input channels until its sums are exact in float32."""

    def __init__(self, problem, features, weight, scale, engine):
        self.scale = scale
        self.factor = (scale + 2**31) % 2**32 - 2**31  # sums are added in int32, modulo 2^32
        self.is_gathered = features is not None
        self._library = load()
        self._rows = None if features is None else row_words(features)
        self._n_planes = weight.shape[1] // problem.weight.shape[1]
        cuts = _channel_cuts(weight, self._n_planes, problem.groups)
        self._parts = [
            (columns, engine.prepare(part, problem.stride, problem.dilation, problem.groups))
            for columns, part in cuts
        ]
        self.bound = largest_sum(weight)
        self.n_bytes = weight.numel()

    def __call__(self, codes: torch.Tensor, index: torch.Tensor | None) -> torch.Tensor:
        total = None
        for columns, conv in self._parts:
            if columns is None:
                part = conv(self._expand(codes, index))
            else:
                chosen = codes[:, columns].contiguous(memory_format=torch.channels_last)
                # A cut exists only where the whole could pass 2^24, so such parts meet in int32.
                chosen_index = None if index is None else _row_index(chosen)
                part = conv(self._expand(chosen, chosen_index)).to(torch.int32)
            total = part if total is None else total.add_(part)
        return total

    def _expand(self, codes: torch.Tensor, index: torch.Tensor | None) -> torch.Tensor:
        """`phi(codes)`, uint8 `[n, C * p, H, W]` channels last.

        `index` is from `_row_index(codes)`, or None where the native library makes it unnecessary.
        """
        if self._rows is not None:
            rows = _scratch(codes.numel(), self._rows.dtype)
            if index is None:
                expand(codes.permute(0, 2, 3, 1), self._rows, out=rows, library=self._library)
            else:
                torch.index_select(self._rows, 0, index, out=rows)
        elif self._n_planes > 1:
            word = _WORDS[self._n_planes]
            rows = _flat(codes).to(word).mul_(int.from_bytes(b"\1" * self._n_planes))  # every byte the code itself
        else:
            return codes
        n, _, height, width = codes.shape
        return rows.view(torch.uint8).view(n, height, width, -1).permute(0, 3, 1, 2)


def _scratch(n_rows: int, dtype: torch.dtype) -> torch.Tensor:
    """Memory for `n_rows` gathered rows, the same at every call of a thread.

    The allocator gives blocks of this size back to the system, and fresh pages cost several times the gather.
    """
    n_bytes = n_rows * dtype.itemsize
    if n_bytes > _MAX_SCRATCH_BYTES:
        return torch.empty(n_rows, dtype=dtype)
    buffer = getattr(_THREAD, "buffer", None)
    if buffer is None or len(buffer) < n_bytes:
        with torch.inference_mode(False):  # inference tensors could not be written to by later calls outside
            buffer = _THREAD.buffer = torch.empty(n_bytes, dtype=torch.uint8)
    return buffer[:n_bytes].view(dtype)


def _row_index(codes: torch.Tensor) -> torch.Tensor:
    """Row of each code in a table of features, in memory order."""
    return _flat(codes).to(torch.int32)


def _flat(codes: torch.Tensor) -> torch.Tensor:
    return codes.permute(0, 2, 3, 1).reshape(-1)


_WORDS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64, 16: torch.complex128}


def row_words(features: np.ndarray) -> torch.Tensor:
    """Feature rows as single machine words: gathered four times as fast as rows of bytes."""
    rows = torch.from_numpy(np.ascontiguousarray(features))
    return rows.view(_WORDS[rows.shape[1]]).flatten()


def _channel_cuts(weight: torch.Tensor, n_planes: int, groups: int) -> list:
    """`(input channels, their weights)` of each part; `(None, all)` where no cut is needed."""
    if largest_sum(weight) < FLOAT_EXACT:
        return [(None, weight)]
    n_channels, n_parts = weight.shape[1] // n_planes, 1
    while True:
        n_parts = min(2 * n_parts, n_channels)
        edges = np.linspace(0, n_channels, n_parts + 1).astype(int).tolist()
        parts = [weight[:, a * n_planes : b * n_planes] for a, b in zip(edges[:-1], edges[1:], strict=True)]
        if n_parts == n_channels or all(largest_sum(part) < FLOAT_EXACT for part in parts):
            break
    channel = torch.arange(groups).view(-1, 1) * n_channels
    columns = [(channel + torch.arange(a, b)).flatten() for a, b in zip(edges[:-1], edges[1:], strict=True)]
    return [(c, tap) for c, part in zip(columns, parts, strict=True) for tap in _tap_cuts(part)]


def _tap_cuts(weight: torch.Tensor) -> list[torch.Tensor]:
    """Weights that add up to `weight`, each with a share of the taps, for kernels too large for one channel."""
    if largest_sum(weight) < FLOAT_EXACT:
        return [weight]
    taps = weight.flatten(2).abs().amax((0, 1)).nonzero().flatten()
    halves = []
    for chosen in taps.chunk(2):
        half = torch.zeros_like(weight).flatten(2)
        half[:, :, chosen] = weight.flatten(2)[:, :, chosen]
        halves += _tap_cuts(half.view_as(weight))
    return halves

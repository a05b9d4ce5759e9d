"""What the products of one layer meet: operand statistics of exact runs, the input of every error model.

Padding positions count as the code that hardware feeds there. All codes are indices in natural order (0..255): for
signed operands index = code + 128.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch.nn import functional as F

from dse.errors import ConfigError, DataError
from dse.simulation.problem import IntegerConv

DEFAULT_PATCHES = 512
"""Patches drawn of each layer where nobody says otherwise."""


@dataclass(frozen=True, eq=False)
class Operands:
    """Statistics of one layer; `G` groups of `F` filters each (`C_out = G * F`), fan-in `K`, `J` patches.

    Attributes:
        taps: float32 `[G, K, 256]`, share of each activation code at each of the `K` kernel positions and channels,
            over all recorded outputs.
        patches: int64 `[G, J, K]`, code indices of random im2col rows.
        weights: uint8 `[G, F, K]`, code indices of the original weights.
        reaches: bool `[G, F, K]`, whether a weight is multiplied at all; `None`: all are.
    """

    taps: torch.Tensor
    patches: torch.Tensor
    weights: torch.Tensor
    reaches: torch.Tensor | None = None

    @property
    def fan_in(self) -> float:
        """Products summed into one output, `K`; where some are skipped, those that are not, on average."""
        share = 1 if self.reaches is None else float(self.reaches.to(torch.float64).mean())
        return self.weights.shape[2] * share

    @cached_property
    def activation_histogram(self) -> torch.Tensor:
        """float32 `[256]`, shares of the activation codes over all products."""
        return self.taps.mean((0, 1))

    @cached_property
    def weight_histograms(self) -> torch.Tensor:
        """float32 `[G, 256]`, shares of the codes of each group's weights that are multiplied; 0 where none is."""
        groups = len(self.weights)
        cell = self.weights.flatten(1).to(torch.int64) + 256 * torch.arange(groups)[:, None]
        counted = cell.flatten() if self.reaches is None else cell[self.reaches.flatten(1)]
        counts = torch.bincount(counted, minlength=256 * groups).view(groups, 256)
        return counts / counts.sum(1, keepdim=True).clamp(min=1)

    @property
    def patch_sums(self) -> torch.Tensor:
        """float32 `[G, J]`, `SUM_k x_k` of every patch, up to a constant."""
        return self.patches.sum(2).to(torch.float32)


def collect_operands(
    problem: IntegerConv, codes: torch.Tensor, name: str, *, n_patches: int | None, rng: np.random.Generator
) -> Operands:
    """Statistics of the layer `name` on recorded inputs.

    Args:
        problem: the layer's convolution, with its original weights.
        codes: inputs `[n, C, H, W]`, at least one.
        name: of the layer, for errors.
        n_patches: how many patches; `None` draws `DEFAULT_PATCHES`, or all there are where there are fewer.
        rng: draws the patches.

    Raises:
        ConfigError: `n_patches` below 1.
        DataError: more patches asked for than `codes` hold.
    """
    height, width = problem.output_size(*codes.shape[2:])
    n_positions = len(codes) * height * width
    n_patches = _checked_patches(n_patches, n_positions, len(codes), name)
    weights = (problem.weight.to(torch.int16) - problem.w_low).to(torch.uint8)
    index = F.pad(codes.to(torch.int16), problem.padding, value=problem.x_zero_point) - problem.x_low
    return Operands(
        taps=_tap_histograms(problem, index, (height, width)),
        patches=_patches(problem, index, _spread_picks(n_positions, n_patches, rng), (height, width)),
        weights=weights.view(problem.groups, -1, problem.fan_in),
    )


def _checked_patches(n_patches: int | None, n_positions: int, n_images: int, name: str) -> int:
    if n_patches is None:
        return min(DEFAULT_PATCHES, n_positions)
    if n_patches < 1:
        raise ConfigError(f"n_patches is {n_patches}: expected at least 1, or None for the default")
    if n_patches > n_positions:
        raise DataError(
            f"layer {name!r} has {n_positions} output positions in its {n_images} recorded inputs, but {n_patches} "
            "patches were asked for: use more calibration images, or fewer patches"
        )
    return n_patches


def _spread_picks(n_positions: int, n_patches: int, rng: np.random.Generator) -> torch.Tensor:
    """One random position in each of `n_patches` equal shares of all images: int64 `[n_patches]`, distinct."""
    bounds = np.arange(n_patches + 1) * n_positions // n_patches
    return torch.from_numpy(rng.integers(bounds[:-1], bounds[1:]))


def _tap_histograms(problem: IntegerConv, index: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Shares of each code at each kernel position and input channel: float32 `[G, K, 256]`."""
    (height, width), (kh, kw) = size, problem.weight.shape[2:]
    n_channels = index.shape[1]
    cell = index.to(torch.int64) + 256 * torch.arange(n_channels).view(-1, 1, 1)
    counts = torch.empty(n_channels, kh, kw, 256)
    for row in range(kh):
        for column in range(kw):
            top, left = row * problem.dilation[0], column * problem.dilation[1]
            seen = cell[:, :, top :: problem.stride[0], left :: problem.stride[1]][:, :, :height, :width]
            counts[:, row, column] = torch.bincount(seen.flatten(), minlength=256 * n_channels).view(-1, 256)
    return counts.view(problem.groups, problem.fan_in, 256) / (len(index) * height * width)


def _patches(problem: IntegerConv, index: torch.Tensor, picks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """im2col rows of the outputs `picks`, which count images and positions: int64 `[G, J, K]`."""
    (height, width), (kh, kw) = size, problem.weight.shape[2:]
    image, position = picks // (height * width), picks % (height * width)
    rows = (position // width * problem.stride[0])[:, None] + torch.arange(kh) * problem.dilation[0]
    columns = (position % width * problem.stride[1])[:, None] + torch.arange(kw) * problem.dilation[1]
    patches = index[image[:, None, None], :, rows[:, :, None], columns[:, None, :]]  # [J, kh, kw, C]
    patches = patches.permute(0, 3, 1, 2).reshape(len(picks), problem.groups, problem.fan_in)
    return patches.transpose(0, 1).to(torch.int64).contiguous()

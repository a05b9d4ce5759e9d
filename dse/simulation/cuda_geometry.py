"""What the CUDA kernels share on the side of Python: where patches lie, and how work is cut into blocks."""

import ctypes
from collections.abc import Sequence

import torch

from dse.simulation.problem import IntegerConv

_MAX_INDEX = 2**31 - 1


class Geometry(ctypes.Structure):
    """Where the patches of a batch lie in its codes; see csrc/geometry.cuh."""

    _fields_ = [
        (name, ctypes.c_int)
        for name in (
            "n_positions", "out_height", "out_width", "image_stride", "group_stride", "row_step", "column_step",
            "n_taps", "n_outputs", "group_outputs",
        )
    ]  # fmt: skip


def geometry(
    problem: IntegerConv, n_images: int, shape: tuple[int, int, int], *, strides: tuple[int, int, int], n_taps: int
) -> Geometry:
    """Geometry of a batch.

    Args:
        problem: the convolution.
        n_images: in the batch.
        shape: (bytes of an image, output height, output width).
        strides: codes from one group of channels, input row and input column to the next.
        n_taps: products of an output, as the kernel counts them.
    """
    image, height, width = shape
    group, row, column = strides
    n_outputs, n_groups = problem.n_outputs, problem.groups
    return Geometry(
        n_images * height * width, height, width, image, group, row * problem.stride[0], column * problem.stride[1],
        n_taps, n_outputs, n_outputs // n_groups,
    )  # fmt: skip


def in_32_bits(codes: torch.Tensor, n_positions: int) -> Sequence[torch.Tensor]:
    """Parts of a batch, few images each, whose codes and output positions (`n_positions` an image) count in 32 bits."""
    return codes.split(max(1, _MAX_INDEX // max(codes[0].numel(), n_positions)))


def tile_of(n_outputs: int, tiles: Sequence[int], *, overhead: float) -> int:
    """Outputs a block that take the least time; a block has the work of `tile + overhead` outputs."""
    return min(tiles, key=lambda tile: -(-n_outputs // tile) * (tile + overhead))


def share(n_steps: int, n_blocks: int, n_multiprocessors: int, *, smallest: int) -> int:
    """Steps of one block along the sum: all, or so few that there are two blocks for every multiprocessor.

    A block has at least `smallest` steps where there are as many.
    """
    n_shares = max(1, min(2 * n_multiprocessors // n_blocks, n_steps // smallest))
    return -(-n_steps // n_shares)

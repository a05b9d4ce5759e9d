"""Engines for exact 8-bit convolutions: uint8 activations, int8 weights, sums returned in float32.

Both are exact wherever every partial sum stays below 2^24, which the caller proves with `largest_sum`.
"""

from collections.abc import Callable
from functools import cache
from typing import Protocol

import torch
from torch.nn import functional as F

FLOAT_EXACT = 2**24  # float32 holds every integer below this


class Engine(Protocol):
    """Turns int8 weights `[C_out, C/groups, kh, kw]` into a convolution of uint8 inputs (no padding)."""

    def prepare(self, weight: torch.Tensor, stride, dilation, groups: int) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function from uint8 `[n, C, H, W]`, channels last, to float32 `[n, C_out, H_out, W_out]`."""


def largest_sum(weight: torch.Tensor) -> int:
    """Upper bound of any partial sum of the convolution of uint8 inputs with int8 `weight`, in any order."""
    flat = weight.flatten(1).to(torch.int64)
    return int(255 * torch.maximum(flat.clamp(min=0).sum(1), flat.clamp(max=0).neg().sum(1)).max())


class OneDnnEngine:
    """Stock PyTorch's int8 convolution (`onednn::qconv2d_pointwise`): VNNI, AMX; int32 accumulators."""

    def prepare(self, weight, stride, dilation, groups):
        """See `Engine.prepare`."""
        if weight.shape[0] == groups > 1 and weight.shape[1] > 1:
            return self._prepare_depthwise(weight, stride, dilation)
        n_outputs = weight.shape[0]
        scales, zeros = torch.ones(n_outputs), torch.zeros(n_outputs, dtype=torch.int64)
        ops, stride, dilation = torch.ops.onednn, list(stride), list(dilation)
        packed = ops.qconv_prepack(weight.contiguous(), scales, 1.0, 0, stride, [0, 0], dilation, groups, None)

        def convolve(x: torch.Tensor) -> torch.Tensor:
            return ops.qconv2d_pointwise(
                x, 1.0, 0, packed, scales, zeros, None, stride, [0, 0], dilation, groups, 1.0, 0,
                torch.float32, "none", [], "",
            )  # fmt: skip

        return convolve

    def _prepare_depthwise(self, weight, stride, dilation):
        """Each channel of each group as a depthwise group of its own, then the sum over the channels of a group.

        oneDNN is fast for groups of one channel, and several times slower for groups of a few.
        """
        groups, n_channels = weight.shape[:2]
        convolve = self.prepare(weight.flatten(0, 1).unsqueeze(1), stride, dilation, groups * n_channels)
        ones = torch.ones(n_channels)

        def convolve_and_sum(x: torch.Tensor) -> torch.Tensor:
            y = convolve(x).permute(0, 2, 3, 1)
            # Integers below 2^24 add up exactly in any order; a matrix-vector product is the fastest way.
            sums = torch.mv(y.reshape(-1, n_channels), ones)
            return sums.view(*y.shape[:3], groups).permute(0, 3, 1, 2)

        return convolve_and_sum


class FloatEngine:
    """float32 convolution, for machines without trustworthy int8 convolutions."""

    def prepare(self, weight, stride, dilation, groups):
        """See `Engine.prepare`."""
        kernel = weight.to(torch.float32).contiguous(memory_format=torch.channels_last)

        def convolve(x: torch.Tensor) -> torch.Tensor:
            # Winograd and FFT algorithms would round; oneDNN's and ATen's direct kernels on CPU do not.
            return F.conv2d(x.to(torch.float32), kernel, None, stride, 0, dilation, groups)

        return convolve


ENGINES = {"onednn": OneDnnEngine, "float32": FloatEngine}


@cache
def default_engine() -> Engine:
    """oneDNN where it passes `is_exact` on this machine, else float32. Tried once per process."""
    return OneDnnEngine() if is_exact(OneDnnEngine()) else FloatEngine()


def is_exact(engine: Engine) -> bool:
    """Whether `engine` is exact on extreme codes.

    CPUs without VNNI may saturate pairs of products in 16 bits: 255 * 127 * 2 shows it.
    """
    try:
        for groups, c_out, c_in, kernel in ((1, 32, 32, 3), (1, 16, 48, 1), (16, 16, 1, 3)):
            for fill in (127, -128):
                weight = torch.full((c_out, c_in, kernel, kernel), fill, dtype=torch.int8)
                x = torch.full((2, c_in * groups, 9, 9), 255, dtype=torch.uint8)
                x = x.contiguous(memory_format=torch.channels_last)
                y = engine.prepare(weight, (1, 1), (1, 1), groups)(x)
                if not torch.equal(y, torch.full_like(y, 255 * fill * c_in * kernel * kernel)):
                    return False
    except (RuntimeError, AttributeError, NotImplementedError):
        return False  # this build of PyTorch has no such operator
    return True

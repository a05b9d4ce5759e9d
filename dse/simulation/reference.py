"""The oracle: every product looked up in the table, one gather per output channel, sums in int64.

Slow and plain on purpose. Every other backend must equal it bit for bit.
"""

import torch
from torch.nn import functional as F

from dse.simulation.problem import IntegerConv

_MAX_ELEMENTS = 2**24  # of the unfolded input held at once; bounds memory to a few hundred MiB


class ReferenceConv:
    """`IntegerConv` by lookup. `table` is int32 `[256, 256]` in natural operand order, row = activation."""

    def __init__(self, problem: IntegerConv, table: torch.Tensor):
        problem.check_range(table)
        self.problem = problem
        self.n_bytes = problem.weight.numel() * 8
        weight_index = problem.weight.flatten(1).to(torch.int64) - problem.w_low
        self._weight_index = weight_index
        self._columns = table.to(torch.int64).T.contiguous()

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """int32 `[n, C_out, H_out, W_out]` for codes `x [n, C_in, H, W]`."""
        self.problem.check_input(x)
        per_image = self.problem.fan_in * self.problem.groups
        height, width = self.problem.output_size(*x.shape[2:])
        step = max(1, _MAX_ELEMENTS // max(1, per_image * height * width))
        parts = [self._chunk(chunk) for chunk in x.split(step)] if len(x) else []
        empty = torch.empty(0, self.problem.n_outputs, height, width, dtype=torch.int32)
        return torch.cat([empty, *parts])

    def _chunk(self, x: torch.Tensor) -> torch.Tensor:
        p = self.problem
        patches = unfold_codes(p, x)  # [groups, K, n * positions]
        sums = patches.sum(1)
        index = patches - p.x_low
        per_group = p.n_outputs // p.groups
        outputs = torch.empty(p.n_outputs, patches.shape[2], dtype=torch.int64)
        for o in range(p.n_outputs):
            group = o // per_group
            columns = self._columns[self._weight_index[o]]  # [K, 256]: T[:, w_ok]
            products = torch.gather(columns, 1, index[group])
            outputs[o] = products.sum(0) - p.w_zero_point[o] * sums[group] + p.constant[o]
        height, width = p.output_size(*x.shape[2:])
        return outputs.view(p.n_outputs, len(x), height, width).transpose(0, 1).to(torch.int32)


def unfold_codes(problem: IntegerConv, x: torch.Tensor) -> torch.Tensor:
    """Padded patches of `x`: int64 `[groups, K, n * positions]`."""
    p = problem
    padded = F.pad(x.to(torch.float64), p.padding, value=float(p.x_zero_point))
    kernel = tuple(p.weight.shape[2:])
    patches = F.unfold(padded, kernel, dilation=p.dilation, stride=p.stride)  # [n, groups * K, positions]
    patches = patches.to(torch.int64).unflatten(1, (p.groups, p.fan_in))
    return patches.permute(1, 2, 0, 3).flatten(2)

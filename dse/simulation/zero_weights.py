"""Convolutions that skip weights of zero: their products add exactly nothing, whatever the table says of them.

With the weights' zero code `z_w` a product adds `T[x, w] - z_w x - z_x w + z_x z_w`, which for a weight of zero,
`w = z_w`, is `T[x, z_w] - z_w x`. It is nothing where the table's column of `z_w` holds exact products. Skipping is
therefore the same as multiplying through the table with that column made exact, on every backend, padding included.
"""

from dataclasses import replace
from functools import lru_cache

import torch

from dse.multipliers.multiplier import Multiplier, exact_table
from dse.simulation.channels import prepare_channels
from dse.simulation.devices import CPU
from dse.simulation.ops import PreparedConv, prepare
from dse.simulation.problem import IntegerConv


@lru_cache(maxsize=1024)
def skipping_zeros(multiplier: Multiplier, zero_code: int = 0) -> Multiplier:
    """The multiplier as it computes where weights of `zero_code` never reach it: their column is exact.

    >>> import numpy as np
    >>> off_by_one = Multiplier.from_function("off", lambda a, b: a * b + 1, is_signed=True)
    >>> skipping_zeros(off_by_one).table[:, 128].any(), skipping_zeros(off_by_one).error[:, 129].tolist() == [1] * 256
    (np.False_, True)
    """
    column = zero_code + 128 if multiplier.is_signed else zero_code
    exact = exact_table(multiplier.is_signed)[:, column]
    if (multiplier.table[:, column] == exact).all():
        return multiplier
    table = multiplier.table.copy()
    table[:, column] = exact
    return replace(multiplier, table=table, aliases=(), published={})


def prepare_skipping(
    problem: IntegerConv, multiplier: Multiplier, backend: str = "auto", *, device: torch.device = CPU
) -> PreparedConv:
    """`dse.simulation.ops.prepare` for an engine that skips weights of zero; arguments and errors as there.

    Output channels may have zero codes of their own: then they go through tables of their own.
    """
    zero_codes, which = problem.w_zero_point.unique(return_inverse=True)
    tables = [skipping_zeros(multiplier, int(code)) for code in zero_codes]
    if len(set(tables)) == 1:
        return prepare(problem, tables[0], backend, device=device)
    return prepare_channels(problem, tables, which, backend, device=device)

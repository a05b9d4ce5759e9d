"""ALWANN's weight tuning: weights replaced by codes that a multiplier treats better, without training.

Mrazek et al., "ALWANN: Automatic Layer-Wise Approximation of Deep Neural Network Accelerators without Retraining",
ICCAD 2019:  `map(w) = argmin_w' SUM_a |a*w - T[a, w']|` with every activation code `a` equally likely; ties keep `w`,
else the smallest `w'`. The zero-point corrections keep the original `w`. Here the column operand is the weight.
[ours]: the same with the measured histogram of the layer's activation codes and with squared error.
"""

from functools import lru_cache

import numpy as np

from dse.multipliers.multiplier import Multiplier, operand_codes

WEIGHT_TUNINGS = ("off", "uniform", "histogram")


@lru_cache(maxsize=256)
def uniform_weight_map(multiplier: Multiplier) -> np.ndarray:
    """The paper's map: int64 `[256]`, from code index (natural order) to code index."""
    table = multiplier.table.astype(np.int64)
    codes = operand_codes(multiplier.is_signed)
    cost = np.stack([np.abs(np.multiply.outer(codes, w) - table.T).sum(1) for w in codes])
    return _best(cost, np.zeros(len(cost)))


def histogram_weight_map(multiplier: Multiplier, histogram: np.ndarray) -> np.ndarray:
    """[ours] Least squared error under activation frequencies `histogram`, float64 `[256]`; int64 `[256]`."""
    p = histogram / histogram.sum()
    table = multiplier.table.astype(np.float64)
    codes = operand_codes(multiplier.is_signed).astype(np.float64)
    # SUM_a p (a*w - T)^2, expanded: three small products instead of a 256^3 tensor
    exact_squared = (p @ codes**2) * codes**2
    crossed = np.outer(codes, (p * codes) @ table)
    table_squared = p @ table**2
    # the terms cancel, so equal costs differ by a few roundings of the largest of them
    rounding = 1e-12 * (exact_squared + table_squared.max())
    return _best(exact_squared[:, None] - 2 * crossed + table_squared[None, :], rounding)


def _best(cost: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Index of the smallest entry per row, within `tolerance [256]`; the diagonal wins ties, then the first."""
    is_best = cost <= (cost.min(1) + tolerance)[:, None]
    return np.where(np.diagonal(is_best), np.arange(len(cost)), is_best.argmax(1)).astype(np.int64)

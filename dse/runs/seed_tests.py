"""Whether two groups of repetitions differ by more than chance.

Mann & Whitney, "On a test of whether one of two random variables is stochastically larger than the other", Ann. Math.
Stat. 18, 1947: with `n_a` and `n_b` figures, `U` counts the pairs in which `a` is larger, ties as half. p is exact, by
all ways to divide the figures, where there are ties or few figures; else by the normal distribution.

Effect size: Vargha & Delaney, J. Educ. Behav. Stat. 25(2), 2000: `A12 = U / (n_a n_b)`, the probability that a run of
`a` is better than one of `b`; 0.5 is no difference.

Several pairs: Holm, Scand. J. Stat. 6, 1979: with p ascending, `max over j <= i of (n - j + 1) p_j`, at most 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_DIVISIONS = 20_000
"""Ways to divide tied figures between two groups, up to which all are tried."""

SIGNIFICANT = 0.05
"""p below which a difference is called significant."""

SMALL, MEDIUM, LARGE = 0.06, 0.14, 0.21
"""Distances of A12 from 0.5, from which Vargha and Delaney call an effect so."""


@dataclass(frozen=True)
class SeedTest:
    """Of a figure of two groups.

    Attributes:
        n_a, n_b: figures in each, without NaN.
        p: two-sided; NaN where a group has none.
        smallest_p: that so few figures can give at all.
        a12: probability that a figure of `a` is the larger one, ties as half; NaN where a group has none.
    """

    n_a: int
    n_b: int
    p: float
    smallest_p: float
    a12: float


def mann_whitney(a: ArrayLike, b: ArrayLike) -> SeedTest:
    """Compares two groups of figures, float [n_a] and [n_b]; NaN counts as absent.

    >>> mann_whitney([4, 5, 6, 7], [0, 1, 2, 3])
    SeedTest(n_a=4, n_b=4, p=0.02857142857142857, smallest_p=0.02857142857142857, a12=1.0)
    """
    a, b = (values[~np.isnan(values)] for values in (np.asarray(v, dtype=np.float64) for v in (a, b)))
    n_divisions = comb(len(a) + len(b), len(a))
    if min(len(a), len(b)) == 0:
        return SeedTest(len(a), len(b), float("nan"), 1.0, float("nan"))
    a12 = float(((a[:, None] > b).sum() + 0.5 * (a[:, None] == b).sum()) / (len(a) * len(b)))
    return SeedTest(len(a), len(b), _p_value(a, b, n_divisions), min(1.0, 2 / n_divisions), a12)


def _p_value(a: NDArray[np.float64], b: NDArray[np.float64], n_divisions: int) -> float:
    from scipy.stats import PermutationMethod, mannwhitneyu

    has_ties = len(np.unique(np.concatenate([a, b]))) < len(a) + len(b)
    if not has_ties:
        method = "exact" if min(len(a), len(b)) <= 20 else "asymptotic"
    else:
        method = PermutationMethod(n_resamples=MAX_DIVISIONS) if n_divisions <= MAX_DIVISIONS else "asymptotic"
    if len(np.unique(np.concatenate([a, b]))) == 1:
        return 1.0
    return float(mannwhitneyu(a, b, alternative="two-sided", method=method).pvalue)


def holm(p: Sequence[float]) -> NDArray[np.float64]:
    """p values corrected for that there are several, float64 [n], in their order; NaN stays and does not count.

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    corrected, known = values.copy(), np.flatnonzero(~np.isnan(values))
    order = known[np.argsort(values[known], kind="stable")]
    steps = (len(order) - np.arange(len(order))) * values[order]
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def effect_name(a12: float) -> str:
    """In words.

    >>> effect_name(0.5), effect_name(0.3), effect_name(float("nan"))
    ('none', 'medium', '')
    """
    if np.isnan(a12):
        return ""
    distance = abs(a12 - 0.5)
    return (
        "large" if distance >= LARGE else "medium" if distance >= MEDIUM else "small" if distance >= SMALL else "none"
    )

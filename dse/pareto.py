"""Pareto fronts and their indicators, thin over moocore. Every objective is minimized.

Hypervolume: Zitzler & Thiele, "Multiobjective evolutionary algorithms: a comparative case study and the strength
Pareto approach", IEEE Trans. Evol. Comput. 3(4), 1999. Volume dominated by the front and bounded by a fixed
reference point `r`: `HV(A) = volume( UNION_{a in A} [a, r] )`.

IGD+: Ishibuchi et al., "Modified distance calculation in generational distance and inverted generational distance",
EMO 2015. `IGD+(A) = mean_{z in Z} min_{a in A} || max(a - z, 0) ||` for a reference front `Z`.

NaN everywhere: a row of `F` with a NaN is a failed measurement. It is never on a front, dominates nothing and adds
nothing to an indicator. In a reference point or reference front NaN is an error.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ShapeError


def _matrix(values: ArrayLike, name: str) -> NDArray[np.float64]:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] == 0:
        raise ShapeError(f"`{name}` has shape {values.shape}: expected (n, n_objectives), one row a point")
    return values


def nondominated(F: ArrayLike, *, keep_equal: bool = True) -> NDArray[np.bool_]:
    """Mark the rows that no other row dominates.

    Row `a` dominates `b` when it is nowhere worse and somewhere better.

    Args:
        F: Minimized objectives, float [n, n_objectives]; infinities are ordinary values. NaN rows come out False.
        keep_equal: Keep every copy of equal rows; otherwise only the first copy.

    Returns:
        Mask, bool [n].

    >>> nondominated([[1, 3], [2, 2], [2, 4], [float("nan"), 0]])
    array([ True,  True, False, False])
    """
    import moocore  # 0.2 s to import: only the callers of an indicator pay for it

    F = _matrix(F, "F")
    mask = ~np.isnan(F).any(axis=1)
    if mask.any():
        mask[mask] = moocore.is_nondominated(_ranks(F[mask]), keep_weakly=keep_equal)
    return mask


def _ranks(F: NDArray[np.float64]) -> NDArray[np.float64]:
    """Each column's dense ranks. Dominance depends on order only, and moocore 0.3 misjudges infinities."""
    columns = [np.unique(column, return_inverse=True)[1] for column in F.T]
    return np.stack(columns, axis=1).astype(np.float64)


def front_indices(F: ArrayLike) -> NDArray[np.int64]:
    """Rows of the front without copies, sorted by the first objective (then the next ones); int64 [n_front].

    >>> front_indices([[2, 2], [1, 3], [2, 4], [2, 2]])
    array([1, 0])
    """
    F = _matrix(F, "F")
    rows = np.flatnonzero(nondominated(F, keep_equal=False))
    return rows[np.lexsort(F[rows].T[::-1])].astype(np.int64)


def hypervolume(F: ArrayLike, reference_point: ArrayLike) -> float:
    """Hypervolume of the rows of `F` that lie below the reference point.

    Args:
        F: Minimized objectives, float [n, n_objectives]; NaN rows add nothing, an empty `F` gives 0.
        reference_point: Float [n_objectives], finite. Fix it once for an experiment: values for different points
            cannot be compared. Rows at or beyond it in any objective add nothing.

    >>> hypervolume([[0.0, 0.5], [0.5, 0.0]], [1.0, 1.0])
    0.75
    """
    import moocore

    F = _matrix(F, "F")
    reference_point = np.asarray(reference_point, dtype=np.float64)
    if reference_point.shape != (F.shape[1],):
        raise ShapeError(f"`reference_point` has shape {reference_point.shape}: expected ({F.shape[1]},)")
    if not np.isfinite(reference_point).all():
        raise ShapeError(f"`reference_point` is {reference_point.tolist()}: expected finite values")
    below = (reference_point > F).all(axis=1)  # False for NaN rows
    return float(moocore.hypervolume(F[below], ref=reference_point)) if below.any() else 0.0


def igd_plus(F: ArrayLike, reference_front: ArrayLike) -> float:
    """Distance of a front from a reference front, 0 when no reference point is better anywhere.

    Args:
        F: Minimized objectives, float [n, n_objectives]; NaN rows are dropped, and without rows the result is inf.
        reference_front: Float [n_reference, n_objectives], finite, at least one row.

    >>> igd_plus([[1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]])
    1.0
    """
    import moocore

    F, reference_front = _matrix(F, "F"), _matrix(reference_front, "reference_front")
    if reference_front.shape[1] != F.shape[1] or len(reference_front) == 0:
        raise ShapeError(
            f"`reference_front` has shape {reference_front.shape}: expected at least one row of {F.shape[1]} objectives"
        )
    if not np.isfinite(reference_front).all():
        raise ShapeError("`reference_front` has a value that is not finite: drop those rows first")
    F = F[~np.isnan(F).any(axis=1)]
    return float(moocore.igd_plus(F, ref=reference_front)) if len(F) else float("inf")


def attainment_surface(fronts: Sequence[ArrayLike], k: int) -> NDArray[np.float64]:
    """Boundary of what at least `k` of the fronts attain, for two objectives; exact.

    Fonseca & Fleming, "On the performance assessment and comparison of stochastic multiobjective optimizers", PPSN
    1996. Front `A_i` attains `z` where one of its points is nowhere worse. With its staircase
    `f_i(x) = min{y : (x', y) in A_i, x' <= x}`, `k` fronts attain `(x, y)` where `y >= k-th smallest of f_i(x)`.

    Args:
        fronts: One a repetition, minimized objectives, float [n_i, 2]; need not be nondominated. Rows with a NaN or an
            infinity attain nothing, and a front without rows attains nothing but counts as one.
        k: From 1 (what the best repetitions reach together) to `len(fronts)` (what all reach).

    Returns:
        Corners of the boundary, float64 [n, 2], by rising first and falling second objective; none where no point is
        attained by so many.

    >>> attainment_surface([[[0.0, 2.0], [1.0, 0.0]], [[1.0, 1.0]]], 2)
    array([[1., 1.]])
    """
    matrices = [_matrix(front, "fronts") if np.size(front) else np.empty((0, 2)) for front in fronts]
    if any(F.shape[1] != 2 for F in matrices):
        shapes = [F.shape for F in matrices]
        raise ShapeError(f"`fronts` have shapes {shapes}: expected (n, 2) each, attainment is for two objectives")
    if not 1 <= k <= len(matrices):
        raise ShapeError(f"k is {k} of {len(matrices)} fronts: expected 1 to their number")
    matrices = [F[np.isfinite(F).all(axis=1)] for F in matrices]
    x = np.unique(np.concatenate([F[:, 0] for F in matrices]))
    best = np.full((len(matrices), len(x)), np.inf)
    for row, F in zip(best, matrices, strict=True):
        np.minimum.at(row, np.searchsorted(x, F[:, 0]), F[:, 1])
    y = np.partition(np.minimum.accumulate(best, axis=1), k - 1, axis=0)[k - 1]
    corners = y < np.concatenate([[np.inf], y[:-1]])
    return np.column_stack([x, y])[corners]

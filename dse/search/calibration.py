"""How far each operating point may go along a curve of designs before it loses more than it may.

A curve goes from the most accurate design of a subset of multipliers to its cheapest one; losses along it are measured,
and found by bisection. Losses of a few images less or more are chance, so a curve need not be monotone in them: a
position counts as within a limit only where it was measured to be. Where two points end at one energy, the second one
looks a few positions further; in vain, the first one steps back: equal points would be one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.search.operating_points import LEAST_GAP, Curve

LOOK_AROUND = 8
"""Positions tried one by one, further and then back, for points that end at one energy."""

Measure = Callable[[NDArray[np.int64]], NDArray[np.float64]]
"""Losses of assignments, int64 [n, n_layers] to float64 [n]; inf where the evaluation failed."""


def calibrate(
    curves: Sequence[Curve], limits: ArrayLike, measure: Measure, *, start: ArrayLike, only_lower: bool = False
) -> NDArray[np.int64]:
    """The cheapest position of every point on every curve whose measured loss is within the point's limit.

    All curves take a step together, so that what their designs have in common is simulated once.

    Args:
        curves: where to look.
        limits: largest loss of each point, float [n_points], rising or equal.
        measure: measures losses.
        start: position that each point is tried at first, int [n_curves, n_points].
        only_lower: a point may not become cheaper than at its start.

    Returns:
        int64 [n_curves, n_points], never falling from point to point; -1 where even the first position loses too much.
    """
    limits, start = np.asarray(limits, dtype=np.float64), np.asarray(start, dtype=np.int64)
    low = np.full(start.shape, -1, dtype=np.int64)
    lengths = np.array([len(curve.assignments) for curve in curves], dtype=np.int64)[:, None]
    high = start + 1 if only_lower else np.broadcast_to(lengths, start.shape).copy()
    probe = np.clip(start, 0, high - 1)
    while (is_open := high - low > 1).any():
        wanted = sorted({(int(c), int(probe[c, k])) for c, k in zip(*np.nonzero(is_open), strict=True)})
        losses = measure(np.stack([curves[c].assignments[position] for c, position in wanted]))
        for (c, position), loss in zip(wanted, losses, strict=True):
            # Every measurement tells something about all points of its curve.
            is_between = (low[c] < position) & (position < high[c])
            is_within = loss <= limits
            low[c] = np.where(is_between & is_within, position, low[c])
            high[c] = np.where(is_between & ~is_within, position, high[c])
        probe = (low + high) // 2
    found = np.maximum.accumulate(low, axis=1)
    if not only_lower:
        _look_ahead(curves, limits, measure, found)
    _step_back(curves, limits, measure, found)
    return found


def _look_ahead(
    curves: Sequence[Curve], limits: NDArray[np.float64], measure: Measure, found: NDArray[np.int64]
) -> None:
    """Moves points further that ended where the one before them did, in place."""
    for k in range(1, found.shape[1]):
        near = {}
        for c, curve in enumerate(curves):
            if found[c, k - 1] >= 0:
                apart = np.flatnonzero(curve.energy <= curve.energy[found[c, k - 1]] - LEAST_GAP)
                near[c] = [] if found[c, k] in apart else apart[:LOOK_AROUND].tolist()
        for c, position in _within(curves, near, limits[k], measure):
            found[c, k:] = np.maximum(found[c, k:], position)


def _step_back(
    curves: Sequence[Curve], limits: NDArray[np.float64], measure: Measure, found: NDArray[np.int64]
) -> None:
    """Moves points back that still end where the one behind them does, in place, where all can be told apart then."""
    moved = found.copy()
    for k in reversed(range(found.shape[1] - 1)):
        near = {}
        for c, curve in enumerate(curves):
            if moved[c, k + 1] >= 0:
                apart = np.flatnonzero(curve.energy >= curve.energy[moved[c, k + 1]] + LEAST_GAP)
                near[c] = [] if moved[c, k] in apart else apart[-LOOK_AROUND:].tolist()
        for c, position in _within(curves, near, limits[k], measure):
            moved[c, k] = position
    for c, curve in enumerate(curves):
        if (moved[c] >= 0).all() and (np.diff(curve.energy[moved[c]]) <= 1e-12 - LEAST_GAP).all():
            found[c] = moved[c]


def _within(
    curves: Sequence[Curve], positions: Mapping[int, Iterable[int]], limit: float, measure: Measure
) -> list[tuple[int, int]]:
    """Which of the positions, by curve, lose no more than a limit; rising within a curve."""
    wanted = [(c, position) for c, near in positions.items() for position in near]
    if not wanted:
        return []
    losses = measure(np.stack([curves[c].assignments[position] for c, position in wanted]))
    return [place for place, loss in zip(wanted, losses, strict=True) if loss <= limit]

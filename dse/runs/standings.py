"""Where one front is above another: at which losses it saves more energy.

`S(l)` is the most energy that a front saves at a loss of at most `l` points; a step function. Of runs that repeat each
other it is that of the median attainment surface: what half of them reach.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

MAX_LOSS_POINTS = 10.0
"""Losses up to which fronts are compared: beyond, networks have collapsed."""

EQUAL_PCT = 0.05
"""Savings that differ by less, in percent of the exact network's energy, are equal."""


@dataclass(frozen=True)
class Interval:
    """Losses between which one front is above, or none.

    Attributes:
        loss_from, loss_to: percentage points.
        ahead: 1 where the first front saves more, -1 where the second does, 0 where they save the same.
        mean_pct: energy that the first saves more there on average, percent of the exact network's.
    """

    loss_from: float
    loss_to: float
    ahead: int
    mean_pct: float


@dataclass(frozen=True)
class Standing:
    """Of two fronts.

    Attributes:
        intervals: from no loss to `MAX_LOSS_POINTS`, without gaps.
        first_share, second_share: parts of these losses at which each one is ahead, in [0, 1].
        mean_pct: energy that the first saves more on average over these losses, percent of the exact network's.
    """

    intervals: tuple[Interval, ...]
    first_share: float
    second_share: float
    mean_pct: float


def saved_by(corners: ArrayLike, losses: ArrayLike) -> NDArray[np.float64]:
    """`S(l)` in percent, float64 [n]; 0 where no corner loses so little: the exact network saves none.

    Args:
        corners: points of a front, float [n_corners, 2]: percent saved, points lost.
        losses: `l` in percentage points, float [n].

    >>> saved_by([[50, 2.0], [30, 0.5]], [0, 1, 2]).tolist()
    [0.0, 30.0, 50.0]
    """
    corners, losses = np.asarray(corners, dtype=np.float64).reshape(-1, 2), np.asarray(losses, dtype=np.float64)
    reached = np.where(corners[:, 1] <= losses[:, None] + 1e-9, corners[:, 0], 0.0)
    return reached.max(axis=1, initial=0.0)


def standing(first: ArrayLike, second: ArrayLike) -> Standing:
    """Compares two fronts, corners as in `saved_by`.

    >>> [(i.loss_from, i.loss_to, i.ahead) for i in standing([[50, 2.0], [30, 0.0]], [[60, 4.0]]).intervals]
    [(0.0, 4.0, 1), (4.0, 10.0, -1)]
    """
    steps = np.concatenate([np.asarray(corners, dtype=np.float64).reshape(-1, 2)[:, 1] for corners in (first, second)])
    steps = np.unique(steps[(steps > 0) & (steps < MAX_LOSS_POINTS)])
    edges = np.concatenate([[0.0], steps, [MAX_LOSS_POINTS]])
    more = saved_by(first, edges[:-1]) - saved_by(second, edges[:-1])
    widths = np.diff(edges)
    ahead = np.where(np.abs(more) <= EQUAL_PCT, 0, np.sign(more)).astype(int)
    borders = [0, *(np.flatnonzero(np.diff(ahead)) + 1), len(ahead)]
    intervals = tuple(
        Interval(
            float(edges[start]), float(edges[stop]), int(ahead[start]),
            float(np.average(more[start:stop], weights=widths[start:stop])),
        )
        for start, stop in pairwise(borders)
    )  # fmt: skip
    shares = [float(widths[ahead == side].sum() / MAX_LOSS_POINTS) for side in (1, -1)]
    return Standing(intervals, shares[0], shares[1], float(np.average(more, weights=widths)))

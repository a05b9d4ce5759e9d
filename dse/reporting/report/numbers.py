"""Numbers of a report: rounded to what can be seen, without NaN, and no more of them than a page can draw."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Section = dict[str, Any]
"""Plain data that JSON can hold."""

CELLS = 400
"""Of a picture in either direction: marks in one cell hide each other."""


def missing(sentence: str) -> Section:
    """In place of a section: why there is nothing to show."""
    return {"missing": sentence}


def number(value: float, digits: int) -> float | None:
    """Rounded to decimal places; NaN and infinities, which JSON does not have, are None.

    >>> number(0.12345, 3), number(float("nan"), 3)
    (0.123, None)
    """
    return round(float(value), digits) if np.isfinite(value) else None


def numbers(values: ArrayLike, digits: int) -> list[float | None]:
    """The same of all of them."""
    return [number(value, digits) for value in np.asarray(values, dtype=np.float64).tolist()]


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], n_most: int) -> NDArray[np.int64]:
    """Marks to draw: all, or where there are too many, one of each cell of a picture; ascending, int64 [n].

    Args:
        x, y: of the marks, float64 [n_marks].
        n_most: marks to keep.

    >>> thinned(np.array([0.0, 1e-9, 1.0]), np.array([0.0, 0.0, 1.0]), 2)
    array([0, 2])
    """
    if len(x) <= n_most:
        return np.arange(len(x))
    for n_cells in (CELLS // 2**k for k in range(9)):
        cells = [np.floor(n_cells * (v - v.min()) / max(np.ptp(v), 1e-12)) for v in (x, y)]
        _, kept = np.unique(np.stack(cells), axis=1, return_index=True)
        if len(kept) <= n_most:
            break
    return np.sort(kept)

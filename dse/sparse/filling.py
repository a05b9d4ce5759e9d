"""Explicit zeros put into rows whose columns dCSR could not express otherwise.

A row fits where every offset `slope * lane + delta` is below 256 (a SIMD lane gathers by a byte) and the steps of its
groups' minima are int8. One that does not gets a zero in the middle of its largest gap, until it fits; a full row does.
[ours, where METHODS leaves it open] Gaps before the first and behind the last entry count. Offsets are asked of lanes
that hold an entry; asking them of lane 15 of every group would cost 3 % at a sparsity of .95.
"""

import numpy as np

from dse.sparse.groups import RowGroups, differences

OFFSET_LIMIT = 256
_INT8 = np.iinfo(np.int8)


def filled(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, int64 `[nnz']`, of the entries with those that had to be added, in order.

    Args:
        rows, columns: int64 `[nnz]`, in order of rows, then columns.
        shape: of the matrix, (rows, columns).
    """
    n_columns = shape[1]
    pending, finished = rows * n_columns + columns, []
    while len(pending):
        rows = pending // n_columns
        is_misfit = _misfits(rows, pending % n_columns, shape)[rows]
        finished.append(pending[~is_misfit])
        pending = pending[is_misfit]
        if len(pending):
            pending = np.sort(np.concatenate([pending, _middles(pending, n_columns)]))
    keys = np.sort(np.concatenate(finished)) if finished else pending
    return keys // n_columns, keys % n_columns


def _misfits(rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """bool `[R]`: rows that the code cannot express."""
    groups = RowGroups.of(np.bincount(rows, minlength=shape[0]), shape[1])
    found = differences(groups, columns)
    is_misfit = np.zeros(shape[0], bool)
    is_misfit[rows[groups.lines + found.deltas >= OFFSET_LIMIT]] = True
    is_misfit[groups.group_rows[(found.steps < _INT8.min) | (found.steps > _INT8.max)]] = True
    return is_misfit


def _middles(keys: np.ndarray, n_columns: int) -> np.ndarray:
    """Of every row the middle of its largest gap, as row * n_columns + column."""
    width = n_columns + 1  # a sentinel behind the last column
    rows = np.unique(keys // n_columns)
    ends = np.sort(np.concatenate([keys // n_columns * width + keys % n_columns, rows * width + n_columns]))
    row, column = ends // width, ends % width
    starts = np.flatnonzero(np.append(True, row[1:] != row[:-1]))
    before = np.append(-1, column[:-1])
    before[starts] = -1
    gaps = column - before
    largest = np.repeat(np.maximum.reduceat(gaps, starts), np.diff(np.append(starts, len(ends))))
    position = np.where(gaps == largest, np.arange(len(ends)), len(ends))
    first = np.minimum.reduceat(position, starts)
    return row[first] * n_columns + before[first] + gaps[first] // 2

"""How dCSR sees the entries of a matrix: rows cut into groups of 16, each near a line through its columns.

Entry `k` of group `g` of a row lies in column `i[16g + k] = minimum_g + slope * k + delta_k`, where the slope is the
mean distance of entries in the row, so that deltas are small.
"""

from dataclasses import dataclass

import numpy as np

GROUP = 16
"""Entries of a group: lanes of one SIMD register."""


@dataclass(frozen=True, eq=False)
class RowGroups:
    """The groups of a matrix, rows one after the other; no group spans two rows.

    Attributes:
        counts: int64 `[R]`, entries of each row.
        slopes: int64 `[R]`, 0 for an empty row.
        group_rows: int64 `[G]`, the row of each group.
        is_first: bool `[G]`, whether a group is the first of its row.
        entry_rows: int64 `[nnz]`.
        entry_groups: int64 `[nnz]`.
        lanes: int64 `[nnz]`, 0 to 15.
    """

    counts: np.ndarray
    slopes: np.ndarray
    group_rows: np.ndarray
    is_first: np.ndarray
    entry_rows: np.ndarray
    entry_groups: np.ndarray
    lanes: np.ndarray

    @classmethod
    def of(cls, counts: np.ndarray, n_columns: int) -> "RowGroups":
        """For rows of `counts` entries, int64 `[R]`, in `n_columns` columns."""
        rows = np.arange(len(counts))
        group_counts = -(-counts // GROUP)
        group_rows = np.repeat(rows, group_counts)
        first_groups = np.cumsum(group_counts) - group_counts
        entry_rows = np.repeat(rows, counts)
        positions = np.arange(len(entry_rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return cls(
            counts=counts,
            slopes=np.where(counts > 0, (n_columns + counts // 2) // np.maximum(counts, 1), 0),
            group_rows=group_rows,
            is_first=np.arange(len(group_rows)) == first_groups[group_rows],
            entry_rows=entry_rows,
            entry_groups=first_groups[entry_rows] + positions // GROUP,
            lanes=positions % GROUP,
        )

    @property
    def n_groups(self) -> int:
        """Groups of the whole matrix, `G`."""
        return len(self.group_rows)

    @property
    def lines(self) -> np.ndarray:
        """int64 `[nnz]`: slope times lane."""
        return self.slopes[self.entry_rows] * self.lanes


@dataclass(frozen=True, eq=False)
class Differences:
    """What dCSR stores of the columns.

    Attributes:
        steps: int64 `[G]`: of the first group of a row its minimum; of others their minimum less that of the group
            before and less 16 slopes.
        deltas: int64 `[nnz]`, 0 and above.
    """

    steps: np.ndarray
    deltas: np.ndarray


def differences(groups: RowGroups, columns: np.ndarray) -> Differences:
    """What is left of the columns, int64 `[nnz]`, ascending within rows."""
    if not groups.n_groups:
        return Differences(np.zeros(0, np.int64), np.zeros(0, np.int64))
    distances = columns - groups.lines
    minimums = np.minimum.reduceat(distances, np.flatnonzero(groups.lanes == 0))
    return Differences(
        steps=minimums - np.where(groups.is_first, 0, np.roll(minimums, 1) + GROUP * groups.slopes[groups.group_rows]),
        deltas=distances - minimums[groups.entry_groups],
    )


def columns_of(groups: RowGroups, found: Differences) -> np.ndarray:
    """The columns, int64 `[nnz]`: `differences` undone."""
    slopes = groups.slopes[groups.group_rows]
    total = np.cumsum(found.steps + np.where(groups.is_first, 0, GROUP * slopes))
    starts = np.flatnonzero(groups.is_first)
    before = np.concatenate([np.zeros(1, np.int64), total])[starts]  # of the rows that came earlier
    minimums = total - np.repeat(before, np.diff(np.append(starts, groups.n_groups)))
    return minimums[groups.entry_groups] + groups.lines + found.deltas

"""Groups of entries and their distances from the rows' lines."""

import numpy as np

from dse.sparse.groups import RowGroups, columns_of, differences


def test_groups_never_span_rows():
    groups = RowGroups.of(np.array([17, 0, 16, 1]), 64)
    assert groups.group_rows.tolist() == [0, 0, 2, 3]
    assert groups.is_first.tolist() == [True, False, True, True]
    assert groups.slopes.tolist() == [4, 0, 4, 64]  # (64 + 8) // 17, (64 + 8) // 16, 64 // 1
    assert groups.lanes[:18].tolist() == [*range(16), 0, 0]


def test_differences_are_those_of_the_equations():
    columns = np.sort(np.random.default_rng(0).choice(100, 20, replace=False))
    groups = RowGroups.of(np.array([20]), 100)
    found = differences(groups, columns)
    slope = (100 + 10) // 20
    first = [columns[k] - slope * k for k in range(16)]
    second = [columns[16 + k] - slope * k for k in range(4)]
    assert found.steps.tolist() == [min(first), min(second) - min(first) - 16 * slope]
    assert found.deltas.tolist() == [d - min(first) for d in first] + [d - min(second) for d in second]


def test_columns_come_back():
    rng = np.random.default_rng(1)
    mask = rng.random((40, 300)) < rng.random((40, 1))
    mask[[0, 7, 39]] = False
    columns = np.nonzero(mask)[1]
    groups = RowGroups.of(mask.sum(1), 300)
    np.testing.assert_array_equal(columns_of(groups, differences(groups, columns)), columns)
    empty = RowGroups.of(np.zeros(3, np.int64), 300)
    assert len(columns_of(empty, differences(empty, np.zeros(0, np.int64)))) == 0

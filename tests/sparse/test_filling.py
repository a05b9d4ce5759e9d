"""Explicit zeros where the code cannot express a row."""

import numpy as np

from dse.sparse.filling import filled


def keys(rows, columns, n_columns):
    return set((np.asarray(rows) * n_columns + columns).tolist())


def test_a_row_that_fits_stays_as_it_is():
    rows, columns = np.zeros(64, np.int64), np.arange(0, 1024, 16)
    found = filled(rows, columns, (1, 1024))
    np.testing.assert_array_equal(found, (rows, columns))


def test_the_first_zero_lies_in_the_middle_of_the_largest_gap():
    # Column 200 is no int8 step. The gap before it, of 201 from -1, is larger than the one behind it.
    rows, columns = filled(np.array([1]), np.array([200]), (2, 256))
    assert (rows.tolist(), columns.tolist()) == ([1, 1], [99, 200])


def test_entries_are_kept_and_others_are_zeros(sparse_matrix):
    matrix = sparse_matrix((60, 4096), 0.004)
    rows, columns = np.nonzero(matrix)
    found = filled(rows, columns, matrix.shape)
    assert keys(rows, columns, 4096) < keys(*found, 4096)
    order = found[0] * 4096 + found[1]
    assert np.all(np.diff(order) > 0)


def test_nothing_needs_nothing():
    rows, columns = filled(np.zeros(0, np.int64), np.zeros(0, np.int64), (3, 10))
    assert len(rows) == len(columns) == 0

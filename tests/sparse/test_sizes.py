"""Bytes of the forms that dCSR is compared with."""

import numpy as np
import pytest

from dse.errors import NetworkError
from dse.sparse.dcsr import encode
from dse.sparse.sizes import csr_bytes, run_length_bytes, sizes


def test_sizes_of_a_matrix(sparse_matrix):
    matrix = sparse_matrix((50, 400), 0.2)
    found = sizes(matrix)
    assert found.dense == 20_000
    assert found.dcsr == encode(matrix).n_bytes
    assert found.csr == 3 * np.count_nonzero(matrix) + 100
    assert found.ratio("csr") == 20_000 / found.csr


@pytest.mark.parametrize(
    ("columns", "n_entries"),
    [([], 0), ([0], 1), ([15], 1), ([16], 2), ([31], 2), ([32], 3), ([3, 19, 36], 4), ([0, 1, 2], 3)],
)
def test_run_lengths(columns, n_entries):
    matrix = np.zeros((2, 100), np.int8)
    matrix[1, columns] = 1
    assert run_length_bytes(matrix) == -(-3 * n_entries // 2) + 4


def test_published_ratio_of_csr():
    rng = np.random.default_rng(0)
    matrix = (rng.random((1000, 1280)) >= 0.9).astype(np.int8)
    assert matrix.size / csr_bytes(matrix) == pytest.approx(3.32, rel=0.01)


def test_values_outside_int8():
    with pytest.raises(NetworkError, match="int8"):
        sizes(np.array([[300]]))

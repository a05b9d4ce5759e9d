"""Products from decoded columns."""

import numpy as np
import pytest

from dse.errors import ShapeError
from dse.sparse.dcsr import encode
from dse.sparse.reference import ReferenceProduct


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_reference(sparse_matrix, dtype):
    matrix = sparse_matrix((70, 300), 0.1)
    info = np.iinfo(dtype)
    x = np.random.default_rng(0).integers(info.min, info.max + 1, (300, 5)).astype(dtype)
    product = ReferenceProduct(encode(matrix))
    np.testing.assert_array_equal(product(x), matrix.astype(int) @ x)
    np.testing.assert_array_equal(product(x[:, 0]), matrix.astype(int) @ x[:, 0])
    assert product(x).dtype == np.int32


def test_nothing_stored():
    product = ReferenceProduct(encode(np.zeros((3, 8), np.int8)))
    assert product(np.ones((8, 2), np.int8)).tolist() == [[0, 0]] * 3


def test_codes_of_another_shape(sparse_matrix):
    product = ReferenceProduct(encode(sparse_matrix((20, 30), 0.3)))
    with pytest.raises(ShapeError, match=r"int8 or uint8 \[30\]"):
        product(np.zeros(20, np.int8))

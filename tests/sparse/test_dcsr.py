"""The dCSR code: lossless, of the published size, and never wrong when damaged."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import NetworkError, ShapeError
from dse.sparse.dcsr import MAX_COLUMNS, decode, encode

RATIOS = {0.5: 1.25, 0.7: 2.02, 0.8: 2.89, 0.9: 5.29, 0.95: 7.61}


def assert_round_trip(matrix):
    code = encode(matrix)
    decoded = decode(code)
    np.testing.assert_array_equal(decoded, matrix)
    assert decoded.dtype == np.int8
    n_groups = len(code.group_minimums)
    size = code.nnz + 16 * -(-n_groups // 2) + n_groups + -(-n_groups // 2) + 2 * len(code.bitmasks)
    assert code.n_bytes == size + 2 * len(matrix) + 4
    return code


@pytest.mark.parametrize(("sparsity", "ratio"), RATIOS.items())
def test_published_ratios(sparsity, ratio):
    rng = np.random.default_rng(0)
    matrix = np.where(rng.random((1000, 1280)) >= sparsity, 1, 0).astype(np.int8)
    assert matrix.size / assert_round_trip(matrix).n_bytes == pytest.approx(ratio, rel=0.01)


@settings(max_examples=300, deadline=None)
@given(
    rows=st.integers(1, 40), columns=st.sampled_from([1, 2, 15, 16, 17, 64, 300, 1280, 4096]),
    density=st.sampled_from([0, 0.001, 0.01, 0.1, 0.5, 1]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_round_trip(sparse_matrix, rows, columns, density, seed):
    assert_round_trip(sparse_matrix((rows, columns), density, seed))


@pytest.mark.parametrize("columns", [1, 16, 4096, MAX_COLUMNS])
def test_empty_full_and_single_entries(columns):
    assert encode(np.zeros((3, columns), np.int8)).n_bytes == 10
    assert_round_trip(np.full((2, columns), -128, np.int8))
    for column in {0, columns // 2, columns - 1}:
        single = np.zeros((3, columns), np.int8)
        single[1, column] = 127
        assert_round_trip(single)


def test_arrays_of_a_small_matrix():
    matrix = np.zeros((2, 64), np.int8)
    matrix[0, [0, 40]] = 5, 6  # slope 32: distances 0 and 8
    matrix[1, [3, 4, 5]] = 7, 8, 9  # slope 21: distances 3, -17, -37; deltas 40, 20, 0
    code = encode(matrix)
    assert code.values.tolist() == [5, 6, 7, 8, 9]
    assert code.row_offsets.tolist() == [0, 1]
    assert code.group_minimums.tolist() == [0, -37]
    assert code.delta_indices[:3].tolist() == [40 & 15, 8 << 4 | 20 & 15, 0]
    assert code.bitmaps.tolist() == [0b0011]  # 40 = 0b101000 and 20 = 0b010100
    assert code.bitmasks.tolist() == [0b010, 0b001]


def test_large_gaps_force_zeros():
    matrix = np.zeros((1, 4096), np.int8)
    matrix[0, 4095] = 1
    code = assert_round_trip(matrix)
    assert code.nnz > 1
    assert np.count_nonzero(code.values) == 1


def test_input_is_not_changed():
    matrix = np.eye(20, dtype=np.int8)
    matrix.setflags(write=False)
    encode(matrix)


@pytest.mark.parametrize(
    ("matrix", "error", "message"),
    [
        (np.zeros((1, MAX_COLUMNS + 1), np.int8), ShapeError, "at most 32767 columns"),
        (np.array([[128]]), NetworkError, "values span 128 to 128"),
        (np.array([[-129, 5]]), NetworkError, "Quantize the weights symmetrically"),
        (np.array([[1.0]]), ShapeError, "matrix of integers"),
        (np.zeros((0, 4), np.int8), ShapeError, "not empty"),
        (np.zeros(4, np.int8), ShapeError, "expected a matrix"),
    ],
)
def test_what_the_code_cannot_hold(matrix, error, message):
    with pytest.raises(error, match=message):
        encode(matrix)


@pytest.mark.parametrize("name", ["values", "delta_indices", "group_minimums", "bitmaps", "bitmasks", "row_offsets"])
def test_truncated_arrays(sparse_matrix, name):
    code = encode(sparse_matrix((30, 700), 0.1))
    with pytest.raises(NetworkError, match="damaged"):
        decode(dataclasses.replace(code, **{name: getattr(code, name)[:-1]}))
    with pytest.raises(NetworkError, match="damaged"):
        decode(dataclasses.replace(code, **{name: getattr(code, name).astype(np.int32)}))


def test_damaged_arrays_give_an_error_or_a_matrix(sparse_matrix):
    code = encode(sparse_matrix((20, 300), 0.1))
    rng = np.random.default_rng(0)
    messages = []
    for _ in range(300):
        name = ("delta_indices", "group_minimums", "bitmaps", "bitmasks", "row_offsets")[rng.integers(5)]
        array = getattr(code, name).copy()
        array.view(np.uint8)[rng.integers(array.nbytes)] ^= 1 << rng.integers(8)
        try:
            assert decode(dataclasses.replace(code, **{name: array})).shape == (20, 300)
        except NetworkError as error:
            messages.append(str(error))
    assert len(messages) > 150
    assert all("damaged" in message for message in messages)

"""The sparse kernels against the reference, bit for bit, at every level that this machine can run.

Copies of x end where the kernels may stop reading, so that a sanitizer (`.ci/sanitize`) sees what lies beyond.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import NetworkError, ShapeError
from dse.simulation.native_library import LEVELS, NativeLibrary, find
from dse.sparse import native
from dse.sparse.dcsr import MAX_COLUMNS, encode
from dse.sparse.native import NativeProduct
from dse.sparse.reference import ReferenceProduct

SHAPES = [(1, 1), (3, 17), (64, 64), (65, 300), (129, 1280), (66, 4096)]


@pytest.fixture(scope="session", params=LEVELS)
def library(request):
    found = find()
    if not isinstance(found, NativeLibrary):
        pytest.skip(f"no native library: {found}")
    if request.param not in found.levels:
        pytest.skip(f"this machine and build can run {', '.join(found.levels)}")
    return replace(found, isa=LEVELS.index(request.param))


def codes(shape, dtype, seed=0):
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.02, 0.3])
def test_equal_to_the_product(library, sparse_matrix, shape, density):
    matrix = sparse_matrix(shape, density, seed=shape[0])
    product = NativeProduct(encode(matrix), library)
    for dtype in (np.int8, np.uint8):
        for n in (None, 1, 63, 64, 130):
            x = codes((shape[1],) if n is None else (shape[1], n), dtype)
            found = product(x)
            assert found.dtype == np.int32
            np.testing.assert_array_equal(found, matrix.astype(float) @ x)


@settings(max_examples=30, deadline=None)
@given(
    rows=st.integers(1, 140), columns=st.integers(1, 1500), density=st.sampled_from([0, 0.01, 0.1, 0.5]),
    n=st.sampled_from([None, 5]), seed=st.integers(0, 2**32),
)  # fmt: skip
def test_equal_to_the_reference(library, sparse_matrix, rows, columns, density, n, seed):
    code = encode(sparse_matrix((rows, columns), density, seed))
    x = codes((columns,) if n is None else (columns, n), np.int8, seed)
    np.testing.assert_array_equal(NativeProduct(code, library)(x), ReferenceProduct(code)(x))


def test_largest_sums(library):
    code, x = encode(np.full((2, MAX_COLUMNS), -128)), np.full(MAX_COLUMNS, -128, np.int8)
    expected = [MAX_COLUMNS << 14] * 2
    assert NativeProduct(code, library)(x).tolist() == expected
    assert NativeProduct(code, library)(x[:, None])[:, 0].tolist() == expected


def test_several_threads(library, sparse_matrix, monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 3)
    matrix, x = sparse_matrix((500, 200), 0.2), codes((200, 64), np.int8)
    product = NativeProduct(encode(matrix), library)
    np.testing.assert_array_equal(product(x), matrix.astype(int) @ x)
    np.testing.assert_array_equal(product(x[:, 0]), matrix.astype(int) @ x[:, 0])


def test_views_and_no_columns(library, sparse_matrix):
    matrix, x = sparse_matrix((40, 100), 0.2), codes((64, 200), np.int8).T[::2]
    product = NativeProduct(encode(matrix), library)
    np.testing.assert_array_equal(product(x), matrix.astype(int) @ x)
    np.testing.assert_array_equal(product(x[:, 3]), matrix.astype(int) @ x[:, 3])
    assert product(x[:, :0]).shape == (40, 0)


def test_refusals(library, sparse_matrix):
    code = encode(sparse_matrix((4, 10), 0.5))
    for x in (np.zeros(11, np.int8), np.zeros(10), np.zeros((10, 2, 2), np.int8)):
        with pytest.raises(ShapeError, match=r"expected codes int8 or uint8 \[10\]"):
            NativeProduct(code, library)(x)
    with pytest.raises(NetworkError, match="damaged"):
        NativeProduct(replace(code, bitmasks=np.zeros(99, np.uint16)), library)


def test_constants_of_the_header():
    header = (Path(native.__file__).parents[1] / "simulation" / "csrc" / "native.h").read_text()
    constants = f"DSE_SPARSE_ROWS = {native.ROWS}, DSE_SPARSE_TILE = {native.TILE}, DSE_SPARSE_MARGIN = {native.MARGIN}"
    assert constants in header

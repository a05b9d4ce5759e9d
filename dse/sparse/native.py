"""Products by the native library's sparse kernels (`csrc/sparse.h`), equal to `ReferenceProduct` bit for bit.

[ours] For AVX-512 VBMI, AVX-512, AVX2 and any processor; after dCSR's kernels for Arm's Helium, whose gathers take byte
offsets. Where x86 has none of these (all but VBMI's byte permutes), a gather of 32-bit words stands in.
"""

import ctypes
from functools import cache

import numpy as np
import torch

from dse.simulation.native import share_threads
from dse.simulation.native_library import NativeLibrary
from dse.sparse.dcsr import DcsrMatrix, entries
from dse.sparse.groups import GROUP
from dse.sparse.reference import check_codes

ROWS, TILE, MARGIN = 64, 64, 576  # DSE_SPARSE_ROWS, DSE_SPARSE_TILE, DSE_SPARSE_MARGIN in csrc/native.h
_POINTER, _INT, _INT64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
_ARGUMENTS = {
    "dse_sparse_vector": [_POINTER] * 4 + [_INT] * 2,
    "dse_sparse_matrix": [_POINTER, _POINTER, _INT64, _POINTER, _INT, _INT],
}
_SIGN = 128


class _Sparse(ctypes.Structure):
    """`dse_sparse` of csrc/native.h."""

    _arrays = ("values", "delta_indices", "group_minimums", "bitmaps", "bitmasks", "row_offsets", "starts")
    _fields_ = [(name, _INT64) for name in ("rows", "columns", "nnz")] + [(name, _POINTER) for name in _arrays]


class NativeProduct:
    """A compressed matrix as the kernels read it: its arrays, and where every 64 rows begin.

    Args:
        matrix: compressed; checked here, because the kernels check nothing.
        library: at the level to run at.

    Raises:
        NetworkError: the matrix is damaged.
    """

    def __init__(self, matrix: DcsrMatrix, library: NativeLibrary):
        rows, _ = entries(matrix)
        self.shape, self._library = matrix.shape, library
        self._sums = np.bincount(rows, weights=matrix.values, minlength=matrix.shape[0]).astype(np.int32)
        self._arrays = {name: np.append(array, np.zeros(GROUP, array.dtype)) for name, array in matrix.arrays.items()}
        self._arrays["starts"] = _starts(matrix)
        addresses = {name: array.ctypes.data for name, array in self._arrays.items()}
        self._matrix = _Sparse(rows=matrix.shape[0], columns=matrix.shape[1], nnz=matrix.nnz, **addresses)
        self._address = ctypes.addressof(self._matrix)
        share_threads(library)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """See `dse.sparse.products.PreparedProduct`."""
        check_codes(x, self.shape[1])
        signed = x if x.dtype == np.int8 else (x ^ _SIGN).view(np.int8)
        out = self._vector(signed) if x.ndim == 1 else self._columns(signed)
        if x.dtype == np.uint8:
            out += _SIGN * self._sums.reshape(-1, *[1] * (x.ndim - 1))
        return out

    def _vector(self, x: np.ndarray) -> np.ndarray:
        x = np.ascontiguousarray(x)
        out, workspace = np.empty(self.shape[0], np.int32), np.empty(self.shape[1] + MARGIN, np.int8)
        self._call("dse_sparse_vector", x.ctypes.data, out.ctypes.data, workspace.ctypes.data)
        return out

    def _columns(self, x: np.ndarray) -> np.ndarray:
        n = x.shape[1]
        padded = -(-n // TILE) * TILE
        codes = np.ascontiguousarray(x if padded == n else np.pad(x, ((0, 0), (0, padded - n))))
        out = np.empty((self.shape[0], padded), np.int32)
        self._call("dse_sparse_matrix", codes.ctypes.data, padded, out.ctypes.data)
        return out if padded == n else np.ascontiguousarray(out[:, :n])

    def _call(self, name: str, *arguments: int) -> None:
        function = _function(self._library, name)
        code = function(self._address, *arguments, self._library.isa, torch.get_num_threads())
        if code:
            raise AssertionError(f"{name} of the native library refused its arguments with code {code}")


def _starts(matrix: DcsrMatrix) -> np.ndarray:
    """int64 `[ceil(R / ROWS), 3]`: value, group and mask that every `ROWS` rows begin with."""
    counts = matrix.counts
    group_counts = -(-counts // GROUP)
    maps = np.stack([matrix.bitmaps >> 4, matrix.bitmaps & 15], axis=1).reshape(-1)[: len(matrix.group_minimums)]
    before = np.append(0, np.cumsum(np.bitwise_count(maps), dtype=np.int64))  # masks of the groups that came earlier
    groups = np.cumsum(group_counts) - group_counts
    return np.ascontiguousarray(np.stack([np.cumsum(counts) - counts, groups, before[groups]], axis=1)[::ROWS])


@cache
def _function(library: NativeLibrary, name: str):
    function = library.functions[name]  # by index: a function object of its own
    function.argtypes = _ARGUMENTS[name]
    return function

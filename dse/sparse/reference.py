"""Products from the decoded columns: a gather, products, sums over rows. The oracle of the native kernels."""

import numpy as np

from dse.errors import ShapeError
from dse.sparse.dcsr import DcsrMatrix, entries


class ReferenceProduct:
    """A compressed matrix ready to be multiplied, anywhere; takes memory for every product.

    Args:
        matrix: compressed.

    Raises:
        NetworkError: the matrix is damaged.
    """

    def __init__(self, matrix: DcsrMatrix):
        rows, self._columns = entries(matrix)
        self._values = matrix.values.astype(np.int32)
        self._rows, self._starts = np.unique(rows, return_index=True)  # rows that are not empty
        self.shape = matrix.shape

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """See `dse.sparse.products.PreparedProduct`."""
        check_codes(x, self.shape[1])
        out = np.zeros((self.shape[0], *x.shape[1:]), np.int32)
        if len(self._rows):
            products = x[self._columns] * self._values.reshape(-1, *[1] * (x.ndim - 1))
            out[self._rows] = np.add.reduceat(products, self._starts, axis=0, dtype=np.int32)
        return out


def check_codes(x: np.ndarray, n_columns: int) -> None:
    """Raise `ShapeError` unless `x` is codes `[n_columns]` or `[n_columns, n]`."""
    if x.dtype not in (np.int8, np.uint8) or x.ndim not in (1, 2) or x.shape[0] != n_columns:
        raise ShapeError(
            f"expected codes int8 or uint8 [{n_columns}] or [{n_columns}, n], got {x.dtype} {list(x.shape)}"
        )

"""Bytes of a sparse int8 matrix in dCSR and in the forms it is compared with."""

from dataclasses import dataclass

import numpy as np

from dse.sparse.dcsr import checked, encode

RUN_LIMIT = 15
"""Zeros that four bits can announce before a value."""


@dataclass(frozen=True)
class Sizes:
    """Bytes of one matrix.

    Attributes:
        dense: a byte a cell.
        dcsr: see `dse.sparse.dcsr`.
        csr: values, 16-bit columns and 16-bit row lengths.
        run_length: values with the number of zeros before them in four bits, and 16-bit row lengths.
    """

    dense: int
    dcsr: int
    csr: int
    run_length: int

    def ratio(self, form: str) -> float:
        """Dense bytes a byte of `form`, the name of a field."""
        return self.dense / getattr(self, form)


def sizes(matrix: np.ndarray) -> Sizes:
    """Sizes of `matrix`, integers `[R, C]`; raises as `dse.sparse.dcsr.encode` does.

    >>> sizes(np.eye(64, dtype=np.int8))
    Sizes(dense=4096, dcsr=..., csr=320, run_length=...)
    """
    matrix = checked(matrix)
    return Sizes(dense=matrix.size, dcsr=dcsr_bytes(matrix), csr=csr_bytes(matrix), run_length=run_length_bytes(matrix))


def dcsr_bytes(matrix: np.ndarray) -> int:
    """See `dse.sparse.dcsr`; raises as `encode` does."""
    return encode(matrix).n_bytes


def csr_bytes(matrix: np.ndarray) -> int:
    """Compressed sparse rows, columns in 16 bits: `3 * nnz + 2 * R`."""
    return 3 * int(np.count_nonzero(matrix)) + 2 * len(matrix)


def run_length_bytes(matrix: np.ndarray) -> int:
    """Run lengths in four bits: `1.5 * entries + 2 * R`.

    An entry is a value and the zeros before it in its row. More than `RUN_LIMIT` zeros need entries of the value zero,
    which stand for 16 zeros each; zeros behind the last value of a row need nothing.
    """
    rows, columns = np.nonzero(matrix)
    runs = np.diff(columns, prepend=-1) - 1
    is_first = np.append(True, rows[1:] != rows[:-1])[: len(rows)]
    runs = np.where(is_first, columns, runs)
    n_entries = len(rows) + int((runs // (RUN_LIMIT + 1)).sum())
    return -(-3 * n_entries // 2) + 2 * len(matrix)

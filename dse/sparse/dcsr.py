"""dCSR: a sparse int8 matrix whose column indices take four bits and some, decoded in registers.

Rows are cut into groups of 16 entries (`dse.sparse.groups`), with explicit zeros where a row does not fit
(`dse.sparse.filling`). Of a delta the low four bits are always stored; a map a group says which of the bits 4 to 7
occur, and each that does has a 16-bit mask, a bit a lane. Rows are counted by their difference from the mean.
"""

from dataclasses import dataclass

import numpy as np

from dse.errors import NetworkError, ShapeError
from dse.sparse.filling import OFFSET_LIMIT, filled
from dse.sparse.groups import GROUP, Differences, RowGroups, columns_of, differences

MAX_COLUMNS = np.iinfo(np.int16).max
"""Columns of a matrix: the entries of a row less the mean are int16."""
MAX_CELLS = np.iinfo(np.uint32).max
"""Rows times columns: the number of entries is uint32."""
_HIGH_BITS = range(4, 8)


@dataclass(frozen=True, eq=False)
class DcsrMatrix:
    """A compressed matrix; made by `encode`.

    Attributes:
        shape: (rows R, columns C).
        values: int8 `[nnz]`, explicit zeros among them.
        delta_indices: uint8 `[16 * ceil(G / 2)]`, low four bits of the deltas of two groups, the even group high.
        group_minimums: int8 `[G]`, steps of the groups' smallest distance from the line.
        bitmaps: uint8 `[ceil(G / 2)]`, which of the bits 4 to 7 occur in two groups, the even group high.
        bitmasks: uint16 `[M]`, one a set bit of the maps in order of groups, then bits; lane `k` is bit `k`.
        row_offsets: int16 `[R]`, entries of the rows less the floor of their mean.
    """

    shape: tuple[int, int]
    values: np.ndarray
    delta_indices: np.ndarray
    group_minimums: np.ndarray
    bitmaps: np.ndarray
    bitmasks: np.ndarray
    row_offsets: np.ndarray

    @property
    def nnz(self) -> int:
        """Entries that are stored, explicit zeros included."""
        return len(self.values)

    @property
    def mean_count(self) -> int:
        """Floor of the mean number of entries a row."""
        return self.nnz // self.shape[0]

    @property
    def counts(self) -> np.ndarray:
        """int64 `[R]`: entries of each row."""
        return self.row_offsets.astype(np.int64) + self.mean_count

    @property
    def n_bytes(self) -> int:
        """Size of the code: its arrays, and four bytes for `nnz`."""
        return sum(array.nbytes for array in self.arrays.values()) + 4

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {name: getattr(self, name) for name in ARRAY_TYPES}


ARRAY_TYPES = {
    "values": np.int8, "delta_indices": np.uint8, "group_minimums": np.int8, "bitmaps": np.uint8,
    "bitmasks": np.uint16, "row_offsets": np.int16,
}  # fmt: skip
"""Arrays of a `DcsrMatrix`, in order."""


def encode(matrix: np.ndarray) -> DcsrMatrix:
    """Compresses a matrix without loss.

    Args:
        matrix: integers `[R, C]` in -128..127, C up to `MAX_COLUMNS`; not changed.

    Raises:
        ShapeError: not a matrix of integers, empty, or larger than the code can hold.
        NetworkError: a value does not fit int8.

    >>> code = encode(np.array([[0, 3, 0, 0], [0, 0, 0, 0], [-7, 0, 0, 1]]))
    >>> code.nnz, code.n_bytes
    (3, 32)
    >>> decode(code)
    array([[ 0,  3,  0,  0],
           [ 0,  0,  0,  0],
           [-7,  0,  0,  1]], dtype=int8)
    """
    matrix = checked(matrix)
    rows, columns = filled(*np.nonzero(matrix), matrix.shape)
    counts = np.bincount(rows, minlength=len(matrix))
    groups = RowGroups.of(counts, matrix.shape[1])
    found = differences(groups, columns)
    lanes = np.zeros((groups.n_groups + groups.n_groups % 2, GROUP), np.uint8)  # pairs of groups; free lanes are 0
    lanes[groups.entry_groups, groups.lanes] = found.deltas
    planes = [np.packbits(lanes >> bit & 1, axis=1, bitorder="little") for bit in _HIGH_BITS]
    masks = np.stack(planes, axis=1).view("<u2")[..., 0]  # [G, 4]
    maps = ((masks > 0) << np.arange(len(_HIGH_BITS))).sum(1)
    return DcsrMatrix(
        shape=matrix.shape,
        values=matrix[rows, columns].astype(np.int8),
        delta_indices=_paired(lanes & 15).reshape(-1),
        group_minimums=found.steps.astype(np.int8),
        bitmaps=_paired(maps),
        bitmasks=masks[masks > 0].astype(np.uint16),
        row_offsets=(counts - len(rows) // len(matrix)).astype(np.int16),
    )


def checked(matrix: np.ndarray) -> np.ndarray:
    """`matrix` if the code can hold it; raises as `encode` does."""
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or not np.issubdtype(matrix.dtype, np.integer) or matrix.size == 0:
        raise ShapeError(f"expected a matrix of integers, not empty, got {matrix.dtype} {list(matrix.shape)}")
    if matrix.shape[1] > MAX_COLUMNS or matrix.size > MAX_CELLS:
        raise ShapeError(
            f"a matrix of {matrix.shape[0]} x {matrix.shape[1]} is beyond dCSR: expected at most {MAX_COLUMNS} columns "
            f"and {MAX_CELLS} cells; split it"
        )
    low, high = int(matrix.min()), int(matrix.max())
    if low < -128 or high > 127:
        raise NetworkError(
            f"values span {low} to {high}: dCSR holds int8, -128 to 127. Quantize the weights symmetrically (zero code "
            "0 for int8 codes, 128 for uint8)"
        )
    return matrix


def decode(code: DcsrMatrix) -> np.ndarray:
    """The matrix, int8 `[R, C]`.

    Raises:
        NetworkError: the arrays contradict each other or lead outside the matrix: they are damaged.
    """
    rows, columns = entries(code)
    matrix = np.zeros(code.shape, np.int8)
    matrix[rows, columns] = code.values
    return matrix


def entries(code: DcsrMatrix) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, int64 `[nnz]`, of the stored values; raises as `decode` does."""
    groups = _checked_groups(code)
    n_groups = groups.n_groups
    maps = _unpaired(code.bitmaps)[:n_groups]
    is_set = (maps[:, None] >> np.arange(len(_HIGH_BITS)) & 1).astype(bool)  # [G, 4]
    if int(is_set.sum()) != len(code.bitmasks):
        raise _damaged(f"{len(code.bitmasks)} masks, but maps that announce {int(is_set.sum())}")
    masks = np.zeros(is_set.shape, "<u2")
    masks[is_set] = code.bitmasks
    planes = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little").reshape(-1, len(_HIGH_BITS), GROUP)
    lanes = _unpaired(code.delta_indices.reshape(-1, GROUP))[:n_groups]
    for position, bit in enumerate(_HIGH_BITS):
        lanes |= planes[:, position] << bit
    found = Differences(code.group_minimums.astype(np.int64), lanes[groups.entry_groups, groups.lanes].astype(np.int64))
    columns = columns_of(groups, found)
    if np.any(groups.lines + found.deltas >= OFFSET_LIMIT):
        raise _damaged("offsets beyond a byte")
    ascending = np.diff(columns, prepend=-1) > 0
    ascending[(groups.lanes == 0) & groups.is_first[groups.entry_groups]] = True
    if not np.all(ascending) or np.any(columns < 0) or np.any(columns >= code.shape[1]):
        raise _damaged(f"columns that do not ascend within 0 to {code.shape[1] - 1}")
    return groups.entry_rows, columns


def _checked_groups(code: DcsrMatrix) -> RowGroups:
    n_rows, n_columns = code.shape
    for name, dtype in ARRAY_TYPES.items():
        array = getattr(code, name)
        if array.ndim != 1 or array.dtype != dtype:
            raise _damaged(f"{name} of type {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} [n]")
    if n_rows < 1 or not 1 <= n_columns <= MAX_COLUMNS or len(code.row_offsets) != n_rows:
        raise _damaged(f"{len(code.row_offsets)} row offsets and a shape of {n_rows} x {n_columns}")
    counts = code.counts
    if counts.min() < 0 or counts.max() > n_columns or int(counts.sum()) != code.nnz:
        raise _damaged(
            f"rows of {counts.min()} to {counts.max()} entries, in all {counts.sum()}, and {code.nnz} values"
        )
    groups = RowGroups.of(counts, n_columns)
    pairs = -(-groups.n_groups // 2)
    sizes = {"group_minimums": groups.n_groups, "bitmaps": pairs, "delta_indices": GROUP * pairs}
    for name, size in sizes.items():
        if len(getattr(code, name)) != size:
            raise _damaged(f"{name} of {len(getattr(code, name))} elements, expected {size}")
    return groups


def _damaged(what: str) -> NetworkError:
    return NetworkError(f"a dCSR matrix is damaged: it has {what}. Expected one that `encode` made; compress it again")


def _paired(nibbles: np.ndarray) -> np.ndarray:
    """uint8 `[ceil(G / 2), ...]` of `[G or G + 1, ...]`, the even ones in the high half."""
    return (nibbles[0::2] << 4 | nibbles[1::2]).astype(np.uint8)


def _unpaired(pairs: np.ndarray) -> np.ndarray:
    """uint8 `[2 * n, ...]`: `_paired` undone."""
    return np.stack([pairs >> 4, pairs & 15], axis=1).reshape(-1, *pairs.shape[1:])

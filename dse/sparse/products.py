"""Products of a compressed matrix with vectors (SpMV) and matrices (SpMM) of codes.

`prepare_product` takes the native kernels where there are any; those decode column indices in registers. The reference
decodes the whole matrix first and is what they are tested against.
"""

from typing import Protocol

import numpy as np

from dse.errors import ConfigError, unknown_name
from dse.simulation.native_library import load
from dse.sparse.dcsr import DcsrMatrix
from dse.sparse.native import NativeProduct
from dse.sparse.reference import ReferenceProduct

BACKENDS = ("auto", "native", "reference")


class PreparedProduct(Protocol):
    """A compressed matrix `[R, C]` that is ready to be multiplied."""

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """int32 `[R]` for codes `[C]`, `[R, n]` for codes `[C, n]`; int8 or uint8, on the CPU; sums modulo 2^32.

        Raises:
            ShapeError: `x` has another shape or type.
        """


def prepare_product(matrix: DcsrMatrix, backend: str = "auto") -> PreparedProduct:
    """`matrix` ready to be multiplied.

    Args:
        matrix: compressed.
        backend: "native", "reference", or "auto" for the native one where the library is there.

    Raises:
        ConfigError: unknown backend, or no native library.
        NetworkError: the matrix is damaged.

    >>> from dse.sparse.dcsr import encode
    >>> product = prepare_product(encode(np.array([[0, 3, 0], [-2, 0, 1]])))
    >>> product(np.array([10, 20, 30], np.int8))
    array([60, 10], dtype=int32)
    """
    if backend not in BACKENDS:
        raise ConfigError(unknown_name("backend", backend, BACKENDS))
    library = None if backend == "reference" else load()
    if library is not None:
        return NativeProduct(matrix, library)
    if backend == "native":
        raise ConfigError("there is no native library: install a C compiler and dse again, or take backend 'reference'")
    return ReferenceProduct(matrix)

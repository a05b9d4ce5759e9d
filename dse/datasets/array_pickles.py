"""Pickles of arrays, strings, numbers and containers, as the Python format of CIFAR-10 has them, read as data.

A pickle can call any function when it is loaded, and a damaged one can bring NumPy's own reconstruction, or the reader
in C, to crash. So it is read by the reader in Python; what NumPy writes for an array is given to stand-ins that only
keep it; every other name is refused before anything is imported.
"""

import math
import pickle
from pathlib import Path

import numpy as np

from dse.errors import DataError

_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy")
"""Of NumPy, under their old and new names."""

_BYTE_TYPES = ("u1", "|u1", "B", "uint8")


def read_array_pickle(path: Path) -> object:
    """What a pickle holds; uint8 arrays become `numpy.ndarray`, those of other types are refused.

    Raises:
        DataError: it asks for something else than arrays.
        Exception: almost any, where it is damaged.
    """
    with path.open("rb") as stream:
        return _settled(_ArrayUnpickler(stream, encoding="latin1").load())


class _Array:
    """What NumPy keeps of an array: version, shape, type, order, and bytes."""

    def __init__(self, *_: object) -> None:
        self.state: tuple = ()

    def __setstate__(self, state: tuple) -> None:
        self.state = state

    def array(self) -> np.ndarray:
        _, shape, kind, is_fortran, content = self.state
        if not isinstance(kind, _Type) or kind.name not in _BYTE_TYPES:
            raise DataError(f"an array of type {getattr(kind, 'name', kind)!r}: expected uint8")
        content = content.encode("latin1") if isinstance(content, str) else bytes(content)  # Python 2 has no bytes
        shape = tuple(int(n) for n in shape)
        if min(shape, default=0) < 0 or math.prod(shape) != len(content):
            raise DataError(f"an array of shape {list(shape)} with {len(content)} bytes: expected one byte an element")
        return np.frombuffer(content, dtype=np.uint8).reshape(shape, order="F" if is_fortran else "C")


class _Type:
    """The name of a type; what NumPy keeps beside it does not matter for bytes."""

    def __init__(self, name: object, *_: object) -> None:
        self.name = name

    def __setstate__(self, state: tuple) -> None: ...


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    """As NumPy's: an empty array, which gets its state later."""
    return _Array()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What Python 3 writes for bytes under old protocols."""
    if encoding != "latin1":
        raise DataError(f"bytes as text in {encoding!r}: expected latin1")
    return text.encode("latin1")


_STAND_INS = {
    (module, name): stand_in
    for module in _MODULES
    for name, stand_in in (("_reconstruct", _reconstruct), ("ndarray", _Array), ("dtype", _Type))
} | {("_codecs", "encode"): _encode}


class _ArrayUnpickler(pickle._Unpickler):
    """The reader in Python, which knows no other names than the stand-ins'."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in _STAND_INS:
            raise DataError(f"it asks for {module}.{name}, which no array needs; not loaded")
        return _STAND_INS[module, name]


def _settled(value: object) -> object:
    """With arrays in place of what stood for them, in a dictionary too."""
    if isinstance(value, dict):
        return {key: _settled(part) if isinstance(part, _Array) else part for key, part in value.items()}
    return value.array() if isinstance(value, _Array) else value

"""MNIST and its kin (Fashion-MNIST, EMNIST digits, ...) in the IDX format, plain or gzipped.

Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", 1998. A file is: two zero bytes, one
byte for the type (8 is uint8), one for the number of dimensions, each size as a big-endian int32, then the values.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np

from dse.datasets.dataset import Dataset, Part, count_classes, part_from_arrays
from dse.errors import DataError

_UINT8 = 8
_STEMS = {"train": "train", "test": "t10k"}


def is_mnist_folder(folder: Path) -> bool:
    """Whether the folder holds the test images in IDX format."""
    return _find(folder, "test", "images", 3) is not None


def read_mnist(folder: Path) -> Dataset:
    """Grey images uint8 [n, 1, H, W] from `train-` and `t10k-` files; the training files may be missing."""
    test, test_files = _read_part(folder, "test")
    train, train_files = None, ()
    if _find(folder, "train", "images", 3) is not None:
        train, train_files = _read_part(folder, "train")
    return Dataset(
        name="mnist", train=train, test=test, n_classes=count_classes(train, test), found=(*train_files, *test_files)
    )


def read_idx(file: Path) -> np.ndarray:
    """Array of an IDX file, uint8, of the shape in its header; memory-mapped unless gzipped."""
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            shape = _read_header(stream.read(4), stream, file)
            n_values = int(np.prod(shape, dtype=np.int64))
            if file.suffix != ".gz":
                return _map_values(file, stream.tell(), shape, n_values)
            values = np.frombuffer(stream.read(n_values + 1), dtype=np.uint8)
    except (EOFError, OSError, zlib.error) as failure:
        raise DataError(f"{file} cannot be read ({failure}); it may be truncated: download it again") from failure
    if len(values) != n_values:
        raise DataError(_wrong_size(file, shape, n_values))
    return values.reshape(shape)


def _read_header(magic: bytes, stream, file: Path) -> tuple[int, ...]:
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] != _UINT8 or not 1 <= magic[3] <= 4:
        raise DataError(f"{file} does not begin like an IDX file of uint8 values: expected bytes 0, 0, 8, dimensions")
    sizes = stream.read(4 * magic[3])
    if len(sizes) < 4 * magic[3]:
        raise DataError(f"{file} ends within its header; it is truncated: copy or download it again")
    return tuple(int(size) for size in np.frombuffer(sizes, dtype=">u4"))


def _map_values(file: Path, offset: int, shape: tuple[int, ...], n_values: int) -> np.ndarray:
    if file.stat().st_size - offset != n_values:
        raise DataError(_wrong_size(file, shape, n_values))
    if n_values == 0:
        return np.empty(shape, dtype=np.uint8)
    return np.memmap(file, dtype=np.uint8, mode="r", offset=offset, shape=shape)


def _wrong_size(file: Path, shape: tuple[int, ...], n_values: int) -> str:
    return (
        f"{file} does not hold the {n_values} values of its header's shape {shape}; it may be truncated: "
        "copy or download it again"
    )


def _read_part(folder: Path, kind: str) -> tuple[Part, tuple[str, str]]:
    files = _find(folder, kind, "images", 3), _find(folder, kind, "labels", 1)
    for file, what in zip(files, ("images", "labels"), strict=True):
        if file is None:
            raise DataError(f"{folder} has no {_STEMS[kind]}-{what} file: expected IDX files, as MNIST is published")
    images, labels = (read_idx(file) for file in files)
    part = part_from_arrays(images, labels, where=f"{folder}, {kind}")
    return part, (files[0].name, files[1].name)


def _find(folder: Path, kind: str, what: str, n_dimensions: int) -> Path | None:
    for separator in "-.":  # both spellings circulate
        for suffix in ("", ".gz"):
            file = folder / f"{_STEMS[kind]}-{what}{separator}idx{n_dimensions}-ubyte{suffix}"
            if file.is_file():
                return file
    return None

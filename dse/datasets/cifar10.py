"""CIFAR-10 in its binary and its Python format.

Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images", 2009, and its home page. Binary: records
of 1 label byte and 3072 pixel bytes (R, G, B planes of 32x32). Python: pickled dictionaries with `data`, uint8
[n, 3072], and `labels`. The official files are pickles of Python 2, and a pickle can run any code it likes when loaded;
here they are read as data, see `dse.datasets.array_pickles`.
"""

import logging
from pathlib import Path

import numpy as np

from dse.datasets.array_pickles import read_array_pickle
from dse.datasets.dataset import ArraySource, Dataset, Part
from dse.errors import DataError

_log = logging.getLogger("dse")

_N_CLASSES = 10
_SHAPE = (3, 32, 32)
_N_PIXELS = 3 * 32 * 32
_TRAIN = tuple(f"data_batch_{k}" for k in range(1, 6))


def is_cifar10_folder(folder: Path) -> bool:
    """Whether the folder holds a batch in either format."""
    return any((folder / f"{name}{suffix}").is_file() for name in (*_TRAIN, "test_batch") for suffix in (".bin", ""))


def read_cifar10(folder: Path) -> Dataset:
    """CIFAR-10 from a folder with `data_batch_*.bin` and `test_batch.bin`, or the same without suffix (Python format).

    Training batches may be missing: the message says which were found. Binary files are memory-mapped.
    """
    is_binary = any((folder / f"{name}.bin").is_file() for name in (*_TRAIN, "test_batch"))
    suffix, read = (".bin", _read_binary) if is_binary else ("", _read_python)
    test_file = folder / f"test_batch{suffix}"
    if not test_file.is_file():
        raise DataError(f"{folder} has no {test_file.name}: expected CIFAR-10 in its binary or Python format")
    found = [folder / f"{name}{suffix}" for name in _TRAIN if (folder / f"{name}{suffix}").is_file()]
    missing = [f"{name}{suffix}" for name in _TRAIN if not (folder / f"{name}{suffix}").is_file()]
    if missing:
        _log.info("CIFAR-10 in %s: found %s; without %s", folder, [f.name for f in found], ", ".join(missing))
    return Dataset(
        name="cifar10",
        train=_join([read(file) for file in found]) if found else None,
        test=_join([read(test_file)]),
        n_classes=_N_CLASSES,
        preprocessing="imagenet",
        class_names=_read_class_names(folder),
        found=tuple(file.name for file in (*found, test_file)),
    )


def _join(batches: list[tuple[np.ndarray, np.ndarray]]) -> Part:
    return Part(ArraySource([images for images, _ in batches]), np.concatenate([labels for _, labels in batches]))


def _read_binary(file: Path) -> tuple[np.ndarray, np.ndarray]:
    n_bytes, record = file.stat().st_size, 1 + _N_PIXELS
    if n_bytes == 0 or n_bytes % record:
        raise DataError(
            f"{file} has {n_bytes} bytes; expected a multiple of {record} (1 label byte, {_N_PIXELS} pixels an image). "
            "It may be truncated: copy or download it again"
        )
    records = np.memmap(file, dtype=np.uint8, mode="r").reshape(-1, record)
    return _checked(records[:, 1:], records[:, 0].astype(np.int64), file)


def _read_python(file: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        batch = read_array_pickle(file)
    except DataError as refused:
        raise DataError(f"{file} is no batch of CIFAR-10: {refused}") from None
    except Exception as failure:  # a damaged pickle raises almost anything
        raise DataError(
            f"{file} cannot be read ({type(failure).__name__}: {failure}): expected a batch of CIFAR-10 in its Python "
            "format. It may be truncated: copy or download it again"
        ) from failure
    if not isinstance(batch, dict):
        raise DataError(f"{file} holds a {type(batch).__name__}; expected a dictionary with 'data' and 'labels'")
    batch = {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
    data, labels = batch.get("data"), batch.get("labels")
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _N_PIXELS:
        raise DataError(f"{file}: 'data' is not a uint8 array of shape [n, {_N_PIXELS}]")
    if not isinstance(labels, list) or len(labels) != len(data) or not all(isinstance(k, int) for k in labels):
        raise DataError(f"{file}: 'labels' is not a list of {len(data)} class indices")
    return _checked(data, np.array(labels, dtype=np.int64), file)


def _checked(pixels: np.ndarray, labels: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray]:
    if labels.size and (labels.min() < 0 or labels.max() >= _N_CLASSES):
        raise DataError(f"{file} has a label outside 0..{_N_CLASSES - 1}: it is not a batch of CIFAR-10")
    return pixels.reshape(-1, *_SHAPE), labels


def _read_class_names(folder: Path) -> tuple[str, ...]:
    file = folder / "batches.meta.txt"
    if not file.is_file():
        return ()
    return tuple(file.read_text(encoding="utf-8").split())

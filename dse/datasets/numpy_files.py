"""NumPy files: one `.npz`, or a folder of `.npy` files, with images and labels under customary names.

Two parts: `x_train, y_train, x_test, y_test` (as Keras writes), or `train_images, train_labels, test_images,
test_labels` (as MedMNIST does). One part: `images, labels` or `x, y`. Files are read with `allow_pickle=False`; `.npy`
files are memory-mapped. Layouts and types are those of `images_from_array` and `labels_from_array`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from dse.datasets.dataset import Dataset, count_classes, part_from_arrays
from dse.errors import DataError

# names of (training images, training labels), (test images, test labels)
_TWO_PARTS = (
    (("x_train", "y_train"), ("x_test", "y_test")),
    (("train_images", "train_labels"), ("test_images", "test_labels")),
)
_ONE_PART = (("images", "labels"), ("x", "y"))
_EXPECTED = "x_train, y_train, x_test, y_test; train_images, train_labels, ...; images, labels; or x, y"


def is_numpy_place(path: Path) -> bool:
    """Whether the path is a `.npz` file, or a folder with one `.npz` file or with `.npy` files."""
    if path.is_file():
        return path.suffix == ".npz"
    return path.is_dir() and (len(list(path.glob("*.npz"))) == 1 or any(path.glob("*.npy")))


def read_numpy(path: Path) -> Dataset:
    """Dataset of a `.npz` file, or of a folder with one `.npz` file or with `.npy` files."""
    if path.is_dir() and not any(path.glob("*.npy")):
        path = next(path.glob("*.npz"))
    arrays = _read_folder(path) if path.is_dir() else _read_npz(path)
    train_names, test_names = _choose_names(arrays, path)
    test = part_from_arrays(*(arrays[name] for name in test_names), where=f"{path}, {test_names[0]}")
    train = None
    if train_names is not None:
        train = part_from_arrays(*(arrays[name] for name in train_names), where=f"{path}, {train_names[0]}")
    return Dataset(
        name="numpy",
        train=train,
        test=test,
        n_classes=count_classes(train, test),
        found=(*(train_names or ()), *test_names),
    )


def _choose_names(arrays: Mapping[str, np.ndarray], path: Path) -> tuple[tuple[str, str] | None, tuple[str, str]]:
    for train, test in _TWO_PARTS:
        if arrays.keys() >= {*test}:
            return (train if arrays.keys() >= {*train} else None), test
    for names in _ONE_PART:
        if arrays.keys() >= {*names}:
            return None, names
    raise DataError(f"{path} has the arrays {', '.join(sorted(arrays)) or 'none'}; expected {_EXPECTED}")


def _read_folder(folder: Path) -> dict[str, np.ndarray]:
    files = sorted(folder.glob("*.npy"))
    return {file.stem: _guarded(lambda f=file: np.load(f, mmap_mode="r", allow_pickle=False), file) for file in files}


def _read_npz(file: Path) -> dict[str, np.ndarray]:
    def read() -> dict[str, np.ndarray]:
        # NumPy leaves a file that it cannot read open, so it gets an open one
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    return _guarded(read, file)


def _guarded(read: Callable, file: Path):
    try:
        return read()
    except Exception as failure:  # a damaged header or archive raises almost anything
        raise DataError(
            f"{file} cannot be read ({failure}): expected arrays of numbers as numpy.save or numpy.savez write them"
        ) from failure

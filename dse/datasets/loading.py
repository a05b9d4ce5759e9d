"""Datasets by name: where the files are, which reader takes them, and the splits."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dse.datasets.cifar10 import is_cifar10_folder, read_cifar10
from dse.datasets.dataset import Dataset
from dse.datasets.digits import read_digits
from dse.datasets.entry_point import read_entry_point
from dse.datasets.image_folder import is_image_place, is_tiny_imagenet_place, read_image_folder, read_tiny_imagenet
from dse.datasets.mnist import is_mnist_folder, read_mnist
from dse.datasets.numpy_files import is_numpy_place, read_numpy
from dse.datasets.splits import Splits, make_splits
from dse.entry_points import is_entry_point
from dse.errors import DataError, unknown_name


@dataclass(frozen=True)
class _Format:
    """A dataset kept in files: how to tell its place, how to read it, and customary places below a data folder."""

    is_at: Callable[[Path], bool]
    read: Callable[[Path], Dataset]
    places: tuple[str, ...]
    expected: str


_FORMATS = {
    "cifar10": _Format(
        is_cifar10_folder,
        read_cifar10,
        ("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py", "cifar10/cifar-10-batches-bin"),
        "data_batch_1.bin ... test_batch.bin, or the batches of the Python format",
    ),
    "mnist": _Format(
        is_mnist_folder,
        read_mnist,
        ("mnist", "MNIST/raw", "mnist/MNIST/raw"),
        "train-images-idx3-ubyte ... t10k-labels-idx1-ubyte, plain or .gz",
    ),
    "tinyimagenet": _Format(
        is_tiny_imagenet_place,
        read_tiny_imagenet,
        ("tinyimagenet", "tiny-imagenet-200", "tinyimagenet/tiny-imagenet-200"),
        "wnids.txt, train/ and val/, or one .tar of them",
    ),
    "image_folder": _Format(is_image_place, read_image_folder, ("images",), "a folder per class, or a .tar of them"),
    "numpy": _Format(is_numpy_place, read_numpy, ("numpy",), "one .npz file, or .npy files"),
}


def dataset_names() -> list[str]:
    """Names that `read_dataset` and `load_splits` know, besides `MODULE:FUNCTION`.

    >>> "cifar10" in dataset_names()
    True
    """
    return sorted([*_FORMATS, "digits"])


def load_splits(
    name: str,
    *,
    data_dir: Path | str | None = None,
    n_calibration: int = 512,
    n_search: int | None = None,
    n_report: int | None = None,
    seed: int = 0,
    preprocessing: str | None = None,
) -> Splits:
    """Calibration, search and report splits of a dataset: disjoint, class-balanced, fixed by the seed.

    Args:
        name: one of `dataset_names()`, or `MODULE:FUNCTION` (see `dse.datasets.entry_point`).
        data_dir: the dataset's folder or file, or a folder above it. Default: the environment variable `DSE_DATA`.
        n_calibration: images for calibration, from the training part; fewer where there are not so many.
        n_search: images for the search, at most half of the test part. Default: that half.
        n_report: likewise for the report, from the other half.
        seed: decides which images go where; a smaller split is a prefix of a larger one with the same seed.
        preprocessing: `unit`, `raw`, `centered`, `imagenet` or `mean=..;std=..`. Default: the dataset's customary one.

    >>> splits = load_splits("digits", n_search=100)
    >>> splits.search.batch(0, 2).shape, splits.search.n_images
    (torch.Size([2, 1, 8, 8]), 100)
    """
    return make_splits(
        read_dataset(name, data_dir=data_dir),
        n_calibration=n_calibration,
        n_search=n_search,
        n_report=n_report,
        seed=seed,
        preprocessing=preprocessing,
    )


def read_dataset(name: str, *, data_dir: Path | str | None = None) -> Dataset:
    """A dataset by name; the arguments are those of `load_splits`."""
    if is_entry_point(name):
        return read_entry_point(name, data_dir=None if data_dir is None else Path(data_dir))
    if name == "digits":
        return read_digits()
    if name not in _FORMATS:
        raise DataError(unknown_name("dataset", name, dataset_names()) + ", or MODULE:FUNCTION")
    return _FORMATS[name].read(_find(name, data_dir))


def _find(name: str, data_dir: Path | str | None) -> Path:
    """Folder or file of a dataset: `data_dir` itself, or a customary place below it."""
    known = _FORMATS[name]
    root = data_dir if data_dir is not None else os.environ.get("DSE_DATA")
    if root is None:
        raise DataError(
            f"dataset {name!r} needs its files: pass data_dir (--data DIR), a folder with {known.expected}, "
            f"or set DSE_DATA to a folder that holds {known.places[0]}/"
        )
    root = Path(root).expanduser()
    if not root.exists():
        raise DataError(f"data folder {root} does not exist: expected a folder with {known.expected}")
    for place in (root, *(root / below for below in known.places)):
        if known.is_at(place):
            return place
    raise DataError(f"no {name} in {root}, nor in its {', '.join(known.places)}: expected {known.expected}")

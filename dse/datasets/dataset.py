"""What every reader returns: a `Dataset` of one or two labeled parts whose images are read when asked for.

Images stay where they are (memory-mapped file, archive, folder) until a split picks its indices, and then as uint8.
So the memory used depends on the images in use, not on the size of the dataset.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from dse.errors import DataError


class ImageSource(Protocol):
    """Images addressed by position."""

    n_images: int
    shape: tuple[int, int, int]  # C, H, W

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Images at `indices` (int64 [n]): uint8 or float32 [n, C, H, W]."""
        ...


class ArraySource:
    """Images in memory or in memory-mapped files, as blocks that follow each other."""

    def __init__(self, blocks: Sequence[np.ndarray]):
        """Take blocks of uint8 or float32 [n_b, C, H, W], at least one, all of the same C, H, W and dtype."""
        self._blocks = tuple(blocks)
        self._ends = np.cumsum([len(block) for block in self._blocks])
        self.n_images = int(self._ends[-1])
        self.shape = tuple(int(size) for size in self._blocks[0].shape[1:])

    def read(self, indices: np.ndarray) -> np.ndarray:
        """Images at `indices`, copied: uint8 or float32 [n, C, H, W]."""
        images = np.empty((len(indices), *self.shape), dtype=self._blocks[0].dtype)
        block_of = np.searchsorted(self._ends, indices, side="right")
        for b, block in enumerate(self._blocks):
            chosen = block_of == b
            images[chosen] = block[indices[chosen] - (self._ends[b] - len(block))]
        return images


@dataclass(frozen=True, eq=False)
class Part:
    """Labeled images: `labels` int64 [n], each in 0..n_classes-1."""

    images: ImageSource
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset as read.

    Attributes:
        name: as in `load_splits`.
        test: images that no network here has been trained on, or the only part there is.
        n_classes: labels are 0..n_classes-1.
        train: images that networks may have seen, for calibration; None where the data has one part only.
        preprocessing: what is customary for it, where the caller asks for nothing else.
        class_names: one per class, or empty where unknown.
        found: files it came from, for logs.
    """

    name: str
    test: Part
    n_classes: int
    train: Part | None = None
    preprocessing: str = "unit"
    class_names: tuple[str, ...] = ()
    found: tuple[str, ...] = ()

    def __post_init__(self):
        """Check every part: not empty, one label an image, labels in range, one image shape."""
        parts = {"test": self.test} if self.train is None else {"train": self.train, "test": self.test}
        for kind, part in parts.items():
            check_part(part, self.n_classes, f"{self.name}, {kind} part")
        if self.train is not None and self.train.images.shape != self.test.images.shape:
            raise DataError(
                f"{self.name}: training images have shape {self.train.images.shape} and test images "
                f"{self.test.images.shape}: expected one shape [C, H, W]"
            )


def check_part(part: Part, n_classes: int, where: str) -> None:
    """Raise `DataError` for an empty part, a label count that differs, or a label out of range."""
    n = part.images.n_images
    if n == 0 or len(part.labels) == 0:
        raise DataError(f"{where}: there are no images; expected at least one")
    if n != len(part.labels):
        raise DataError(f"{where}: {n} images but {len(part.labels)} labels; expected one label an image")
    low, high = int(part.labels.min()), int(part.labels.max())
    if low < 0 or high >= n_classes:
        bad = low if low < 0 else high
        raise DataError(f"{where}: label {bad} is outside 0..{n_classes - 1}; expected class indices from 0")


def images_from_array(array: object, *, where: str = "images") -> np.ndarray:
    """Images in the one layout used here.

    Args:
        array: numbers of shape [n, C, H, W], [n, H, W] (grey), or [n, H, W, C] with C of 1 or 3. uint8, other
            integers in 0..255, or finite floats (kept as they are); an array or a tensor.
        where: what to call it in messages.

    Returns:
        uint8 or float32 [n, C, H, W].

    >>> images_from_array(np.zeros((5, 28, 28), dtype=np.uint8)).shape
    (5, 1, 28, 28)
    """
    images = _as_array(array)
    shape = images.shape
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4:
        raise DataError(f"{where}: shape {shape}; expected [n, C, H, W], [n, H, W] or [n, H, W, 1 or 3]")
    if images.size == 0:
        raise DataError(f"{where}: shape {shape} holds no pixels; expected at least one image")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind in "iu":
        if images.min() < 0 or images.max() > 255:
            raise DataError(f"{where}: integers in {images.min()}..{images.max()}; expected 0..255, or floats")
        return images.astype(np.uint8)
    if images.dtype.kind != "f":
        raise DataError(f"{where}: values of type {images.dtype}; expected uint8 or floats")
    images = images.astype(np.float32, copy=False)
    if not np.isfinite(images).all():
        raise DataError(f"{where}: there are NaN or infinite pixels; expected finite values")
    return images


def labels_from_array(array: object, *, where: str = "labels") -> np.ndarray:
    """Class indices, int64 [n], from integers of shape [n] or [n, 1]."""
    labels = _as_array(array)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(
            f"{where}: shape {labels.shape}, type {labels.dtype}; expected integer class indices of shape [n] "
            "(for one-hot rows give labels.argmax(1))"
        )
    return labels.astype(np.int64)


def part_from_arrays(images: object, labels: object, *, where: str) -> Part:
    """A part from a user's arrays or tensors; see `images_from_array` and `labels_from_array`."""
    images = images_from_array(images, where=f"{where} images")
    return Part(ArraySource([images]), labels_from_array(labels, where=f"{where} labels"))


def count_classes(*parts: Part | None) -> int:
    """Number of classes: the largest label plus one, 0 without labels."""
    return 1 + max((int(part.labels.max()) for part in parts if part is not None and len(part.labels)), default=-1)


def _as_array(array: object) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        return array.detach().cpu().numpy()
    return np.asarray(array)

"""Calibration, search and report splits: disjoint, class-balanced, with fixed indices.

Networks have seen the training images, so these only calibrate; one half of the test images steers the search and the
other half, touched once at the end, gives the reported accuracy. Data with one part only is cut in three.

Within a split the images are ordered so that every prefix has the class frequencies of the whole: the k-th image of a
class with n_c images, in random order, comes at position (k + 1/2) / n_c. A smaller split is thus a prefix of a larger.
"""

import hashlib
import logging
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch

from dse.datasets.dataset import ArraySource, Dataset, Part, check_part, images_from_array, labels_from_array
from dse.datasets.preprocessing import Preprocessing
from dse.errors import DataError

_log = logging.getLogger("dse")


@dataclass(frozen=True, eq=False)
class Split:
    """Images of one purpose, kept as stored (uint8 where the data is) and preprocessed batch by batch.

    Attributes:
        stored: uint8 or float32 [n, C, H, W].
        labels: int64 tensor [n].
        n_classes: labels are 0..n_classes-1.
        indices: int64 [n], positions in the part of the dataset that they came from.
        preprocessing: the map from stored pixels to network input.
        part: name of that part, "train", "test" or "arrays".
    """

    stored: np.ndarray = field(repr=False)
    labels: torch.Tensor = field(repr=False)
    n_classes: int
    indices: np.ndarray = field(repr=False)
    preprocessing: Preprocessing
    part: str = "arrays"

    @classmethod
    def from_arrays(
        cls, images: object, labels: object, *, n_classes: int | None = None, preprocessing: str = "unit"
    ) -> "Split":
        """A split of a user's own arrays or tensors, in their order.

        Args:
            images: float [n, C, H, W] as the network takes them, or uint8 to be preprocessed.
            labels: integer class indices [n].
            n_classes: defaults to the largest label plus one.
            preprocessing: see `Preprocessing.parse`; `unit` leaves floats as they are.
        """
        stored, classes = images_from_array(images), labels_from_array(labels)
        n_classes = n_classes if n_classes is not None else 1 + int(classes.max(initial=-1))
        check_part(Part(ArraySource([stored]), classes), n_classes, "split from arrays")
        steps = Preprocessing.parse(preprocessing)
        steps.check_channels(stored.shape[1])
        return cls(stored, torch.from_numpy(classes), n_classes, np.arange(len(classes)), steps)

    @property
    def n_images(self) -> int:
        """Number of images n."""
        return len(self.stored)

    def __len__(self) -> int:
        """Number of images n."""
        return len(self.stored)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape (C, H, W) of one image."""
        return tuple(self.stored.shape[1:])

    def batch(self, start: int, stop: int) -> torch.Tensor:
        """Images `start..stop-1` ready for the network: float32 [stop - start, C, H, W], cut at the end."""
        return self.preprocessing.apply(self.stored[start:stop])

    @property
    def images(self) -> torch.Tensor:
        """All images ready for the network: float32 [n, C, H, W], computed anew at each call; prefer `batch`."""
        return self.batch(0, self.n_images)

    def subset(self, n: int) -> "Split":
        """The first `n` images; in splits made by `make_splits` they have the class frequencies of the whole."""
        if not 1 <= n <= self.n_images:
            raise DataError(f"a subset of {n} images was asked for; expected 1..{self.n_images}")
        return replace(self, stored=self.stored[:n], labels=self.labels[:n], indices=self.indices[:n])

    @cached_property
    def fingerprint(self) -> str:
        """sha256, hexadecimal, of stored pixels, labels and preprocessing."""
        digest = hashlib.sha256()
        digest.update(f"{self.stored.dtype.str}{self.stored.shape}{self.preprocessing}".encode())
        digest.update(np.ascontiguousarray(self.stored))
        digest.update(self.labels.numpy().astype("<i8"))
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Splits:
    """The three disjoint splits of a dataset: calibrate on one, search on one, report on one."""

    calibration: Split
    search: Split
    report: Split
    found: tuple[str, ...] = ()  # files that the dataset came from

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.search.n_classes

    @property
    def fingerprint(self) -> str:
        """sha256, hexadecimal, of the three fingerprints."""
        return hashlib.sha256(
            "".join(split.fingerprint for split in (self.calibration, self.search, self.report)).encode()
        ).hexdigest()


def balanced_order(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Random order whose prefixes keep the class frequencies.

    Args:
        labels: int64 [n].
        rng: decides the order within each class, and which class comes first.

    Returns:
        The order, int64 [n], and the rank of each of its entries within the class, int64 [n].
    """
    rank = np.empty(len(labels), dtype=np.int64)
    position = np.empty(len(labels), dtype=np.float64)
    tie = np.empty(len(labels), dtype=np.float64)
    for c in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == c))
        rank[members] = np.arange(len(members))
        position[members] = (rank[members] + 0.5) / len(members)
        tie[members] = rng.random()
    order = np.lexsort((tie, position))
    return order, rank[order]


def balanced_halves(labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Two disjoint halves of every class (int64 each), in balanced order; odd classes favor one half in turn."""
    order, rank = balanced_order(labels, rng)
    is_second = (rank + labels[order]) % 2 == 1
    return order[~is_second], order[is_second]


def make_splits(
    dataset: Dataset,
    *,
    n_calibration: int = 512,
    n_search: int | None = None,
    n_report: int | None = None,
    seed: int = 0,
    preprocessing: str | None = None,
) -> Splits:
    """Cut a dataset into calibration, search and report splits; the arguments are those of `load_splits`."""
    steps = Preprocessing.parse(dataset.preprocessing if preprocessing is None else preprocessing)
    steps.check_channels(dataset.test.images.shape[0])
    calibration_rng, test_rng = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(2))
    if n_calibration < 1:
        raise DataError(f"n_calibration is {n_calibration}; expected at least 1")
    if dataset.train is not None:
        calibration, _ = balanced_order(dataset.train.labels, calibration_rng)
        calibration, source = calibration[:n_calibration], ("train", dataset.train)
        search, report = balanced_halves(dataset.test.labels, test_rng)
    else:
        calibration, search, report = _thirds(dataset, n_calibration, test_rng)
        source = ("test", dataset.test)
    if len(calibration) < n_calibration:
        _log.info("%s: %d calibration images instead of %d", dataset.name, len(calibration), n_calibration)

    def pick(name: str, part: Part, indices: np.ndarray) -> Split:
        labels = torch.from_numpy(part.labels[indices])
        return Split(part.images.read(indices), labels, dataset.n_classes, indices, steps, name)

    return Splits(
        pick(*source, calibration),
        pick("test", dataset.test, _first(search, n_search, "search (--images)", dataset)),
        pick("test", dataset.test, _first(report, n_report, "report (--report-images)", dataset)),
        dataset.found,
    )


def _thirds(dataset: Dataset, n_calibration: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    order, _ = balanced_order(dataset.test.labels, rng)
    if len(order) < 3:
        raise DataError(f"{dataset.name}: {len(order)} images cannot make three disjoint splits; expected 3 or more")
    n = min(n_calibration, len(order) // 3)
    search, report = balanced_halves(dataset.test.labels[order[n:]], rng)
    return order[:n], order[n:][search], order[n:][report]


def _first(indices: np.ndarray, n: int | None, name: str, dataset: Dataset) -> np.ndarray:
    if len(indices) == 0:
        raise DataError(f"{dataset.name}: no images are left for the split; expected at least two test images")
    if n is None:
        return indices
    if not 1 <= n <= len(indices):
        raise DataError(
            f"{n} images for the {name} split: expected 1..{len(indices)}, half of the test images of {dataset.name}"
        )
    return indices[:n]

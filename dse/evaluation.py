"""Assignments in, accuracies out: bit-exact inference of an integer network through the multipliers' tables.

Batches of images are the outer loop. Within one, assignments share what their common first layers compute (see
`dse.networks.prefixes`); memory depends on neither number.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch

from dse.datasets import Split
from dse.errors import ConfigError, DataError, ShapeError
from dse.multipliers.library import Library
from dse.networks.convert import IntegerNetwork
from dse.networks.layers import LayerInfo
from dse.networks.prefixes import walk_prefixes
from dse.networks.segments import SegmentedNetwork
from dse.recovery.neurons import NeuronBank
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.pruned import PrunedBank
from dse.simulation.devices import CPU, find_device

Bank = OperatorBank | NeuronBank | PrunedBank

SIMULATION_VERSION = 1
"""Part of every fingerprint; raised when the definition of the simulated arithmetic changes."""

BATCH_BYTES = {"cpu": 48 * 2**20, "cuda": 2**30}
"""Of the largest layer: kernels are faster on more images at once, on CPUs up to what no longer fits into caches."""

MAX_BATCH = {"cpu": 256, "cuda": 4096}


class Evaluator:
    """Measures assignments on one split. Deterministic; equal fingerprints give equal accuracies.

    Args:
        bank: the network's operators for every multiplier of a searchable library, or for every choice of neurons or
            of sparsity.
        split: labeled images.
        batch_size: images simulated at once; memory grows with it, results do not depend on it. By default as many as
            suit the device of the bank.
        top: an image is classified correctly where its label is among so many best classes, see `hits`.
    """

    def __init__(self, bank: Bank, split: Split, *, batch_size: int | None = None, top: int = 1):
        _check_labels(split, bank.network.n_classes)
        _check_top(top, bank.network.n_classes)
        self._bank, self._split, self._top = bank, split, top
        self._batch_size = batch_size or default_batch_size(bank.network.layers, bank.device)
        self._segmented: SegmentedNetwork | None = None

    def __getstate__(self) -> dict:
        """Without the segments: code made anew where it is needed."""
        return {**self.__dict__, "_segmented": None}

    @property
    def bank(self) -> Bank:
        """The operators, with the calibration codes they were fitted on."""
        return self._bank

    @property
    def layers(self) -> tuple[LayerInfo, ...]:
        """The layers that take a multiplier, in order of execution."""
        return self._bank.network.layers

    @property
    def n_layers(self) -> int:
        """Length of an assignment."""
        return self._bank.network.n_layers

    @property
    def n_multipliers(self) -> int:
        """Assignments hold indices below this."""
        return len(self._bank.library)

    @property
    def split(self) -> Split:
        """The images that accuracies are measured on."""
        return self._split

    @property
    def n_images(self) -> int:
        """How many these are."""
        return self._split.n_images

    @property
    def fingerprint(self) -> str:
        """sha256, hexadecimal, of network, quantization, library, recovery, data and what counts as correct."""
        bank = self._bank
        parts = (
            str(SIMULATION_VERSION),
            bank.network.fingerprint(),
            bank.library.fingerprint,
            repr(bank.recovery),
            bank.calibration_fingerprint,
            self._split.fingerprint,
            *([] if self._top == 1 else [f"top {self._top}"]),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def with_split(self, split: Split) -> "Evaluator":
        """The same network and operators on other images."""
        other = Evaluator(self._bank, split, batch_size=self._batch_size, top=self._top)
        other._segmented = self._segments()
        return other

    def with_bank(self, bank: Bank) -> "Evaluator":
        """The same images through other operators of the same network."""
        other = Evaluator(bank, self._split, batch_size=self._batch_size, top=self._top)
        other._segmented = self._segmented
        return other

    def __call__(self, assignments: np.ndarray) -> np.ndarray:
        """Share of images classified correctly, float64 `[n]`, for `assignments` int64 `[n, n_layers]`."""
        return self.correct(assignments, 0, self.n_images).mean(axis=1)

    def correct(self, assignments: np.ndarray, start: int, stop: int) -> np.ndarray:
        """Whether images `start..stop-1` are classified correctly, bool `[n, stop - start]`.

        Args:
            assignments: int64 `[n, n_layers]`.
            start: first image, from 0.
            stop: one past the last image, at most `n_images`.
        """
        parts = self.correct_in_parts(assignments, start, stop)
        outcomes = np.empty((len(assignments), stop - start), dtype=np.bool_)
        n_done = [0] * len(outcomes)
        for row, part in parts:
            outcomes[row, n_done[row] : n_done[row] + len(part)] = part
            n_done[row] += len(part)
        return outcomes

    def correct_in_parts(self, assignments: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        """What `correct` returns, piece by piece as it is measured; arguments as there.

        Yields:
            An assignment's row and the outcomes of its next few images, bool. All assignments go through the same few
            images before the next ones come.
        """
        assignments = self._checked(assignments)
        if not 0 <= start <= stop <= self.n_images:
            raise ShapeError(f"images {start}..{stop} were asked for: expected a range within 0..{self.n_images}")
        return self._parts(assignments.astype(np.int64), start, stop)

    def _parts(self, assignments: np.ndarray, start: int, stop: int) -> Iterator[tuple[int, np.ndarray]]:
        distinct, which = np.unique(assignments, axis=0, return_inverse=True)
        rows = [np.flatnonzero(which.ravel() == i).tolist() for i in range(len(distinct))]
        segments = self._segments()
        for begin, end in even_batches(start, stop, self._batch_size):
            images, labels = self._split.batch(begin, end), self._split.labels[begin:end]
            all_logits = walk_prefixes(segments, distinct, images, use_operators=self._use_operators)
            for equal, logits in zip(rows, all_logits, strict=True):
                found = hits(logits.cpu(), labels, top=self._top).numpy()
                yield from ((row, found) for row in equal)

    def _segments(self) -> SegmentedNetwork:
        """Cut once: that compiles code for every layer."""
        if self._segmented is None:
            self._segmented = SegmentedNetwork(self._bank.moved_network)
        return self._segmented

    def _use_operators(self, assignment: np.ndarray, layers: Sequence[int]) -> None:
        for layer in layers:
            operator = self._bank.operator(layer, int(assignment[layer]))
            self._bank.moved_network.integer_layers[layer].operator = operator

    def _checked(self, assignments: np.ndarray) -> np.ndarray:
        assignments = np.asarray(assignments)
        if assignments.ndim != 2 or assignments.shape[1] != self.n_layers or assignments.dtype.kind not in "iu":
            raise ShapeError(
                f"expected integer assignments [n, {self.n_layers}], got {assignments.dtype} {list(assignments.shape)}"
            )
        if assignments.size and not (assignments.min() >= 0 and assignments.max() < self.n_multipliers):
            raise ShapeError(f"assignments must hold multiplier indices in 0..{self.n_multipliers - 1}")
        return assignments


def _check_labels(split: Split, n_classes: int) -> None:
    largest = int(split.labels.max()) if len(split.labels) else 0
    if largest >= n_classes:
        raise DataError(
            f"label {largest} has no output: the network has {n_classes} outputs, expected labels in "
            f"0..{n_classes - 1}. Check that network and dataset belong together"
        )


def _check_top(top: int, n_classes: int) -> None:
    if not 1 <= top < max(n_classes, 2):
        raise ConfigError(
            f"top is {top}: expected 1 to {max(n_classes, 2) - 1}, fewer than the {n_classes} classes of the network"
        )


def hits(logits: torch.Tensor, labels: torch.Tensor, *, top: int = 1) -> torch.Tensor:
    """Whether the label is among the `top` best classes, bool `[n]`; of equal logits the first class is the best.

    Args:
        logits: float `[n, n_classes]`; an image with NaN among them is no hit, unless it is by `argmax` with `top` 1.
        labels: int64 `[n]`.
        top: at least 1.
    """
    return logits.argmax(1) == labels if top == 1 else ranks(logits, labels) < top


def ranks(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """How many classes are better than the label, int64 `[n]`; of equal logits the first class is the best.

    Args:
        logits: float `[n, n_classes]`; with NaN among them the label is the last.
        labels: int64 `[n]`.
    """
    own = logits.gather(1, labels[:, None])
    is_before = torch.arange(logits.shape[1]) < labels[:, None]
    n_better = ((logits > own) | ((logits == own) & is_before)).sum(1)
    return torch.where(logits.isnan().any(1), logits.shape[1], n_better)


class Switchable(Protocol):
    """A network with several operating points, one of which runs."""

    n_points: int
    operating_point: int

    def set_operating_point(self, k: int) -> None:
        """Switches to operating point `k`."""

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Logits at the current point."""


def logits_by_point(
    model: Switchable, split: Split, layers: Sequence[LayerInfo], *, device: torch.device = CPU
) -> Iterator[tuple[int, slice, torch.Tensor]]:
    """Every operating point, every few images of `split`, and their logits; at the end the point is as it was.

    Args:
        model: switched on the way.
        split: images.
        layers: of the network; their size decides how many images are run at once.
        device: where it runs, which decides that too.
    """
    before, batch_size = model.operating_point, default_batch_size(layers, device)
    try:
        for k in range(model.n_points):
            model.set_operating_point(k)
            for start, stop in even_batches(0, split.n_images, batch_size):
                yield k, slice(start, stop), model(split.batch(start, stop))
    finally:
        model.set_operating_point(before)


def default_batch_size(layers: Sequence[LayerInfo], device: torch.device = CPU) -> int:
    """Images whose largest layer, as float32 outputs and expanded codes, takes about `BATCH_BYTES`."""
    bytes_per_image = max(math.prod(layer.output_shape) for layer in layers) * 24
    return int(np.clip(BATCH_BYTES[device.type] // bytes_per_image, 1, MAX_BATCH[device.type]))


def even_batches(start: int, stop: int, batch_size: int) -> list[tuple[int, int]]:
    """Ranges of at most `batch_size` that make up `start..stop-1`, as equal as can be: a small last one would be slow.

    >>> even_batches(0, 10, 4)
    [(0, 3), (3, 6), (6, 10)]
    """
    n_batches = -(-(stop - start) // batch_size)
    edges = [start + i * (stop - start) // n_batches for i in range(n_batches)] + [stop]
    return list(zip(edges[:-1], edges[1:], strict=True))


def build_evaluator(
    network: IntegerNetwork,
    library: Library,
    split: Split,
    *,
    calibration: Split,
    recovery: Recovery | None = None,
    backend: str = "auto",
    device: str = "auto",
    batch_size: int | None = None,
    top: int = 1,
) -> Evaluator:
    """An `Evaluator` of `network` on `split`.

    Args:
        network: an integer network whose scheme fits the library.
        library: searchable (one signedness, an exact member); assignments index it.
        split: images that accuracies are measured on.
        calibration: other images, that corrections are fitted on.
        recovery: what is given back without training; folding only by default.
        backend: "auto", or another of `dse.simulation.ops.BACKENDS`.
        device: "auto" (a GPU where there is one), "cpu", "cuda" or "cuda:N".
        batch_size: images simulated at once, see `Evaluator`.
        top: best classes that the label may be among, see `Evaluator`.

    Raises:
        ConfigError: a backend or device that is unknown or not here, or `top` of more classes than there are.
    """
    where = find_device(device)
    if backend == "gpu" and where == CPU:
        raise ConfigError("backend 'gpu' needs a GPU, and this evaluation is on the CPU: use backend 'auto'")
    recovery = recovery or Recovery()
    bank = OperatorBank(network, library, calibration, recovery=recovery, backend=backend, device=where)
    return Evaluator(bank, split, batch_size=batch_size, top=top)


def assignment_indices(library: Library, assignments: Sequence[str | Sequence[str]], n_layers: int) -> np.ndarray:
    """Names to indices: int64 `[n, n_layers]`; one name alone stands for all layers.

    Raises:
        MultiplierError: a name that the library does not hold.
        ShapeError: an assignment of another length than the network has layers.
    """
    rows = []
    for assignment in assignments:
        names = [assignment] * n_layers if isinstance(assignment, str) else list(assignment)
        if len(names) != n_layers:
            raise ShapeError(f"an assignment names {len(names)} multipliers, the network has {n_layers} layers")
        rows.append([library.index(name) for name in names])
    return np.array(rows, dtype=np.int64).reshape(len(rows), n_layers)

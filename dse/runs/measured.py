"""Designs with what was found about them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.cost.accelerators import Designs


@dataclass(frozen=True, eq=False)
class Measured:
    """Designs with what was found.

    Attributes:
        designs: n designs.
        energy_rel: float64 [n].
        accuracy: float64 [n] in [0, 1]; NaN where the evaluation failed. Of a design that lost a race: an estimate
            below the accuracy of its rival, good enough to steer a search and for nothing else.
        n_images: images measured for it, int64 [n].
        is_complete: measured on all images, bool [n]; False where it failed.
        memory_rel: of the weights, float64 [n]; None where it is no objective.
    """

    designs: Designs
    energy_rel: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    n_images: NDArray[np.int64]
    is_complete: NDArray[np.bool_]
    memory_rel: NDArray[np.float64] | None = None

    @property
    def costs(self) -> NDArray[np.float64]:
        """What is known of designs before they are measured, float64 [n, 1 or 2]: energy, and memory where it is an
        objective."""
        return np.column_stack([self.energy_rel] if self.memory_rel is None else [self.energy_rel, self.memory_rel])

    @property
    def keys(self) -> list[tuple[int, ...]]:
        """The assignments, by which evaluations are found."""
        return [tuple(row) for row in self.designs.assignments.tolist()]

    def take(self, rows: NDArray[np.int64]) -> "Measured":
        """Some of the designs, in the order of `rows`, int64 [k]."""
        columns = (self.energy_rel, self.accuracy, self.n_images, self.is_complete, self.memory_rel)
        return Measured(_take(self.designs, rows), *(None if column is None else column[rows] for column in columns))


def join(batches: Sequence[Measured]) -> Measured:
    """The designs of all batches in their order, each once, as it was found first."""
    designs = Designs(
        _concatenate([b.designs.assignments for b in batches]),
        _concatenate([b.designs.tiles for b in batches]),
        _concatenate([b.designs.tile_multipliers for b in batches]),
    )
    key = designs.assignments if designs.tiles is None else np.hstack([designs.assignments, designs.tiles])
    _, first = np.unique(key, axis=0, return_index=True)
    columns = ("energy_rel", "accuracy", "n_images", "is_complete", "memory_rel")
    whole = Measured(designs, *(_concatenate([getattr(b, name) for b in batches]) for name in columns))
    return whole.take(np.sort(first))


def _concatenate(arrays: Sequence[NDArray | None]) -> NDArray | None:
    return None if any(a is None for a in arrays) else np.concatenate(arrays)


def _take(designs: Designs, rows: NDArray[np.int64]) -> Designs:
    return Designs(
        designs.assignments[rows],
        None if designs.tiles is None else designs.tiles[rows],
        None if designs.tile_multipliers is None else designs.tile_multipliers[rows],
    )

"""The search space of layers with a multiplier and a sparsity level each.

A genome holds the multipliers of all layers, then their levels. Both vary by themselves: a step changes one of them to
the next cheaper or dearer, sparser or denser one, and two parents exchange multipliers and levels apart. What a genome
means is one choice a layer, as other spaces' genomes mean one multiplier.
"""

from collections.abc import Iterator
from itertools import islice, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.cost.accelerators import Designs
from dse.errors import ShapeError
from dse.search.space import ENUMERATION_BATCH, FreeSpace, Space, checked_genomes


class SparseSpace:
    """Any multiplier at any level in any layer; see `Space`. `n_multipliers` counts choices.

    Args:
        n_layers: Layers of the network.
        position: The choice of a multiplier and a level, int [n_multipliers, n_levels]; each choice once, from 0.
    """

    def __init__(self, n_layers: int, position: ArrayLike) -> None:
        position = np.asarray(position, dtype=np.int64)
        if position.ndim != 2 or not np.array_equal(np.sort(position, axis=None), np.arange(position.size)):
            raise ShapeError(
                f"`position` has shape {position.shape}: expected [n_multipliers, n_levels], each choice once"
            )
        self._choices: Space = FreeSpace(n_layers, position.size)
        self._position = position
        order = np.argsort(position, axis=None)
        self._multiplier, self._level = np.unravel_index(order, position.shape)
        self.n_layers, self.n_multipliers = n_layers, position.size
        self.n_genes = 2 * n_layers
        self.n_designs = self._choices.n_designs
        self.segments = (slice(0, n_layers), slice(n_layers, 2 * n_layers))
        self.lower = np.zeros(self.n_genes, dtype=np.int64)
        self.upper = np.repeat(np.array(position.shape, dtype=np.int64) - 1, n_layers)

    def decode(self, X: ArrayLike) -> Designs:
        """See `Space`."""
        X = checked_genomes(X, self)
        return Designs(self._position[X[:, : self.n_layers], X[:, self.n_layers :]])

    def canonicalize(self, X: ArrayLike) -> NDArray[np.int64]:
        """See `Space`; different genomes are different designs."""
        return checked_genomes(X, self).copy()

    def encode(self, assignments: ArrayLike) -> NDArray[np.int64]:
        """See `Space`."""
        assignments = self._choices.encode(assignments)
        return np.hstack([self._multiplier[assignments], self._level[assignments]])

    def is_representable(self, assignments: ArrayLike) -> NDArray[np.bool_]:
        """See `Space`; all are."""
        return self._choices.is_representable(assignments)

    def enumerate(self) -> Iterator[NDArray[np.int64]]:
        """See `Space`."""
        n_multipliers, n_levels = self._position.shape
        ranges = [range(n_multipliers)] * self.n_layers + [range(n_levels)] * self.n_layers
        rows = product(*ranges)
        while batch := list(islice(rows, ENUMERATION_BATCH)):
            yield np.array(batch, dtype=np.int64)

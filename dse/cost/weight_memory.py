"""Bytes that a network's weights take in memory, by how sparse each layer is.

A layer is stored as int8, a byte a weight, or in dCSR (see `dse.sparse.dcsr`), whichever is smaller. Biases and scales
are not counted: they are the same in every design.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dse.cost.accelerators import Designs
from dse.cost.energy import check_assignments
from dse.cost.sparse_choices import SparseChoices
from dse.errors import ShapeError


@dataclass(frozen=True, eq=False)
class WeightMemory:
    """Memory of designs whose assignments index `choices`.

    Attributes:
        choices: multipliers and sparsity levels.
        n_weights: of each layer, int64 [n_layers].
        n_nonzero: weights of each layer at each level that are not zero, int64 [n_layers, n_levels].
        dcsr_bytes: of each layer at each level, int64 [n_layers, n_levels].
    """

    choices: SparseChoices
    n_weights: NDArray[np.int64]
    n_nonzero: NDArray[np.int64]
    dcsr_bytes: NDArray[np.int64]

    def __post_init__(self) -> None:
        expected = (len(self.n_weights), len(self.choices.levels_pct))
        for name, found in (("dCSR bytes", self.dcsr_bytes), ("counts of weights", self.n_nonzero)):
            if found.shape != expected:
                raise ShapeError(f"{name} have shape {found.shape}: expected {expected}, layers by levels")

    @property
    def densities(self) -> NDArray[np.float64]:
        """Share of each layer's weights that are not zero at each level, float64 [n_layers, n_levels]."""
        return self.n_nonzero / self.n_weights[:, None]

    @property
    def dense_bytes(self) -> int:
        """Of all layers in int8: what `rel` refers to."""
        return int(self.n_weights.sum())

    @cached_property
    def layer_bytes(self) -> NDArray[np.int64]:
        """Of each layer at each level in the smaller form, int64 [n_layers, n_levels]."""
        return np.minimum(self.dcsr_bytes, self.n_weights[:, None])

    @property
    def layer_rel(self) -> NDArray[np.float64]:
        """What each layer adds to `rel` by its choice, float64 [n_layers, n_choices]."""
        return self.layer_bytes[:, self.choices.level] / self.dense_bytes

    def bytes(self, designs: Designs) -> NDArray[np.int64]:
        """Of all layers, int64 [n]."""
        shape = {"n_layers": len(self.n_weights), "n_multipliers": len(self.choices)}
        assignments = check_assignments(designs.assignments, **shape)
        levels = self.choices.level[assignments]
        return self.layer_bytes[np.arange(len(self.n_weights)), levels].sum(axis=1)

    def rel(self, designs: Designs) -> NDArray[np.float64]:
        """Of all layers, relative to int8 without pruning, float64 [n]; at most 1."""
        return self.bytes(designs) / self.dense_bytes

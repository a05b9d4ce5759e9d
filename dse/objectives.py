"""Objectives with their units and directions: the one place where signs flip.

Optimizers and indicators see minimized columns only. `Objective.to_minimize` makes such a column from measured
values and `Objective.from_minimize` undoes it, so no other module negates an accuracy.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError


@dataclass(frozen=True)
class Objective:
    """One figure of merit.

    Attributes:
        name: Column name, also in `front.csv`.
        unit: Unit of the values, "1" when they have none.
        direction: Whether smaller or larger values are better.
        ideal: Best possible value of a maximized objective; the minimized column is the distance from it.

    >>> accuracy = Objective("accuracy", "1", "maximize", ideal=1.0)
    >>> accuracy.to_minimize([0.75, 1.0])
    array([0.25, 0.  ])
    """

    name: str
    unit: str
    direction: Literal["minimize", "maximize"] = "minimize"
    ideal: float = 0.0

    def __post_init__(self) -> None:
        if self.direction not in ("minimize", "maximize"):
            raise ConfigError(
                f"objective `{self.name}` has direction {self.direction!r}: expected 'minimize' or 'maximize'"
            )

    def to_minimize(self, values: ArrayLike) -> NDArray[np.float64]:
        """Column to minimize, float64 of any shape: `values`, or `ideal - values` when maximized. NaN stays NaN."""
        values = np.asarray(values, dtype=np.float64)
        return values.copy() if self.direction == "minimize" else self.ideal - values

    def from_minimize(self, values: ArrayLike) -> NDArray[np.float64]:
        """Inverse of `to_minimize`, exact up to one rounding of the difference."""
        return self.to_minimize(values)  # v and ideal - v are both their own inverses


ENERGY_REL = Objective("energy_rel", "1", "minimize")
"""Multiplication energy relative to the exact network, 1.0 = exact."""

ACCURACY = Objective("accuracy", "1", "maximize", ideal=1.0)
"""Fraction of correct predictions; its minimized column is the accuracy loss `1 - accuracy`."""

MEMORY_REL = Objective("memory_rel", "1", "minimize")
"""Bytes of the weights relative to int8 without pruning, 1.0 = dense."""

REFERENCE_POINT = (1.1, 1.0)
"""Of the hypervolume: energy_rel and accuracy loss; fixed, so that runs can be compared."""

REFERENCE_MEMORY = 1.1
"""The third coordinate where memory is an objective."""


def reference_point(n_objectives: int) -> tuple[float, ...]:
    """That of two objectives, or of three with memory."""
    return (*REFERENCE_POINT, REFERENCE_MEMORY)[:n_objectives]

"""The hypervolume that designs would add to what was measured, for many designs at once.

Costs are known beforehand (energy; memory where it is an objective), the loss is not: `gains` takes the same designs
with several losses. All coordinates are minimized.
"""

import numpy as np
from numpy.typing import NDArray

from dse.pareto import front_indices


class Staircase:
    """The measured front of one cost and the loss.

    Args:
        costs: float64 [n, 1].
        losses: float64 [n].
        reference: of the hypervolume, cost and loss.
    """

    def __init__(self, costs: NDArray[np.float64], losses: NDArray[np.float64], reference: tuple[float, ...]) -> None:
        self._reference = reference
        self._points = np.column_stack([costs, losses])
        self._sort()

    def add(self, cost: NDArray[np.float64], loss: float) -> None:
        """One more point, `cost` float64 [1]."""
        self._points = np.vstack([self._points, [*cost, loss]])
        self._sort()

    def _sort(self) -> None:
        inside = self._points[(self._points < self._reference).all(axis=1)]
        front = inside[front_indices(inside)] if len(inside) else inside
        self._points = front
        self._left = np.concatenate([[-np.inf], front[:, 0]])
        self._right = np.concatenate([front[:, 0], [self._reference[0]]])
        self._height = np.concatenate([[self._reference[1]], front[:, 1]])

    def gains(self, costs: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Hypervolume added by each point alone, float64 [n], for `costs` [n, 1] and `losses` [n]."""
        width = np.maximum(self._right - np.maximum(self._left, costs), 0.0)
        return (width * np.maximum(self._height - losses[:, None], 0.0)).sum(axis=1)


class Terraces:
    """The measured front of two costs and the loss, cut at every loss on it: between two cuts the costs that are not
    dominated are the same, whatever the loss.

    Args:
        costs: float64 [n, 2].
        losses: float64 [n].
        reference: of the hypervolume, both costs and loss.
    """

    def __init__(self, costs: NDArray[np.float64], losses: NDArray[np.float64], reference: tuple[float, ...]) -> None:
        self._reference = reference
        self._points = np.column_stack([costs, losses])
        self._areas: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
        self._sort()

    def add(self, cost: NDArray[np.float64], loss: float) -> None:
        """One more point, `cost` float64 [2]."""
        self._points = np.vstack([self._points, [*cost, loss]])
        self._areas = None
        self._sort()

    def _sort(self) -> None:
        inside = self._points[(self._points < self._reference).all(axis=1)]
        front = inside[front_indices(inside)] if len(inside) else inside
        self._points = front[np.argsort(front[:, 2], kind="stable")]
        self._cuts = np.concatenate([[-np.inf], self._points[:, 2], [self._reference[2]]])

    def gains(self, costs: NDArray[np.float64], losses: NDArray[np.float64]) -> NDArray[np.float64]:
        """Hypervolume added by each point alone, float64 [n], for `costs` [n, 2] and `losses` [n]."""
        thickness = np.maximum(self._cuts[1:] - np.maximum(self._cuts[:-1], losses[:, None]), 0.0)
        return (thickness * self._free_areas(costs)).sum(axis=1)

    def _free_areas(self, costs: NDArray[np.float64]) -> NDArray[np.float64]:
        """Area between each point's costs and the reference that no point of the front with a loss below the cut
        dominates, float64 [n, n_cuts]; kept, as the same designs are asked for with several losses."""
        if self._areas is None or not np.array_equal(self._areas[0], costs):
            reference = self._reference[:2]
            areas = [
                Staircase(self._points[:k, :1], self._points[:k, 1], reference).gains(costs[:, :1], costs[:, 1])
                for k in range(len(self._points) + 1)
            ]
            self._areas = costs.copy(), np.stack(areas, axis=1)
        return self._areas[1]

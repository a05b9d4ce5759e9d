"""Plain data of a front with three objectives: energy, accuracy and the memory of the weights."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.errors import RunError
from dse.pareto import nondominated
from dse.reporting.data import run_title
from dse.runs.results import Run
from dse.runs.run_collection import front_with_losses

PROJECTIONS = (("energy", "loss"), ("memory", "loss"), ("energy", "memory"))
"""Pairs of axes, the horizontal one first."""

BOUNDS_POINTS = (1.0, 2.0, 5.0)
"""Accuracy that may be lost, percentage points, where energy is seen against memory."""


@dataclass(frozen=True, eq=False)
class Projection:
    """The front as two of its objectives see it.

    Attributes:
        x, y: `energy`, `loss` or `memory`.
        is_front: which points no other beats in both, bool [n_points].
    """

    x: str
    y: str
    is_front: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MemoryFrontData:
    """A front of three objectives, by rising energy; failed points are left out.

    Attributes:
        title: network, data and accelerator.
        points: numbers of the points, as `front.csv` and `dse show --point` count them, int64 [n_points].
        energy_saved_pct: percent of the exact network's multiplication energy, float64 [n_points].
        accuracy_lost_points: on the report images, percentage points, float64 [n_points].
        lost_low, lost_high: ends of its 95 % interval, float64 [n_points].
        memory_bytes: of the weights of all assigned layers, int64 [n_points].
        memory_saved_pct: percent of `dense_bytes`, float64 [n_points].
        is_exact: which point is the exact network with all its weights, bool [n_points].
        dense_bytes: of these weights in int8.
        n_images_report: images behind the intervals.
        projections: one for each of `PROJECTIONS`.
        within: for each of `BOUNDS_POINTS`, the front of energy and memory among the points that lose no more, bool
            [n_points].
    """

    title: str
    points: NDArray[np.int64]
    energy_saved_pct: NDArray[np.float64]
    accuracy_lost_points: NDArray[np.float64]
    lost_low: NDArray[np.float64]
    lost_high: NDArray[np.float64]
    memory_bytes: NDArray[np.int64]
    memory_saved_pct: NDArray[np.float64]
    is_exact: NDArray[np.bool_]
    dense_bytes: int
    n_images_report: int
    projections: tuple[Projection, ...]
    within: tuple[NDArray[np.bool_], ...]


def memory_front_data(run: Run) -> MemoryFrontData:
    """The front of a finished run whose layers may be pruned.

    Raises:
        RunError: it is unfinished, its layers are not pruned, or the exact network failed on the report images.
    """
    if run.sparsity is None:
        raise RunError(
            f"{run.path} does not know the memory of its weights: expected a run with objectives energy, accuracy and "
            "memory, or with --sparsity-levels"
        )
    front = front_with_losses(run)
    exact = front.loc[front["is_exact"], "accuracy"].iloc[0]
    columns = {
        "energy": front["energy_rel"].to_numpy(np.float64),
        "loss": front["accuracy_lost_points"].to_numpy(np.float64),
        "memory": front["memory_rel"].to_numpy(np.float64),
    }
    return MemoryFrontData(
        title=run_title(run.config),
        points=front["point"].to_numpy(np.int64),
        energy_saved_pct=front["energy_saved_pct"].to_numpy(np.float64),
        accuracy_lost_points=columns["loss"],
        lost_low=100 * (exact - front["accuracy_high"].to_numpy(np.float64)),
        lost_high=100 * (exact - front["accuracy_low"].to_numpy(np.float64)),
        memory_bytes=front["memory_bytes"].to_numpy(np.int64),
        memory_saved_pct=front["memory_saved_pct"].to_numpy(np.float64),
        is_exact=front["is_exact"].to_numpy(bool),
        dense_bytes=run.sparsity.dense_bytes,
        n_images_report=int(front["n_images_report"].iloc[0]),
        projections=tuple(
            Projection(x, y, nondominated(np.column_stack([columns[x], columns[y]]))) for x, y in PROJECTIONS
        ),
        within=tuple(_front_within(columns, bound) for bound in BOUNDS_POINTS),
    )


def _front_within(columns: dict[str, NDArray[np.float64]], bound: float) -> NDArray[np.bool_]:
    F = np.column_stack([columns["energy"], columns["memory"]])
    F[columns["loss"] > bound + 1e-9] = np.nan
    return nondominated(F)

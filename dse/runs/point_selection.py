"""Chooses operating points: matched to tolerances, and moved or searched by losses that are simulated.

Without limits the points of `kmeans` and `enumerate` follow from predictions alone. With limits (`max_loss`,
`accuracy_floor`) each point goes as far along the curve of its subset as its measured loss allows, and the best few
subsets are compared by what they then cost. `search` starts from all of these and ends with the cheapest points that
anything measured makes together, so it is never worse than they are.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dse.cost.accelerators import Designs
from dse.errors import ConfigError, RunError
from dse.runs.meter import BudgetSpent, Meter
from dse.search.calibration import calibrate
from dse.search.operating_points import LEAST_GAP, Curve, Matching, cheapest_members, tolerance_steps
from dse.search.point_optimization import OnStage, PointOptimization, Refit
from dse.search.subsets import MAX_SUBSETS, best_subsets, kmeans_subset, n_subsets, useful_multipliers, with_exact

N_FINALISTS = 8
"""Subsets that are compared by what their points cost within the limits."""

_HAIR = 1e-9  # a loss that is exactly at its limit is within it


@dataclass(frozen=True, eq=False)
class Choice:
    """Operating points.

    Attributes:
        assignments: int64 [n_points, n_layers], energies never rising.
        scales: of the tolerances, one a point; None where the points were searched.
    """

    assignments: NDArray[np.int64]
    scales: tuple[float, ...] | None


class Losses:
    """Losses on the search images; every assignment is simulated once.

    Args:
        meter: measures, and finds what was measured before.
        exact: the exact assignment, int64 [n_layers]; measured at once.
        n_images: images that are measured.

    Attributes:
        exact_accuracy: of the exact assignment.
        n_images: see above.
        budget: assignments that may still be asked for; None: any number.
    """

    def __init__(self, meter: Meter, exact: NDArray[np.int64], *, n_images: int) -> None:
        self._meter, self.n_images = meter, n_images
        self.budget: int | None = None
        self._known: dict[tuple[int, ...], float] = {}
        (self.exact_accuracy,) = meter(Designs(exact[None])).accuracy
        self._known[tuple(exact.tolist())] = 0.0

    def __call__(self, assignments: NDArray[np.int64]) -> NDArray[np.float64]:
        """Exact accuracy minus accuracy, float64 [n]; inf where the evaluation failed.

        Raises:
            BudgetSpent: the assignments that the budget allows were measured, the others were not.
        """
        keys = [tuple(row) for row in assignments.tolist()]
        new = [key for key in dict.fromkeys(keys) if key not in self._known]
        affordable = new if self.budget is None else new[: self.budget]
        if affordable:
            accuracy = self._meter(Designs(np.array(affordable, dtype=np.int64))).accuracy
            losses = np.where(np.isnan(accuracy), np.inf, self.exact_accuracy - accuracy)
            self._known.update(zip(affordable, losses.tolist(), strict=True))
        if self.budget is not None:
            self.budget -= len(affordable)
        if len(affordable) < len(new):
            raise BudgetSpent
        return np.array([self._known[key] for key in keys])

    @property
    def measured(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Everything so far: assignments int64 [n, n_layers], losses float64 [n]."""
        return np.array(list(self._known), dtype=np.int64), np.array(list(self._known.values()))


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked for.

    Attributes:
        matching: what multipliers cost and layers bear.
        growth: of the cross-entropy when one layer alone uses a multiplier, float64 [n_layers, n_multipliers].
        n_multipliers: to build, at most.
        scales: of the tolerances, nominal, one a point.
        max_loss: in [0, 1], one a point; None: as the scales give it.
        accuracy_floor: in [0, 1], for all points.
        seed: of clustering and search.
        evaluations: assignments that a search may simulate.
        refit: learns growth from measured losses; None: it stays as predicted.
    """

    matching: Matching
    growth: NDArray[np.float64]
    n_multipliers: int
    scales: tuple[float, ...]
    max_loss: tuple[float, ...] | None
    accuracy_floor: float | None
    seed: int
    evaluations: int
    refit: Refit | None = None

    def limits(self, exact_accuracy: float) -> NDArray[np.float64] | None:
        """Largest loss of each point, float64 [n_points]; None where nothing is limited.

        Raises:
            ConfigError: the exact network itself is below the floor.
        """
        if self.accuracy_floor is None:
            return None if self.max_loss is None else np.array(self.max_loss) + _HAIR
        room = exact_accuracy - self.accuracy_floor
        if room < -_HAIR:
            raise ConfigError(
                f"no operating point can keep the accuracy floor {self.accuracy_floor:g}: the exact network reaches "
                f"{exact_accuracy:.4f} on the search images. Lower --accuracy-floor to at most that"
            )
        own = np.full(len(self.scales), np.inf) if self.max_loss is None else np.array(self.max_loss)
        return np.minimum(own, room) + _HAIR


def choose_points(method: str, task: Task, losses: Losses, *, on_stage: OnStage) -> Choice:
    """Operating points by one of the methods `kmeans`, `enumerate` and `search`."""
    limits = task.limits(losses.exact_accuracy)
    if method == "search":
        return _searched(task, losses, limits, on_stage)
    on_stage("choosing multipliers")
    matched = _by_clusters if method == "kmeans" else _by_enumeration
    return matched(task, losses, limits, on_stage)


def _by_clusters(task: Task, losses: Losses, limits: NDArray[np.float64] | None, on_stage: OnStage) -> Choice:
    """QoS-Nets' subset; where it cannot keep a limit, the exact multiplier joins it."""
    matching = task.matching
    subset = kmeans_subset(matching, task.scales, task.n_multipliers, seed=task.seed)
    if limits is None:
        return Choice(cheapest_members(matching, subset, task.scales), task.scales)
    on_stage("moving the points to their limits")
    (curve,), positions = _within_limits(task, losses, limits, [subset])
    if (positions < 0).any():
        costs = matching.costs(task.scales)
        subset = with_exact(costs, subset, task.n_multipliers, exact=matching.exact_index)
        (curve,), positions = _within_limits(task, losses, limits, [subset])
    return _at(curve, positions[0])


def _by_enumeration(task: Task, losses: Losses, limits: NDArray[np.float64] | None, on_stage: OnStage) -> Choice:
    """The best subset by matching; with limits, of the best few the one whose points cost least within them."""
    if limits is None:
        (subset,) = _finalists(task, task.scales, n_best=1)
        return Choice(cheapest_members(task.matching, subset, task.scales), task.scales)
    return _ranked_finalists(task, losses, limits, on_stage)[0]


def _ranked_finalists(task: Task, losses: Losses, limits: NDArray[np.float64], on_stage: OnStage) -> list[Choice]:
    """The best subsets by matching with their points within the limits, the cheapest first.

    A second round enumerates at the scales that the best of the first round ended at: nominal scales may be far off.
    """
    found: dict[tuple[int, ...], Choice] = {}
    scales = task.scales
    for number in (1, 2):
        on_stage(f"moving the points of the best subsets to their limits, round {number} of 2")
        costs, exact = task.matching.costs(scales), task.matching.exact_index
        subsets = [tuple(subset) for subset in _finalists(task, scales, n_best=N_FINALISTS).tolist()]
        subsets.append(tuple(with_exact(costs, subsets[0], task.n_multipliers, exact=exact)))  # keeps any limit
        subsets = [subset for subset in dict.fromkeys(subsets) if subset not in found]
        if subsets:
            curves, positions = _within_limits(task, losses, limits, subsets)
            for subset, curve, row in zip(subsets, curves, positions, strict=True):
                if (row >= 0).all():
                    found[subset] = _at(curve, row)
        ranked = sorted(found.values(), key=lambda choice: _rank(task.matching.energy(choice.assignments)))
        scales = ranked[0].scales
    return ranked


def _rank(energies: NDArray[np.float64]) -> tuple[bool, float]:
    """Sets whose points tie come last."""
    return bool((np.diff(energies) > _HAIR - LEAST_GAP).any()), float(energies.sum())


def _finalists(task: Task, scales: Sequence[float], *, n_best: int) -> NDArray[np.int64]:
    members = useful_multipliers(task.matching)
    return best_subsets(task.matching.costs(scales), members, task.n_multipliers, n_best=n_best)


def _within_limits(
    task: Task, losses: Losses, limits: NDArray[np.float64], subsets: Sequence[Sequence[int]]
) -> tuple[list[Curve], NDArray[np.int64]]:
    """The curve of every subset, and how far each point may go along it, int64 [n_subsets, n_points]."""
    curves = [tolerance_steps(task.matching, subset) for subset in subsets]
    start = [[curve.position(scale) for scale in task.scales] for curve in curves]
    return curves, calibrate(curves, limits, losses, start=start, only_lower=task.max_loss is None)


def _at(curve: Curve, positions: NDArray[np.int64]) -> Choice:
    return Choice(curve.assignments[positions], tuple(curve.levels[positions].tolist()))


def _searched(task: Task, losses: Losses, limits: NDArray[np.float64] | None, on_stage: OnStage) -> Choice:
    """NSGA-II from all that the other methods suggest; without `max_loss` a point may lose what they let it lose."""
    on_stage("choosing multipliers to start from")
    seeds = [_by_clusters(task, losses, limits, on_stage)]
    fits = n_subsets(task.matching, task.n_multipliers) <= MAX_SUBSETS
    if task.max_loss is None:
        if fits:
            seeds.insert(0, _by_enumeration(task, losses, limits, on_stage))
        reached = losses(seeds[0].assignments)
        task = replace(task, max_loss=rising_limits(reached, 1 / losses.n_images))
        limits = task.limits(losses.exact_accuracy)
    if fits:
        seeds += _ranked_finalists(task, losses, limits, on_stage)
    search = PointOptimization(
        task.matching, task.growth, losses, limits=limits, n_multipliers=task.n_multipliers, seed=task.seed,
        refit=task.refit,
    )  # fmt: skip
    search.remember(*losses.measured)
    losses.budget = task.evaluations
    with suppress(BudgetSpent):
        search.run([choice.assignments for choice in seeds], n_generations=task.evaluations, on_stage=on_stage)
    search.remember(*losses.measured)  # a budget may end in the middle of a batch
    return Choice(search.best(), None)


def rising_limits(losses: NDArray[np.float64], one_image: float) -> tuple[float, ...]:
    """Limits that points of these losses keep: at least 0, and each at least one image above the one before.

    >>> rising_limits(np.array([-0.01, 0.0, 0.0, 0.3]), 0.125)
    (0.0, 0.125, 0.25, 0.375)
    """
    if not np.isfinite(losses).all():
        raise RunError(
            f"operating point {int(np.flatnonzero(~np.isfinite(losses))[0])} cannot be evaluated, so a search has "
            "nothing to keep to: give the points limits with --max-loss"
        )
    limits: list[float] = []
    for loss in losses.tolist():
        limits.append(max(loss, limits[-1] + one_image) if limits else max(loss, 0.0))
    return tuple(limits)

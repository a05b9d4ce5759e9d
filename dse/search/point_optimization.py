"""The search for operating points: NSGA-II on `point_search.PointSpace`, from good designs.

Objectives are the energies of the points, constraints their losses against their limits. It begins with what it is
given, with that moved a step along the curves of its multipliers, and with designs that trade energy against learned
sensitivities, refitted to what was measured; the rest of the population are mutations of these. At the end anything
measured may be combined with anything else, so a search is never worse than what it began with.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ShapeError
from dse.search.calibration import Measure, calibrate
from dse.search.matching import matched_assignments, spread
from dse.search.nsga2 import NSGA2Search
from dse.search.operating_points import Curve, Matching, tolerance_steps, traded_steps
from dse.search.point_search import PointCrossover, PointMutation, PointSpace, best_combination
from dse.search.subsets import MAX_SUBSETS, best_subsets, n_subsets, useful_multipliers

POPULATION_SIZE = 24

N_TRADED = 3
"""Subsets of multipliers of each origin whose trade-off designs are measured in one round before the search begins."""

N_ROUNDS = 3
"""Such rounds, each with sensitivities that the ones before have taught."""

MAX_GROWTH = 2.0
"""Of the cross-entropy, in nats: a network above it guesses."""


class OnStage(Protocol):
    """Told what is going on."""

    def __call__(self, stage: str, detail: str = "") -> None:
        """A stage, and where it stands."""


Refit = Callable[[NDArray[np.int64], NDArray[np.float64]], NDArray[np.float64]]
"""Growth by layer and multiplier, as `growth`, from measured assignments int64 [n, n_layers] and finite losses [n]."""


class PointOptimization:
    """Looks for points with less energy within their limits; deterministic.

    Args:
        matching: what multipliers cost and layers bear.
        growth: of the cross-entropy, predicted when one layer alone uses a multiplier, float64
            [n_layers, n_multipliers], >= 0.
        measure: measures losses of assignments; may raise to end the search.
        limits: largest loss of each point, float [n_points], rising or equal.
        n_multipliers: to build, at most.
        seed: of all randomness.
        refit: learns growth from measurements; None: it stays as it is.
    """

    def __init__(
        self,
        matching: Matching,
        growth: NDArray[np.float64],
        measure: Measure,
        *,
        limits: ArrayLike,
        n_multipliers: int,
        seed: int,
        refit: Refit | None = None,
    ) -> None:
        self._matching, self._growth, self._refit = matching, growth, refit
        self._measure_new, self._losses = measure, {}
        self._limits, self._seed = np.asarray(limits, dtype=np.float64), seed
        n_points = len(self._limits)
        self._space = PointSpace(
            matching.n_layers, len(matching.energy_rel), n_points=n_points,
            n_chosen=min(n_multipliers, n_points * matching.n_layers),
        )  # fmt: skip
        self._subsets: set[tuple[int, ...]] = set()

    def run(self, seeds: Sequence[NDArray[np.int64]], *, n_generations: int, on_stage: OnStage) -> None:
        """Searches until `measure` raises, generations are over, or there is nothing new.

        Args:
            seeds: points to begin with, int64 [n_points, n_layers] each, the best first.
            n_generations: at most.
            on_stage: told what is going on.
        """
        self._subsets.update(_used(points) for points in seeds)
        self._measure(np.concatenate(list(seeds)))
        starts, best = list(seeds), seeds[0]
        for number in range(1, N_ROUNDS + 1):
            on_stage("trading energy against sensitivities", f"round {number} of {N_ROUNDS}")
            starts += self._traded([best, *seeds])
            self._subsets.update(_used(points) for points in starts)
            best = self.best()
            if self._refit is not None:
                self._growth = self._refit(*_finite(*self._measured))
        starts = [best, *starts, *self._neighbours([best, seeds[0]])]
        self._subsets.update(_used(points) for points in starts)
        optimizer = NSGA2Search(
            self._space,
            population_size=POPULATION_SIZE,
            n_generations=n_generations,
            seed=self._seed,
            initial=self._population(starts),
            n_objectives=len(self._limits),
            crossover=PointCrossover(self._space, self._matching.energy_rel),
            mutation=self._mutation,
        )
        least = np.inf
        while (X := optimizer.ask()) is not None:
            points = self._space.decode(X)
            self._subsets.update(_used(each) for each in points)
            flat = points.reshape(-1, self._space.n_layers)
            losses = self._measure(flat).reshape(len(X), -1)
            failed = ~np.isfinite(losses).all(axis=1)
            optimizer.tell(X, self._matching.energy(points), losses - self._limits, failed=failed)
            kept = (losses <= self._limits).all(axis=1)
            least = min(least, self._matching.energy(points[kept]).mean(axis=1).min(initial=np.inf))
            on_stage("searching", f"generation {optimizer.generation}, {100 * (1 - least):.1f} % saved on average")

    def remember(self, assignments: NDArray[np.int64], losses: NDArray[np.float64]) -> None:
        """Takes measurements into account that were made elsewhere: int64 [n, n_layers], float64 [n]."""
        self._losses.update(zip(map(tuple, assignments.tolist()), losses.tolist(), strict=True))

    def best(self) -> NDArray[np.int64]:
        """The cheapest points within their limits that measured assignments make, int64 [n_points, n_layers]."""
        assignments, losses = self._measured
        rows = best_combination(
            assignments, self._matching.energy(assignments), losses, limits=self._limits.tolist(),
            subsets=sorted(self._subsets), n_multipliers=self._space.n_multipliers,
        )  # fmt: skip
        if (rows < 0).any():
            raise ShapeError("no seed keeps the limits: expected at least one that does")
        return assignments[rows]

    def _measure(self, assignments: NDArray[np.int64]) -> NDArray[np.float64]:
        losses = self._measure_new(assignments)
        self.remember(assignments, losses)
        return losses

    @property
    def _measured(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        return np.array(list(self._losses), dtype=np.int64), np.array(list(self._losses.values()))

    @property
    def _mutation(self) -> PointMutation:
        return PointMutation(self._space, self._matching, self._growth)

    def _traded(self, seeds: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Points on the trade-off curves of the seeds' subsets, and of subsets that the trade-off itself suggests."""
        levels = self._growth[np.arange(self._space.n_layers), seeds[0]].sum(axis=1)
        subsets = [_used(points) for points in seeds][:N_TRADED] + self._suggested(levels)
        kept = list(dict.fromkeys(subsets))
        self._subsets.update(kept)
        return self._within_limits([traded_steps(self._matching, self._growth, subset) for subset in kept], levels)

    def _suggested(self, levels: NDArray[np.float64]) -> list[tuple[int, ...]]:
        """Subsets that trade energy against growth best at the levels of growth of all points, at most `N_TRADED`."""
        matching, n = self._matching, self._space.n_chosen
        if n_subsets(matching, n) > MAX_SUBSETS:
            designs = matched_assignments(
                self._growth, matching.energy_rel, n_multiplications=matching.n_multiplications,
                n_designs=8 * N_TRADED, n_tiles=n, max_loss=MAX_GROWTH,
            )  # fmt: skip
            return [_used(design) for design in designs[spread(matching.energy(designs), N_TRADED)]]
        curve = traded_steps(matching, self._growth, np.arange(len(matching.energy_rel)))
        weighted = matching.weights[:, None] * matching.energy_rel
        costs = [weighted + _price(curve, matching, level) * self._growth for level in levels.tolist()]
        found = best_subsets(np.concatenate(costs), useful_multipliers(matching), n, n_best=N_TRADED)
        return [tuple(subset) for subset in found.tolist()]

    def _within_limits(self, curves: Sequence[Curve], levels: ArrayLike) -> list[NDArray[np.int64]]:
        start = [[curve.position(float(level)) for level in np.asarray(levels)] for curve in curves]
        positions = calibrate(curves, self._limits, self._measure, start=start)
        return [c.assignments[row] for c, row in zip(curves, positions, strict=True) if (row >= 0).all()]

    def _neighbours(self, seeds: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """One point of a seed a step further or back along the tolerance curve of its multipliers."""
        found = []
        for points in seeds:
            curve = tolerance_steps(self._matching, _used(points))
            energy = self._matching.energy(curve.assignments)
            for k, point in enumerate(points):
                nearest = int(np.abs(energy - self._matching.energy(point)).argmin())
                for position in {max(nearest - 1, 0), min(nearest + 1, len(energy) - 1)}:
                    neighbour = points.copy()
                    neighbour[k] = curve.assignments[position]
                    found.append(neighbour)
        return found

    def _population(self, starts: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
        """Genomes of `starts`, each once, filled up with mutations of them, int64 [n, n_genes]."""
        genomes = list(dict.fromkeys(map(tuple, self._space.encode(np.stack(starts)).tolist())))
        rng, mutation = np.random.default_rng(self._seed), self._mutation
        n_given, population = len(genomes), genomes[:POPULATION_SIZE]
        while len(population) < POPULATION_SIZE:
            origin = np.array(genomes[rng.integers(n_given)], dtype=np.int64)
            population.append(tuple(mutation.mutated(origin, rng).tolist()))
        return np.array(population, dtype=np.int64)


def _finite(
    assignments: NDArray[np.int64], losses: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    return assignments[np.isfinite(losses)], losses[np.isfinite(losses)]


def _used(points: NDArray[np.int64]) -> tuple[int, ...]:
    """Multipliers of an assignment, or of several."""
    return tuple(np.unique(points).tolist())


def _price(curve: Curve, matching: Matching, level: float) -> float:
    """Energy that a little more growth saves, at a level of growth along a trade-off curve."""
    if len(curve.levels) == 1:
        return 0.0
    position = min(curve.position(level), len(curve.levels) - 2)
    energy = matching.energy(curve.assignments[position : position + 2])
    return float((energy[0] - energy[1]) / (curve.levels[position + 1] - curve.levels[position]))

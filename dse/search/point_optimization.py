"""The search for operating points: NSGA-II on `point_search.PointSpace`, from good designs.

Objectives are the energies of the points, constraints their losses against their limits. It begins with what it is
given, with that moved a step along the curves of its multipliers, and with designs that trade energy against learned
sensitivities; the rest of the population are mutations of these. At the end anything measured may be combined with
anything else, so a search is never worse than what it began with.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ShapeError
from dse.search.calibration import Measure, calibrate
from dse.search.matching import matched_assignments, spread
from dse.search.nsga2 import NSGA2Search
from dse.search.operating_points import Curve, Matching, tolerance_steps, traded_steps
from dse.search.point_search import PointCrossover, PointMutation, PointSpace, best_combination

POPULATION_SIZE = 24

N_TRADED = 3
"""Subsets of multipliers of each origin whose trade-off designs are measured before the search begins."""

MAX_GROWTH = 2.0
"""Of the cross-entropy, in nats: a network above it guesses."""


class OnStage(Protocol):
    """Told what is going on."""

    def __call__(self, stage: str, detail: str = "") -> None:
        """A stage, and where it stands."""


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
    ) -> None:
        self._matching, self._growth, self._measure = matching, growth, measure
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
        on_stage("trading energy against sensitivities")
        starts = [*seeds, *self._traded(seeds), *self._neighbours(seeds[:2])]
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

    def best(self, assignments: NDArray[np.int64], losses: NDArray[np.float64]) -> NDArray[np.int64]:
        """The cheapest points within their limits that measured assignments make, int64 [n_points, n_layers].

        Args:
            assignments: everything measured, int64 [n, n_layers], the seeds among it.
            losses: of them, float64 [n].
        """
        rows = best_combination(
            assignments, self._matching.energy(assignments), losses, limits=self._limits.tolist(),
            subsets=sorted(self._subsets), n_multipliers=self._space.n_multipliers,
        )  # fmt: skip
        if (rows < 0).any():
            raise ShapeError("no seed keeps the limits: expected at least one that does")
        return assignments[rows]

    @property
    def _mutation(self) -> PointMutation:
        return PointMutation(self._space, self._matching, self._growth)

    def _traded(self, seeds: Sequence[NDArray[np.int64]]) -> list[NDArray[np.int64]]:
        """Points on the trade-off curves of the seeds' subsets, and of subsets that the trade-off itself suggests."""
        designs = matched_assignments(
            self._growth, self._matching.energy_rel, n_multiplications=self._matching.n_multiplications,
            n_designs=8 * N_TRADED, n_tiles=self._space.n_chosen, max_loss=MAX_GROWTH,
        )  # fmt: skip
        own = [_used(design) for design in designs[spread(self._matching.energy(designs), N_TRADED)]]
        subsets = list(dict.fromkeys([*[_used(points) for points in seeds], *own]))
        kept = [*subsets[:N_TRADED], *[subset for subset in own if subset not in subsets[:N_TRADED]]]
        self._subsets.update(kept)
        levels = self._growth[np.arange(self._space.n_layers), seeds[0]].sum(axis=1)
        return self._within_limits([traded_steps(self._matching, self._growth, subset) for subset in kept], levels)

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


def _used(points: NDArray[np.int64]) -> tuple[int, ...]:
    """Multipliers of an assignment, or of several."""
    return tuple(np.unique(points).tolist())

"""NSGA-II over pymoo's ask and tell.

Deb, Pratap, Agarwal & Meyarivan, "A fast and elitist multiobjective genetic algorithm: NSGA-II", IEEE Trans. Evol.
Comput. 6(2), 2002; implementation: Blank & Deb, "pymoo: multi-objective optimization in Python", IEEE Access 8, 2020.

Differences from the paper, with reasons: genes are categorical, so SBX and polynomial mutation are replaced
(`operators`); a design asked once in a run is never asked again, because evaluation is deterministic and dear. pymoo's
tournament compares by dominance and crowding rather than by rank.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymoo.algorithms.moo.nsga2 import NSGA2, binary_tournament
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation
from pymoo.core.problem import Problem
from pymoo.operators.selection.tournament import TournamentSelection
from pymoo.problems.static import StaticProblem

from dse.errors import ConfigError
from dse.search.operators import (
    CanonicalRepair,
    FreshMating,
    HistoryElimination,
    ResetAndStep,
    SeededSampling,
    SegmentCrossover,
)
from dse.search.optimizers import Told, check_told
from dse.search.screening import Screen
from dse.search.space import Space, row_keys


class NSGA2Search:
    """NSGA-II on a space; an `Optimizer`.

    The record of all evaluations is the caller's; the final population has no special standing. Failed evaluations
    enter selection with the worst finite objectives told so far and a constraint violation above all others, so they
    lose every tournament and leave at the first selection that has anything better.

    Args:
        space: Where to search.
        population_size: Designs kept, and offspring asked, per generation; at least 2.
        n_generations: Batches asked at most, the initial one included.
        seed: All randomness derives from it; equal seeds and figures give equal runs.
        initial: Genomes to start from, int [k, n_genes]; copies are dropped, the rest of the population is drawn around
            them. More than `population_size` make the first batch larger.
        n_objectives: Columns of F.
        crossover_probability: Chance that two parents are crossed.
        mutation_probability: Chance of a gene to be mutated; None is 1 / n_genes.
        screen: Picks the offspring worth measuring out of many; generations may then be smaller. None: no screening,
            as in the paper.
        crossover: How two parents are crossed, in place of `SegmentCrossover`.
        mutation: How children are mutated, in place of `ResetAndStep`.
    """

    def __init__(
        self,
        space: Space,
        *,
        population_size: int,
        n_generations: int,
        seed: int,
        initial: ArrayLike | None = None,
        n_objectives: int = 2,
        crossover_probability: float = 0.9,
        mutation_probability: float | None = None,
        screen: Screen | None = None,
        crossover: Crossover | None = None,
        mutation: Mutation | None = None,
    ) -> None:
        _check_sizes(population_size, n_generations)
        self.generation = 0
        self.finish_reason: str | None = None
        self._n_generations = n_generations
        self._duplicates = HistoryElimination()
        self._screen = screen
        self._worst: NDArray[np.float64] | None = None
        self._worst_violation = 0.0
        self._pending = None
        self._asked: NDArray[np.int64] | None = None
        self._algorithm = NSGA2(
            pop_size=population_size,
            sampling=SeededSampling(space, initial=_unique(space, initial)),
            repair=CanonicalRepair(space),
            eliminate_duplicates=self._duplicates,
            mating=FreshMating(
                TournamentSelection(func_comp=binary_tournament),
                crossover or SegmentCrossover(space, probability=crossover_probability),
                mutation or ResetAndStep(space, probability=mutation_probability),
                space=space,
                duplicates=self._duplicates,
                screen=screen,
            ),
            output=None,
        )
        # One constraint column is always there: it carries the violation of failed evaluations.
        self._problem = Problem(
            n_var=space.n_genes, n_obj=n_objectives, n_ieq_constr=1, xl=space.lower, xu=space.upper, vtype=int
        )
        # pymoo would stop by itself after n_gen; the count is kept here, so that the reason can be told.
        self._algorithm.setup(self._problem, seed=seed, termination=("n_gen", n_generations + 1))

    def ask(self) -> NDArray[np.int64] | None:
        """See `Optimizer`; the same batch again until it is told."""
        if self._asked is not None:
            return self._asked.copy()
        if self.finish_reason is None and self.generation >= self._n_generations:
            self.finish_reason = f"all {self._n_generations} generations done"
        if self.finish_reason is not None:
            return None
        population = self._algorithm.ask()
        if population is None or len(population) == 0:
            self.finish_reason = "search space exhausted: every design that could be found has been evaluated"
            return None
        self._pending = population
        self._asked = population.get("X").astype(np.int64)
        self._duplicates.seen.update(row_keys(self._asked))
        return self._asked.copy()

    def tell(self, X: ArrayLike, F: ArrayLike, G: ArrayLike | None = None, *, failed: ArrayLike | None = None) -> None:
        """See `Optimizer`."""
        told = check_told(self._asked, X, F, G=G, failed=failed)
        if self._screen is not None:
            self._screen.learn(self._asked, told.F, told.failed)
        F, violation = self._replace_failed(told)
        static = StaticProblem(self._problem, F=F, G=violation[:, None])
        self._algorithm.evaluator.eval(static, self._pending)
        self._algorithm.tell(infills=self._pending)
        self._pending = self._asked = None
        self.generation += 1

    def _replace_failed(self, told: Told) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        F, violation, failed = told.F.copy(), told.violation.copy(), told.failed
        if not failed.all():
            worst = F[~failed].max(axis=0)
            self._worst = worst if self._worst is None else np.maximum(self._worst, worst)
            self._worst_violation = max(self._worst_violation, float(violation[~failed].max()))
        F[failed] = 1.0 if self._worst is None else self._worst
        violation[failed] = self._worst_violation + 1.0
        return F, violation


def _unique(space: Space, initial: ArrayLike | None) -> NDArray[np.int64]:
    if initial is None:
        return np.empty((0, space.n_genes), dtype=np.int64)
    X = space.canonicalize(initial)
    _, first = np.unique(X, axis=0, return_index=True)
    return X[np.sort(first)]


def _check_sizes(population_size: int, n_generations: int) -> None:
    if population_size < 2:
        raise ConfigError(f"population_size is {population_size}: expected at least 2, parents come in pairs")
    if n_generations < 1:
        raise ConfigError(f"n_generations is {n_generations}: expected at least 1, the initial designs")

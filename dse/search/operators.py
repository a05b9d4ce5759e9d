"""Variation of integer genomes for pymoo: categorical genes with an order by energy.

Uniform and two-point crossover as in ALWANN (Mrazek et al., ICCAD 2019, arXiv:1907.07229), each segment of the genome
by itself. Mutation changes a gene with probability 1 / n_genes: a random reset, or a step to a neighbour in the
energy-ordered library. SBX and polynomial mutation assume that a gene is a number and are not used.

In pymoo 0.6.2 every operator receives the algorithm's own generator as `random_state`; nothing here draws from
elsewhere. All arrays are int64.
"""

import numpy as np
from numpy.typing import NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.duplicate import DuplicateElimination
from pymoo.core.mating import Mating
from pymoo.core.mutation import Mutation
from pymoo.core.population import Population
from pymoo.core.repair import Repair
from pymoo.core.sampling import Sampling

from dse.search.screening import Screen
from dse.search.seeding import fresh_designs, without_known
from dse.search.space import Space, TiledSpace, row_keys

POOL_FACTOR = 20
"""Children that a screen chooses from, for each that is simulated."""

LEAST_SHARE = 0.2
"""Part of a generation that is simulated even where the screen rules everything out."""


class SeededSampling(Sampling):
    """The initial designs, filled up with fresh random ones; pymoo does not top up an array by itself.

    Args:
        space: Where to draw from.
        initial: Unique canonical genomes, int64 [k, n_genes]. All of them are used, even if k > population size.
    """

    def __init__(self, space: Space, *, initial: NDArray[np.int64]) -> None:
        super().__init__()
        self.space = space
        self.initial = initial

    def _do(self, problem, n_samples, *args, random_state=None, **kwargs):
        fill = fresh_designs(
            self.space,
            n_samples - len(self.initial),
            rng=random_state,
            seen=set(row_keys(self.initial)),
            around=self.initial,
        )
        return np.concatenate([self.initial, fill])


class SegmentCrossover(Crossover):
    """Exchange genes of two parents, segment by segment.

    Each segment is crossed uniformly (every gene exchanged with probability 1/2) or between two random cuts, by the
    toss of a coin. Tiled parents whose multipliers fit on the tiles together are first written with one common list of
    tiles: else two uniform designs, each with all layers on its tile 0, would have uniform children only.

    Args:
        space: Says which runs of genes have one meaning.
        probability: Chance that two parents are crossed at all.
    """

    def __init__(self, space: Space, *, probability: float = 0.9) -> None:
        super().__init__(2, 2, prob=probability)
        self.space = space

    def _do(self, problem, X, *args, random_state=None, **kwargs):
        if isinstance(self.space, TiledSpace) and self.space.merge_equal:
            X = _align(self.space, X)
        _, n_matings, n_genes = X.shape
        exchanged = np.zeros((n_matings, n_genes), dtype=np.bool_)
        for segment in self.space.segments:
            n = segment.stop - segment.start
            uniform = random_state.random((n_matings, n)) < 0.5
            cuts = np.sort(random_state.integers(0, n, size=(n_matings, 2), endpoint=True), axis=1)
            between = (np.arange(n) >= cuts[:, :1]) & (np.arange(n) < cuts[:, 1:])
            is_uniform = random_state.random((n_matings, 1)) < 0.5
            exchanged[:, segment] = np.where(is_uniform, uniform, between)
        return np.where(exchanged[None], X[::-1], X)


def _align(space: TiledSpace, X: NDArray[np.int64]) -> NDArray[np.int64]:
    """Parents, int64 [2, n_matings, n_genes], rewritten over common tiles where their multipliers fit together."""
    aligned = X.copy()
    first, second = (space.decode(parents).assignments for parents in X)
    for mating, pair in enumerate(zip(first, second, strict=True)):
        multipliers = np.union1d(*pair)
        if len(multipliers) <= space.n_tiles:
            tiles = np.resize(multipliers, space.n_tiles)
            for parent, assignment in enumerate(pair):
                aligned[parent, mating] = np.concatenate([tiles, np.searchsorted(multipliers, assignment)])
    return aligned


class ResetAndStep(Mutation):
    """Reset a gene to another value at random, or step it to a neighbouring value, by the toss of a coin.

    Args:
        space: Bounds of the genes.
        probability: Chance of a gene to change; None is 1 / n_genes.
    """

    def __init__(self, space: Space, *, probability: float | None = None) -> None:
        super().__init__(prob=1.0)
        self.space = space
        self.probability = 1.0 / space.n_genes if probability is None else probability

    def _do(self, problem, X, *args, random_state=None, **kwargs):
        lower, upper = self.space.lower, self.space.upper
        n_values = upper - lower + 1
        shift = random_state.integers(1, np.maximum(n_values, 2), size=X.shape)  # never 0: a reset changes the gene
        reset = lower + (X - lower + shift) % n_values
        direction = random_state.integers(0, 2, size=X.shape) * 2 - 1
        direction = np.where((X + direction < lower) | (X + direction > upper), -direction, direction)  # turn at an end
        step = np.clip(X + direction, lower, upper)
        changed = np.where(random_state.random(X.shape) < 0.5, reset, step)
        return np.where(random_state.random(X.shape) < self.probability, changed, X)


class CanonicalRepair(Repair):
    """Bring every genome into canonical form, so that equal designs are equal rows and tiles of parents line up."""

    def __init__(self, space: Space) -> None:
        super().__init__()
        self.space = space

    def _do(self, problem, X, **kwargs):
        return self.space.canonicalize(X)


class HistoryElimination(DuplicateElimination):
    """Drop genomes that were asked before in this run, besides copies within the batch.

    pymoo's own elimination knows the current population only, so designs return once they have been dropped from it.

    Attributes:
        seen: Keys (`row_keys`) of the genomes asked so far; whoever asks adds to it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[bytes] = set()

    def do(self, pop, *args, return_indices=False, to_itself=True):
        """Individuals of `pop` that are new against the history, the populations in `args` and one another."""
        taken = set(self.seen)
        for other in args:
            taken.update(row_keys(other.get("X")) if len(other) else ())
        kept, dropped = [], []
        for index, key in enumerate(row_keys(pop.get("X")) if len(pop) else ()):
            (dropped if key in taken else kept).append(index)
            if to_itself:
                taken.add(key)
        return (pop[kept], kept, dropped) if return_indices else pop[kept]


class FreshMating(Mating):
    """pymoo's mating, topped up with fresh random designs where it finds no more new offspring.

    pymoo gives up after `n_max_iterations` and stops the run without a word; here it stops only when the space is
    exhausted (or, in spaces too large to list, when chance finds nothing new either).

    Args:
        selection, crossover, mutation: pymoo's operators.
        space: Where the designs live.
        duplicates: What was asked before.
        screen: Chooses the offspring from `POOL_FACTOR` times as many and from its own proposals; None: all are taken.
    """

    def __init__(
        self,
        selection,
        crossover,
        mutation,
        *,
        space: Space,
        duplicates: HistoryElimination,
        screen: Screen | None = None,
    ) -> None:
        super().__init__(
            selection,
            crossover,
            mutation,
            repair=CanonicalRepair(space),
            eliminate_duplicates=duplicates,
            n_max_iterations=20,
        )
        self.space, self.screen = space, screen

    def do(self, problem, pop, n_offsprings, random_state=None, n_max_iterations=None, **kwargs):
        """At most `n_offsprings` new individuals; fewer where there are no more, or a screen rules the rest out."""
        if self.screen is None:
            return self._children(problem, pop, n_offsprings, random_state, n_max_iterations, **kwargs)
        pool = self._children(problem, pop, POOL_FACTOR * n_offsprings, random_state, n_max_iterations, **kwargs)
        X = np.concatenate([self.screen.propose(), pool.get("X").astype(np.int64).reshape(-1, self.space.n_genes)])
        X = without_known(X, self.eliminate_duplicates.seen)
        chosen = self.screen.choose(X, n_offsprings, n_least=max(1, round(LEAST_SHARE * n_offsprings)))
        return Population.new("X", X[chosen])

    def _children(self, problem, pop, n_offsprings, random_state, n_max_iterations, **kwargs):
        off = super().do(problem, pop, n_offsprings, random_state, n_max_iterations, **kwargs)
        if len(off) == n_offsprings:
            return off
        seen = self.eliminate_duplicates.seen.union(row_keys(off.get("X")) if len(off) else ())
        fill = fresh_designs(self.space, n_offsprings - len(off), rng=random_state, seen=seen, around=pop.get("X"))
        return Population.merge(off, Population.new("X", fill)) if len(fill) else off

"""Operating points as a problem for NSGA-II: which multipliers to build, and who uses which of them, in one genome.

A genome is `n` multipliers followed by, for each of `m` points and each layer, a position among them. Objectives are
the energies of the points, constraints their losses against their limits; both come from outside. Genomes are made
canonical as those of tiled accelerators are (see `space.TiledSpace`): multipliers ascending, equal ones merged, unused
ones replaced. A point is one block of genes, and blocks are exchanged between parents with the same multipliers:
children of known blocks cost no simulation, so mutation changes one point at a time.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pymoo.core.crossover import Crossover
from pymoo.core.mutation import Mutation

from dse.errors import ShapeError
from dse.search.operating_points import LEAST_GAP, Matching
from dse.search.space import TiledSpace

MEMBER_SHARE = 0.1
"""Mutations that change a multiplier, the others change who uses which."""

RESET_SHARE = 0.1
"""Genes that get any other position, the others step to a neighbour in energy."""

_TOURNAMENT = 3
"""Layers of which the most promising one is changed."""


class PointSpace:
    """Genomes of `n_points` operating points over at most `n_chosen` multipliers; a `Space` but for its `decode`.

    Args:
        n_layers: Layers of the network.
        n_multipliers: Multipliers of the library.
        n_chosen: Multipliers that may be built.
        n_points: Operating points.
    """

    def __init__(self, n_layers: int, n_multipliers: int, *, n_chosen: int, n_points: int) -> None:
        self.n_layers, self.n_multipliers = n_layers, n_multipliers
        self.n_chosen, self.n_points = n_chosen, n_points
        self._tiled = TiledSpace(n_layers * n_points, n_multipliers, n_chosen)
        self.n_genes, self.n_designs = self._tiled.n_genes, self._tiled.n_designs
        self.lower, self.upper = self._tiled.lower, self._tiled.upper
        starts = n_chosen + n_layers * np.arange(n_points)
        self.blocks = tuple(slice(int(start), int(start) + n_layers) for start in starts)
        self.segments = (slice(0, n_chosen), *self.blocks)

    def decode(self, X: ArrayLike) -> NDArray[np.int64]:
        """Assignments of the points, int64 [n, n_points, n_layers], of genomes int [n, n_genes]."""
        return self._tiled.decode(X).assignments.reshape(-1, self.n_points, self.n_layers)

    def canonicalize(self, X: ArrayLike) -> NDArray[np.int64]:
        """See `Space`."""
        return self._tiled.canonicalize(X)

    def encode(self, points: ArrayLike) -> NDArray[np.int64]:
        """Canonical genomes, int64 [n, n_genes], of assignments int [n, n_points, n_layers].

        Raises:
            ConfigError: points that use more multipliers together than may be built.
        """
        points = np.asarray(points)
        if points.ndim != 3 or points.shape[1:] != (self.n_points, self.n_layers):
            raise ShapeError(f"points have shape {points.shape}: expected (n, {self.n_points}, {self.n_layers})")
        return self._tiled.encode(points.reshape(len(points), -1))

    def enumerate(self) -> Iterator[NDArray[np.int64]]:
        """See `Space`."""
        return self._tiled.enumerate()


class PointCrossover(Crossover):
    """Exchanges whole points, or genes of a point, between parents written with the same multipliers.

    Where both parents' multipliers do not fit together, each child keeps those of one parent and reads the other's
    genes as the nearest of them in energy.

    Args:
        space: of the genomes.
        energy_rel: of the library, float64 [n_multipliers].
        probability: that two parents are crossed at all.
    """

    def __init__(self, space: PointSpace, energy_rel: NDArray[np.float64], *, probability: float = 0.9) -> None:
        super().__init__(2, 2, prob=probability)
        self.space, self.energy_rel = space, energy_rel

    def _do(self, problem, X, *args, random_state=None, **kwargs):
        children = X.copy()
        for mating in range(X.shape[1]):
            first, second = X[0, mating], X[1, mating]
            exchanged = self._exchanged(random_state)
            for child, (own, other) in enumerate(((first, second), (second, first))):
                own, other = self._align(own, other)
                children[child, mating] = np.where(exchanged, other, own)
        return children

    def _exchanged(self, random_state) -> NDArray[np.bool_]:
        """Which genes come from the other parent, bool [n_genes]; never those of the multipliers."""
        exchanged = np.zeros(self.space.n_genes, dtype=np.bool_)
        for block in self.space.blocks:
            is_whole = random_state.random() < 0.7
            exchanged[block] = random_state.random(1 if is_whole else self.space.n_layers) < 0.5
        return exchanged

    def _align(self, own: NDArray, other: NDArray) -> tuple[NDArray, NDArray]:
        """Both genomes over the same multipliers."""
        n = self.space.n_chosen
        mine, theirs = own[:n][own[n:]], other[:n][other[n:]]
        members = np.union1d(mine, theirs)
        if len(members) > n:
            members = np.unique(mine)
        distance = np.abs(self.energy_rel[theirs][:, None] - self.energy_rel[members])
        distance[theirs[:, None] == members] = -1.0  # of equal energies the multiplier itself
        tiles = np.resize(members, n)
        nearest = distance.argmin(axis=1)
        return np.concatenate([tiles, np.searchsorted(members, mine)]), np.concatenate([tiles, nearest])


class PointMutation(Mutation):
    """Lowers layers of one point in energy, raises others of it, or changes a multiplier.

    Of a few random layers that is lowered which saves most for the growth of the cross-entropy that is predicted for
    it, and that is raised which costs least for it.

    Args:
        space: of the genomes.
        matching: what multipliers cost.
        growth: predicted when one layer alone uses a multiplier, float64 [n_layers, n_multipliers], >= 0.
    """

    def __init__(self, space: PointSpace, matching: Matching, growth: NDArray[np.float64]) -> None:
        super().__init__(prob=1.0)
        self.space, self.growth = space, growth
        self.weighted = matching.weights[:, None] * matching.energy_rel

    def _do(self, problem, X, *args, random_state=None, **kwargs):
        return np.stack([self.mutated(genome, random_state) for genome in self.space.canonicalize(X)])

    def mutated(self, genome: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
        """A changed copy of a canonical genome, int64 [n_genes]."""
        genome = genome.copy()
        if rng.random() < MEMBER_SHARE:
            self._change_member(genome, rng)
            return genome
        block = self.space.blocks[rng.integers(self.space.n_points)]
        n_changes = int(min(rng.geometric(0.5), self.space.n_layers))
        for change in range(n_changes):
            is_lowered = change == 0 or rng.random() < 0.5
            self._step(genome, block, rng, direction=-1 if is_lowered else 1)
        return genome

    def _change_member(self, genome: NDArray[np.int64], rng: np.random.Generator) -> None:
        slot, n_multipliers = rng.integers(self.space.n_chosen), self.space.n_multipliers
        if rng.random() < 0.5:
            genome[slot] = rng.integers(n_multipliers)
        else:
            genome[slot] = np.clip(genome[slot] + rng.choice((-1, 1)), 0, n_multipliers - 1)

    def _step(self, genome: NDArray[np.int64], block: slice, rng: np.random.Generator, *, direction: int) -> None:
        """Changes one gene of a block: to any position, or to the next one in energy."""
        genes, tiles = genome[block], genome[: self.space.n_chosen]  # views
        if rng.random() < RESET_SHARE:
            genes[rng.integers(len(genes))] = rng.integers(self.space.n_chosen)
            return
        able = np.flatnonzero((genes + direction >= 0) & (genes + direction < self.space.n_chosen))
        if len(able) == 0:
            return
        layers = rng.choice(able, size=min(_TOURNAMENT, len(able)), replace=False)
        now, then = tiles[genes[layers]], tiles[genes[layers] + direction]
        energy = np.abs(self.weighted[layers, now] - self.weighted[layers, then])
        growth = np.abs(self.growth[layers, now] - self.growth[layers, then])
        worth = energy / (growth + 1e-12)
        chosen = worth.argmax() if direction < 0 else worth.argmin()
        genes[layers[chosen]] += direction


def best_combination(
    assignments: NDArray[np.int64],
    energy: NDArray[np.float64],
    loss: NDArray[np.float64],
    *,
    limits: Sequence[float],
    subsets: Sequence[Sequence[int]],
    n_multipliers: int,
) -> NDArray[np.int64]:
    """The cheapest points that measured assignments make together, rows int64 [n_points]; -1 where there are none.

    For each subset of multipliers every point, from the last one on, takes the cheapest assignment over it that is
    within its limit and costs more than the point behind it; of equal ones the most accurate. The subset with the
    smallest sum of energies wins. Where no subset has points `LEAST_GAP` apart, they may be equal.

    Args:
        assignments: measured, int64 [n, n_layers].
        energy: of them, float64 [n].
        loss: of them, float64 [n]; inf where the evaluation failed.
        limits: of the points, rising or equal.
        subsets: multipliers that may be built together.
        n_multipliers: of the library.
    """
    uses = np.zeros((len(assignments), n_multipliers), dtype=np.int64)
    uses[np.arange(len(assignments))[:, None], assignments] = 1
    order = np.lexsort((loss, energy))
    uses = uses[order]
    members = sorted({tuple(sorted({int(m) for m in subset})) for subset in subsets})
    within = [order[~uses[:, np.setdiff1d(np.arange(n_multipliers), subset)].any(axis=1)] for subset in members]
    for gap in (LEAST_GAP, -1.0):
        found = [_apart(rows, energy, loss, limits=limits, gap=gap) for rows in within]
        sums = [float(energy[rows].sum()) if (rows >= 0).all() else np.inf for rows in found]
        if np.isfinite(sums).any():
            return found[int(np.argmin(sums))]
    return np.full(len(limits), -1, dtype=np.int64)


def _apart(
    rows: NDArray[np.int64],
    energy: NDArray[np.float64],
    loss: NDArray[np.float64],
    *,
    limits: Sequence[float],
    gap: float,
) -> NDArray[np.int64]:
    """Of rows by rising energy the first one of every point within its limit, each at least `gap` above the next
    point; -1 where there is none."""
    chosen = np.full(len(limits), -1, dtype=np.int64)
    least = -np.inf
    for k in reversed(range(len(limits))):
        fitting = rows[(loss[rows] <= limits[k]) & (energy[rows] >= least)]
        if len(fitting) == 0:
            break
        chosen[k] = fitting[0]
        least = energy[fitting[0]] + gap
    return chosen

"""Baselines under the optimizers' protocol: what a search must beat, and the truth in small spaces.

- `RandomSearch`: unique designs at random.
- `UniformBaseline`: one multiplier everywhere, the usual comparison in the literature.
- `GreedyBaseline`: from the exact design, always the step with the most energy saved per accuracy lost.
- `ExhaustiveSearch`: every design.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import chain

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dse.errors import ConfigError
from dse.search.optimizers import check_told
from dse.search.seeding import fresh_designs, uniform_assignments
from dse.search.space import Space, row_keys


class _ListedSearch(ABC):
    """Asks batches that do not depend on what is told."""

    def __init__(self) -> None:
        self.generation = 0
        self.finish_reason: str | None = None
        self._asked: NDArray[np.int64] | None = None
        self._remaining = self._batches()

    @abstractmethod
    def _batches(self) -> Iterator[NDArray[np.int64]]:
        """Batches of canonical genomes; sets `finish_reason` before it ends."""

    def ask(self) -> NDArray[np.int64] | None:
        """See `Optimizer`; the same batch again until it is told."""
        if self._asked is None:
            self._asked = next(self._remaining, None)
        return None if self._asked is None else self._asked.copy()

    def tell(self, X: ArrayLike, F: ArrayLike, G: ArrayLike | None = None, *, failed: ArrayLike | None = None) -> None:
        """See `Optimizer`; figures are checked and change nothing."""
        check_told(self._asked, X, F, G=G, failed=failed)
        self._asked = None
        self.generation += 1


class RandomSearch(_ListedSearch):
    """Unique designs at random, each gene drawn by itself.

    Args:
        space: Where to draw from.
        n_evaluations: Designs in all, fewer where the space has no more.
        batch_size: Designs in a batch.
        seed: All randomness derives from it.
        initial: Genomes to begin with, int [k, n_genes]; they count as evaluations.
    """

    def __init__(
        self, space: Space, *, n_evaluations: int, batch_size: int, seed: int, initial: ArrayLike | None = None
    ) -> None:
        _check_positive(n_evaluations=n_evaluations, batch_size=batch_size)
        self._space = space
        self._n_evaluations = n_evaluations
        self._batch_size = batch_size
        self._rng = np.random.default_rng(seed)
        self._initial = np.empty((0, space.n_genes), dtype=np.int64) if initial is None else space.canonicalize(initial)
        super().__init__()

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        seen: set[bytes] = set()
        queue = np.array(list(dict.fromkeys(map(tuple, self._initial.tolist()))), dtype=np.int64)
        queue = queue.reshape(-1, self._space.n_genes)
        while len(seen) < self._n_evaluations:
            size = min(self._batch_size, self._n_evaluations - len(seen))
            batch, queue = queue[:size], queue[size:]
            seen.update(row_keys(batch))
            fill = fresh_designs(self._space, size - len(batch), rng=self._rng, seen=seen)
            seen.update(row_keys(fill))
            if len(batch) + len(fill) == 0:
                self.finish_reason = "search space exhausted: every design that could be found has been evaluated"
                return
            yield np.concatenate([batch, fill])
        self.finish_reason = f"all {self._n_evaluations} evaluations done"


class UniformBaseline(_ListedSearch):
    """Every uniform assignment, in one batch by ascending multiplier index."""

    def __init__(self, space: Space) -> None:
        self._space = space
        super().__init__()

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        yield self._space.encode(uniform_assignments(self._space.n_layers, self._space.n_multipliers))
        self.finish_reason = f"all {self._space.n_multipliers} uniform assignments done"


class ExhaustiveSearch(_ListedSearch):
    """Every design once.

    Args:
        space: What to list.
        max_designs: Largest space accepted.
        batch_size: Designs in a batch, at most.

    Raises:
        ConfigError: The space is larger than `max_designs`.
    """

    def __init__(self, space: Space, *, max_designs: int = 100_000, batch_size: int = 1024) -> None:
        _check_positive(max_designs=max_designs, batch_size=batch_size)
        if space.n_designs > max_designs:
            raise ConfigError(
                f"the search space has {_count_text(space.n_designs)} designs: expected at most {max_designs:,} for an "
                "exhaustive search; use fewer multipliers or layers, raise max_designs, or search with 'nsga2'"
            )
        self._space = space
        self._batch_size = batch_size
        super().__init__()

    def _batches(self) -> Iterator[NDArray[np.int64]]:
        for X in self._space.enumerate():
            for start in range(0, len(X), self._batch_size):
                yield X[start : start + self._batch_size]
        self.finish_reason = f"all {self._space.n_designs} designs done"


class GreedyBaseline:
    """Steepest descent in energy from the exact design; an `Optimizer`. Where memory is an objective, its relative
    savings count as those of energy do.

    A step gives one layer, or all layers of one multiplier, one of the `n_candidates` next cheaper multipliers or a
    cheaper one in use elsewhere. All steps from the current design are measured in one batch; the one with the largest
    energy saved per accuracy lost is taken, losses under `min_loss` counting as `min_loss` so that noise does not
    decide. Infeasible steps (G > 0) and failed ones are never taken. It ends when no step is left.

    Args:
        space: Where to search.
        exact_index: Position of the exact multiplier.
        n_candidates: Cheaper multipliers tried per layer: 1 can get stuck before a bad multiplier.
        n_evaluations: Designs in all; None for no limit.
        min_loss: Smallest accuracy loss that counts, about the resolution of the evaluation.
    """

    def __init__(
        self,
        space: Space,
        *,
        exact_index: int,
        n_candidates: int = 3,
        n_evaluations: int | None = None,
        min_loss: float = 1e-3,
    ) -> None:
        _check_positive(n_candidates=n_candidates, n_evaluations=n_evaluations, min_loss=min_loss)
        self.generation = 0
        self.finish_reason: str | None = None
        self._space = space
        self._n_candidates = n_candidates
        self._n_evaluations = n_evaluations
        self._min_loss = min_loss
        self._asked: NDArray[np.int64] | None = None
        self._figures: dict[bytes, NDArray[np.float64] | None] = {}  # None where not to be taken
        self._current: NDArray[np.int64] | None = None
        self._steps = space.encode(np.full((1, space.n_layers), exact_index, dtype=np.int64))

    def ask(self) -> NDArray[np.int64] | None:
        """See `Optimizer`; the same batch again until it is told."""
        while self._asked is None and self.finish_reason is None:
            unknown = [key not in self._figures for key in row_keys(self._steps)]
            batch = self._steps[unknown]
            if len(batch) == 0:
                self._advance()
                continue
            if self._n_evaluations is not None:
                batch = batch[: self._n_evaluations - len(self._figures)]
            if len(batch) == 0:
                self.finish_reason = f"all {self._n_evaluations} evaluations done"
            else:
                self._asked = batch
        return None if self._asked is None else self._asked.copy()

    def tell(self, X: ArrayLike, F: ArrayLike, G: ArrayLike | None = None, *, failed: ArrayLike | None = None) -> None:
        """See `Optimizer`; column 1 of F is the accuracy loss, the others are costs."""
        told = check_told(self._asked, X, F, G=G, failed=failed)
        is_taken = ~told.failed & (told.violation <= 0)
        for key, figures, is_allowed in zip(row_keys(self._asked), told.F, is_taken, strict=True):
            self._figures[key] = figures if is_allowed else None
        self._asked = None
        self.generation += 1

    def _advance(self) -> None:
        """Take the best measured step, and list the steps from there."""
        figures = [self._figures[key] for key in row_keys(self._steps)]
        if self._current is None:
            start = figures[0]
            if start is None:
                self.finish_reason = "the exact design failed or is below the accuracy floor"
                return
            best: int | None = 0
        else:
            here = self._figures[row_keys(self._current[None])[0]]
            scores = [-np.inf if there is None else self._score(here, there) for there in figures]
            best = int(np.argmax(scores)) if scores and max(scores) > 0 else None
        if best is None:
            self.finish_reason = "no step left that saves energy above the accuracy floor"
            return
        self._current = self._steps[best]
        self._steps = self._neighbors(self._current)

    def _score(self, here: NDArray[np.float64], there: NDArray[np.float64]) -> float:
        """Energy (and memory) saved per accuracy lost; not positive where nothing is saved."""
        saved = np.delete(here - there, 1).sum()
        return float(saved / max(there[1] - here[1], self._min_loss))

    def _neighbors(self, genome: NDArray[np.int64]) -> NDArray[np.int64]:
        assignment = self._space.decode(genome[None]).assignments[0]
        single_layers = np.eye(len(assignment), dtype=np.bool_)
        shared = [assignment == multiplier for multiplier in np.unique(assignment)]
        moves = [
            np.where(layers, cheaper, assignment)
            for layers in (*single_layers, *shared)
            for cheaper in self._cheaper(int(assignment[layers][0]), assignment)
        ]
        moves = np.unique(np.array(moves, dtype=np.int64).reshape(-1, len(assignment)), axis=0)
        return self._space.encode(moves[self._space.is_representable(moves)])

    def _cheaper(self, multiplier: int, assignment: NDArray[np.int64]) -> list[int]:
        """The next cheaper multipliers and the cheaper ones in use, positions below `multiplier`."""
        nearest = range(max(multiplier - self._n_candidates, 0), multiplier)
        return sorted({int(m) for m in chain(nearest, assignment[assignment < multiplier])})


def _check_positive(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and value <= 0:
            raise ConfigError(f"{name} is {value}: expected a number above 0")


def _count_text(count: int) -> str:
    return f"{count:,}" if count < 10**12 else f"about 10^{len(str(count)) - 1}"

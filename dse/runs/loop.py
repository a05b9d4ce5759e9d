"""The loop of a search: ask, decode, look up or measure, journal, tell.

A search is continued by replaying it: the same seed asks for the same designs, and the journal answers those that were
measured before. Nothing in here may therefore depend on the clock, on the number of workers or on what was replayed.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dse.cost.accelerators import Accelerator, Designs
from dse.errors import RunError
from dse.objectives import ACCURACY
from dse.pareto import front_indices, hypervolume
from dse.runs.execution import Evaluator, Executor, Result
from dse.runs.journal import Evaluation, Journal, Split
from dse.search.optimizers import Optimizer
from dse.search.space import Space

REFERENCE_POINT = (1.1, 1.0)
"""Of the hypervolume: energy_rel and accuracy loss; fixed, so that runs can be compared."""


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        phase: `search`, then `confirm` (unless the search used all of its images), then `report`.
        n_gen: generations finished.
        n_eval: different assignments measured so far, by whichever process.
        n_new: those measured by this process.
        cache_hits: requests in the last generation that needed no measurement.
        hypervolume: of everything measured, with `REFERENCE_POINT`.
        best_energy_rel: lowest energy at or above `accuracy_floor`; NaN where there is none.
        time_s: since this process began.
        n_left: evaluations left in this batch.
    """

    phase: str = "search"
    n_gen: int = 0
    n_eval: int = 0
    n_new: int = 0
    cache_hits: int = 0
    hypervolume: float = 0.0
    best_energy_rel: float = float("nan")
    accuracy_floor: float = float("nan")
    time_s: float = 0.0
    n_left: int = 0


@dataclass(frozen=True)
class Start:
    """What is about to run, for people: sizes, and how much an earlier process left in the journal."""

    path: str
    network: str
    dataset: str
    n_layers: int
    n_multiplications: int
    n_multipliers: int
    n_images_search: int
    n_images_report: int
    n_generations: int | None
    n_evaluations: int | None
    n_journaled: int
    jobs: int
    threads: int
    data_files: tuple[str, ...] = ()


class Observer(Protocol):
    """Told how a run goes on; must not change anything."""

    def on_start(self, start: Start) -> None:
        """Everything is loaded."""

    def on_learning(self, n_done: int, n_steps: int) -> None:
        """Tolerances are being learned, before anything is simulated."""

    def on_evaluation(self, progress: Progress) -> None:
        """Some evaluations are done; `progress.n_left` remain in the batch."""

    def on_generation(self, progress: Progress) -> None:
        """A generation is done."""


class BudgetSpent(Exception):
    """The search asked for more evaluations than it may have; everything within the budget was measured."""


@dataclass(frozen=True, eq=False)
class Measured:
    """Designs with what was found: `energy_rel` and `accuracy` float64 [n], NaN accuracy where it failed."""

    designs: Designs
    energy_rel: NDArray[np.float64]
    accuracy: NDArray[np.float64]


class Meter:
    """Measures designs, each assignment once ever, and remembers them in the order of asking.

    Args:
        evaluator: measures accuracy on the images of `split`.
        split: the name of those images in the journal.
        accelerator: says what a design costs.
        journal: finds and keeps evaluations.
        executor: where they are measured.
        budget: different assignments that may be asked for; `None`: any number.
        on_results: told after every few evaluations how many are left in the batch.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        split: Split,
        *,
        accelerator: Accelerator,
        journal: Journal,
        executor: Executor,
        budget: int | None = None,
        on_results: Callable[[int], None] = lambda n_left: None,
    ) -> None:
        self._evaluator, self._split = evaluator, split
        self._fingerprint = evaluator.fingerprint  # an evaluator may hash its whole network to tell it
        self._accelerator, self._journal, self._executor = accelerator, journal, executor
        self._budget, self._on_results = budget, on_results
        self._asked: set[tuple[int, ...]] = set()
        self._batches: list[Measured] = []
        self.n_new = 0

    @property
    def n_eval(self) -> int:
        """Different assignments asked for so far, whether measured now or found in the journal."""
        return len(self._asked)

    def __call__(self, designs: Designs) -> Measured:
        """Measures designs, or as many as the budget allows and then raises `BudgetSpent`."""
        keys = [tuple(row) for row in designs.assignments.tolist()]
        n_allowed = self._admit(keys)
        energy_rel = self._accelerator.energy_rel(designs)
        first = {key: i for i, key in reversed(list(enumerate(keys[:n_allowed])))}
        missing = [i for key, i in first.items() if self._find(key) is None]
        missing.sort()
        self._measure(_rows(designs, np.array(missing, dtype=np.int64)), energy_rel[missing])
        accuracy = np.array([self._find(key).accuracy for key in keys[:n_allowed]], dtype=np.float64)
        measured = Measured(_rows(designs, np.arange(n_allowed)), energy_rel[:n_allowed], accuracy)
        self._batches.append(measured)
        if n_allowed < len(keys):
            raise BudgetSpent
        return measured

    def everything(self) -> Measured:
        """All designs asked for, each once, in the order of asking."""
        return _concatenate(self._batches)

    def message(self, assignment: NDArray[np.int64]) -> str:
        """Why an assignment failed."""
        return self._find(tuple(assignment.tolist())).message

    def _admit(self, keys: list[tuple[int, ...]]) -> int:
        """Counts the assignments; how many rows come before the budget is spent."""
        for i, key in enumerate(keys):
            if key not in self._asked:
                if self._budget is not None and len(self._asked) >= self._budget:
                    return i
                self._asked.add(key)
        return len(keys)

    def _find(self, key: tuple[int, ...]) -> Evaluation | None:
        return self._journal.find(self._split, key, self._fingerprint)

    def _measure(self, designs: Designs, energy_rel: NDArray[np.float64]) -> None:
        n_left = len(designs)

        def keep(results: list[Result]) -> None:
            nonlocal n_left
            self._journal.append(self._record(designs, energy_rel, result) for result in results)
            self.n_new += len(results)
            n_left -= len(results)
            self._on_results(n_left)

        self._executor.run(self._evaluator, designs.assignments, keep)

    def _record(self, designs: Designs, energy_rel: NDArray[np.float64], result: Result) -> Evaluation:
        return Evaluation(
            split=self._split,
            assignment=tuple(designs.assignments[result.index].tolist()),
            fingerprint=self._fingerprint,
            accuracy=result.accuracy,
            state="ok" if result.is_ok else "failed",
            message=result.message,
            energy_rel=float(energy_rel[result.index]),
            tiles=None if designs.tiles is None else tuple(designs.tiles[result.index].tolist()),
        )


def require_exact(evaluator: Evaluator, assignment: NDArray[np.int64], *, executor: Executor, journal: Journal) -> None:
    """Tries the exact network before anything is journaled: when that fails, so would everything.

    Raises:
        RunError: with the reason of the failure.
    """
    fingerprint, key = evaluator.fingerprint, tuple(assignment.tolist())
    if journal.find("search", key, fingerprint) is not None:
        return
    (result,) = executor.run(evaluator, assignment[None], lambda results: None)
    if not result.is_ok:
        raise RunError(
            f"the network with exact multipliers cannot be evaluated: {result.message}. Nothing was stored: "
            "correct the network or the data and repeat the command"
        )
    journal.append([Evaluation("search", key, fingerprint, result.accuracy, energy_rel=1.0)])


def objectives(measured: Measured) -> NDArray[np.float64]:
    """F, float64 [n, 2]: relative energy and accuracy loss, both minimized; NaN where the evaluation failed."""
    F = np.column_stack([measured.energy_rel, ACCURACY.to_minimize(measured.accuracy)])
    F[np.isnan(measured.accuracy)] = np.nan
    return F


def search(
    optimizer: Optimizer,
    space: Space,
    meter: Meter,
    *,
    accuracy_floor: float | None,
    display_floor: float,
    on_generation: Callable[[Progress], None],
) -> None:
    """Runs an optimizer to its end, or to the end of the meter's budget.

    Args:
        optimizer: proposes genomes.
        space: turns them into designs.
        meter: measures them, and keeps them.
        accuracy_floor: constraint told to the optimizer, in [0, 1].
        display_floor: accuracy at which progress shows the best energy, in [0, 1].
        on_generation: told the state after every generation.
    """
    begin = time.monotonic()
    progress = Progress(accuracy_floor=display_floor)
    while (X := optimizer.ask()) is not None and len(X):
        n_new = meter.n_new
        try:
            measured = meter(space.decode(X))
        except BudgetSpent:
            measured = None
        everything = meter.everything()
        progress = replace(
            progress,
            n_gen=progress.n_gen + 1,
            n_eval=meter.n_eval,
            n_new=meter.n_new,
            cache_hits=len(X) - (meter.n_new - n_new),
            hypervolume=hypervolume(objectives(everything), REFERENCE_POINT),
            best_energy_rel=best_energy(everything, display_floor),
            time_s=time.monotonic() - begin,
        )
        on_generation(progress)
        if measured is None:
            return
        G = None if accuracy_floor is None else accuracy_floor - measured.accuracy
        optimizer.tell(X, objectives(measured), G, failed=np.isnan(measured.accuracy))


def best_energy(measured: Measured, accuracy_floor: float) -> float:
    """Lowest relative energy with at least this accuracy; NaN where there is none."""
    energies = measured.energy_rel[measured.accuracy >= accuracy_floor]
    return float(energies.min()) if len(energies) else float("nan")


def select_candidates(
    measured: Measured, *, exact: NDArray[np.int64], accuracy_floor: float | None, n_designs: int
) -> Measured:
    """Designs worth another look: the front, the front without those, and so on up to `n_designs`; and the exact one.

    On few images the luckiest designs look best; the true front is among these and shows on more images.
    """
    F = objectives(measured)
    if accuracy_floor is not None:
        F[measured.accuracy < accuracy_floor] = np.nan
    chosen = np.flatnonzero((measured.designs.assignments == exact).all(axis=1))[:1].tolist()
    F[chosen] = np.nan
    while (layer := front_indices(F).tolist()) and (len(chosen) == 1 or len(chosen) + len(layer) <= n_designs):
        chosen += layer
        F[layer] = np.nan
    rows = np.array(sorted(chosen), dtype=np.int64)
    return Measured(_rows(measured.designs, rows), measured.energy_rel[rows], measured.accuracy[rows])


def select_front(measured: Measured, *, exact: NDArray[np.int64], accuracy_floor: float | None) -> Measured:
    """The nondominated designs (at or above the floor), and the exact one, sorted by energy."""
    F = objectives(measured)
    if accuracy_floor is not None:
        F[measured.accuracy < accuracy_floor] = np.nan
    chosen = front_indices(F).tolist()
    is_exact = (measured.designs.assignments == exact).all(axis=1)
    if not is_exact[chosen].any():
        chosen.append(int(np.flatnonzero(is_exact)[0]))
    chosen.sort(key=lambda i: (measured.energy_rel[i], -measured.accuracy[i]))
    rows = np.array(chosen, dtype=np.int64)
    return Measured(_rows(measured.designs, rows), measured.energy_rel[rows], measured.accuracy[rows])


def _rows(designs: Designs, rows: NDArray[np.int64]) -> Designs:
    return Designs(
        designs.assignments[rows],
        None if designs.tiles is None else designs.tiles[rows],
        None if designs.tile_multipliers is None else designs.tile_multipliers[rows],
    )


def _concatenate(batches: list[Measured]) -> Measured:
    def join(arrays: list[NDArray | None]) -> NDArray | None:
        return None if any(a is None for a in arrays) else np.concatenate(arrays)

    designs = Designs(
        np.concatenate([b.designs.assignments for b in batches]),
        join([b.designs.tiles for b in batches]),
        join([b.designs.tile_multipliers for b in batches]),
    )
    key = designs.assignments if designs.tiles is None else np.hstack([designs.assignments, designs.tiles])
    _, first = np.unique(key, axis=0, return_index=True)
    rows = np.sort(first)
    energy_rel = np.concatenate([b.energy_rel for b in batches])[rows]
    return Measured(_rows(designs, rows), energy_rel, np.concatenate([b.accuracy for b in batches])[rows])

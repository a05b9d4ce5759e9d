"""The loop of a search: ask, decode, look up or measure, journal, tell.

A search is continued by replaying it: the same seed asks for the same designs, and the journal answers those that were
measured before. Nothing in here may therefore depend on the clock, on the number of workers or on what was replayed.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dse.errors import RunError
from dse.objectives import ACCURACY, MEMORY_REL, reference_point
from dse.pareto import front_indices, hypervolume
from dse.runs.execution import Evaluator, Executor
from dse.runs.journal import Evaluation, Journal, pack_hits
from dse.runs.measured import Measured
from dse.runs.meter import BudgetSpent, Meter
from dse.runs.work import Result
from dse.search.optimizers import Optimizer
from dse.search.space import Space


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    Attributes:
        phase: `search`, then `confirm` (unless the search used all of its images), then `report`.
        n_gen: generations finished.
        n_eval: different assignments measured so far, by whichever process.
        n_new: those measured by this process.
        n_images: images measured for them so far, by whichever process.
        cache_hits: requests in the last generation that needed no measurement.
        hypervolume: of everything measured, with `reference_point`.
        best_energy_rel: lowest energy at or above `accuracy_floor`; NaN where there is none.
        time_s: since this process began.
        n_left: evaluations left in this batch, those that are partly done by their share.
        F: `objectives` of everything measured at the end of the last generation, float64 [n, n_objectives], in the
            order of asking: a run asks for the exact network first. None before.
    """

    phase: str = "search"
    n_gen: int = 0
    n_eval: int = 0
    n_new: int = 0
    n_images: int = 0
    cache_hits: int = 0
    hypervolume: float = 0.0
    best_energy_rel: float = float("nan")
    accuracy_floor: float = float("nan")
    time_s: float = 0.0
    n_left: int = 0
    F: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Start:
    """What is about to run, for people: sizes, and how much an earlier process left in the journal; `place` is that of
    the jobs, empty on this machine."""

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
    place: str = ""


class Observer(Protocol):
    """Told how a run goes on; must not change anything."""

    def on_start(self, start: Start) -> None:
        """Everything is loaded."""

    def on_learning(self, n_done: int, n_steps: int) -> None:
        """Tolerances are being learned, before anything is simulated."""

    def on_evaluation(self, progress: Progress) -> None:
        """Some images are measured; `progress.n_left` evaluations remain in the batch."""

    def on_generation(self, progress: Progress) -> None:
        """A generation is done."""


def require_exact(
    evaluator: Evaluator,
    assignment: NDArray[np.int64],
    *,
    executor: Executor,
    journal: Journal,
    energy_rel: float = 1.0,
) -> None:
    """Tries the exact network before anything is journaled: when that fails, so would everything.

    Args:
        evaluator: of the search.
        assignment: the exact one, int64 [n_layers].
        executor: where it is measured.
        journal: keeps it.
        energy_rel: of it; below 1 where weights of zero are skipped.

    Raises:
        RunError: with the reason of the failure.
    """
    fingerprint, key = evaluator.fingerprint, tuple(assignment.tolist())
    if journal.find("search", key, fingerprint) is not None:
        return

    def keep(results: Sequence[Result]) -> None:
        whole = (r for r in results if r.is_ok and len(r.hits) == evaluator.n_images)
        journal.append(_exact_evaluation(key, fingerprint, r, energy_rel) for r in whole)

    (result,) = executor.run(evaluator, assignment[None], keep)
    if not result.is_ok:
        raise RunError(
            f"the network with exact multipliers cannot be evaluated: {result.message}. Nothing was stored: "
            "correct the network or the data and repeat the command"
        )


def _exact_evaluation(key: tuple[int, ...], fingerprint: str, result: Result, energy_rel: float) -> Evaluation:
    return Evaluation(
        "search", key, fingerprint, result.accuracy, energy_rel=energy_rel, n_images=len(result.hits),
        hits=pack_hits(result.hits),
    )  # fmt: skip


def objectives(measured: Measured) -> NDArray[np.float64]:
    """F, float64 [n, 2 or 3]: relative energy and accuracy loss, and relative memory where it is an objective, all
    minimized; NaN where not all images were measured."""
    F = _told(measured)
    F[~measured.is_complete] = np.nan
    return F


def _told(measured: Measured) -> NDArray[np.float64]:
    """Like `objectives`, with the estimates of designs that lost a race; NaN where the evaluation failed."""
    columns = [measured.energy_rel, ACCURACY.to_minimize(measured.accuracy)]
    if measured.memory_rel is not None:
        columns.append(MEMORY_REL.to_minimize(measured.memory_rel))
    F = np.column_stack(columns)
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
    begin: float | None = None,
) -> None:
    """Runs an optimizer to its end, or to the end of the meter's budget.

    Args:
        optimizer: proposes genomes.
        space: turns them into designs.
        meter: measures them, and keeps them.
        accuracy_floor: constraint told to the optimizer, in [0, 1].
        display_floor: accuracy at which progress shows the best energy, in [0, 1].
        on_generation: told the state after every generation.
        begin: when the search began, on `time.monotonic`'s clock: what it learned before it asked counts; None is now.
    """
    begin = time.monotonic() if begin is None else begin
    progress = Progress(accuracy_floor=display_floor)
    while (X := optimizer.ask()) is not None and len(X):
        n_new = meter.n_new
        try:
            measured = meter(space.decode(X))
        except BudgetSpent:
            measured = None
        everything = meter.everything()
        F = objectives(everything)
        progress = replace(
            progress,
            n_gen=progress.n_gen + 1,
            n_eval=meter.n_eval,
            n_new=meter.n_new,
            n_images=meter.n_images,
            cache_hits=len(X) - (meter.n_new - n_new),
            hypervolume=hypervolume(F, reference_point(F.shape[1])),
            best_energy_rel=best_energy(everything, display_floor),
            time_s=time.monotonic() - begin,
            F=F,
        )
        on_generation(progress)
        if measured is None:
            return
        G = None if accuracy_floor is None else accuracy_floor - measured.accuracy
        optimizer.tell(X, _told(measured), G, failed=np.isnan(measured.accuracy))


def best_energy(measured: Measured, accuracy_floor: float) -> float:
    """Lowest relative energy with at least this accuracy on all images; NaN where there is none."""
    energies = measured.energy_rel[measured.is_complete & (measured.accuracy >= accuracy_floor)]
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
    return measured.take(np.array(sorted(chosen), dtype=np.int64))


def select_front(measured: Measured, *, exact: NDArray[np.int64], accuracy_floor: float | None) -> Measured:
    """The nondominated designs (at or above the floor), and the exact one, sorted by energy."""
    F = objectives(measured)
    if accuracy_floor is not None:
        F[measured.accuracy < accuracy_floor] = np.nan
    chosen = front_indices(F).tolist()
    is_exact = (measured.designs.assignments == exact).all(axis=1)
    if not is_exact[chosen].any():
        chosen.append(int(np.flatnonzero(is_exact)[0]))
    chosen.sort(key=lambda i: (measured.energy_rel[i], -measured.accuracy[i], *F[i, 2:]))
    return measured.take(np.array(chosen, dtype=np.int64))

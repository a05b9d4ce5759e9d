"""The meter of a search: looks designs up or measures them, journals what it learns, and keeps to the budget.

With a race (see `dse.search.racing`) a batch is measured stage by stage: every candidate on the first images, those not
yet beaten on some more, and so on. The rival of a candidate is the most accurate design that was measured on all images
before this batch and costs no more. Every stage is journaled as soon as it exists, and a later one goes on from
there. What happens depends on outcomes and on the order of asking only: a replay from the journal, another number of
workers or other chunks end the same way.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dse import stopping
from dse.cost.accelerators import Accelerator, Designs
from dse.cost.weight_memory import WeightMemory
from dse.runs.execution import Evaluator, Executor
from dse.runs.journal import Evaluation, Journal, Split, pack_hits
from dse.runs.measured import Measured, join
from dse.runs.work import Result
from dse.search.racing import Race, choose_rivals, told_accuracy


class BudgetSpent(Exception):
    """The search asked for more evaluations than it may have; everything within the budget was measured."""


@dataclass(frozen=True, eq=False)
class _Batch:
    """Designs that are being measured, with what is `known` of them before; `accuracy` and `n_images` are filled in."""

    known: Measured
    keys: list[tuple[int, ...]]
    rivals: list[Evaluation | None]
    stops: tuple[int, ...]
    accuracy: NDArray[np.float64]
    n_images: NDArray[np.int64]


class Meter:
    """Measures designs, each assignment once ever on any image, and remembers them in the order of asking.

    Args:
        evaluator: measures accuracy on the images of `split`.
        split: the name of those images in the journal.
        accelerator: says what a design costs.
        memory: says how large its weights are; `None` where that is no objective.
        journal: finds and keeps evaluations.
        executor: where they are measured.
        budget: evaluations on all images that may be asked for, or as many images in parts; `None`: any number.
        race: how designs are stopped early; `None`: never.
        on_results: told every so often how many evaluations' worth of images are left in the batch, or in this stage of
            its race.
    """

    def __init__(
        self,
        evaluator: Evaluator,
        split: Split,
        *,
        accelerator: Accelerator,
        journal: Journal,
        executor: Executor,
        memory: WeightMemory | None = None,
        budget: int | None = None,
        race: Race | None = None,
        on_results: Callable[[int], None] = lambda n_left: None,
    ) -> None:
        self._evaluator, self._split = evaluator, split
        self._fingerprint = evaluator.fingerprint  # an evaluator may hash its whole network to tell it
        self._accelerator, self._memory, self._journal, self._executor = accelerator, memory, journal, executor
        self._all = int(evaluator.n_images)
        self._budget, self._race, self._on_results = budget, race, on_results
        self._asked: dict[tuple[int, ...], int] = {}  # images of each assignment
        self._new: set[tuple[int, ...]] = set()
        self._batches: list[Measured] = []

    @property
    def n_eval(self) -> int:
        """Different assignments asked for so far, whether measured now or found in the journal."""
        return len(self._asked)

    @property
    def n_new(self) -> int:
        """Those of them that were measured here, on some images at least."""
        return len(self._new)

    @property
    def n_images(self) -> int:
        """Images asked for so far, whether measured now or found in the journal: what the search has cost."""
        return sum(self._asked.values())

    def __call__(self, designs: Designs, *, is_raced: bool = True) -> Measured:
        """Measures designs, or as many as the budget allows and then raises `BudgetSpent`.

        Args:
            designs: what to measure.
            is_raced: stop designs that are beaten, where this meter has a race.
        """
        batch = self._batch(designs, self._race if is_raced else None)
        n, n_done = len(designs), 0
        # A race may cost less than was set aside for it: the rest of the budget goes to further designs.
        while n_more := self._n_affordable(batch.keys[n_done:]):
            self._run(batch, np.arange(n_done, n_done + n_more))
            n_done += n_more
        incomplete = replace(batch.known, accuracy=batch.accuracy, n_images=batch.n_images)
        measured = self._settle(incomplete.take(np.arange(n_done)))
        self._batches.append(measured)
        if n_done < n:
            raise BudgetSpent
        return measured

    def everything(self) -> Measured:
        """All designs asked for, each once, in the order of asking."""
        return self._settle(join(self._batches))

    def message(self, assignment: NDArray[np.int64]) -> str:
        """Why an assignment failed."""
        return self._find(tuple(assignment.tolist())).message

    def _batch(self, designs: Designs, race: Race | None) -> _Batch:
        keys = [tuple(row) for row in designs.assignments.tolist()]
        n, stops = len(keys), (self._all,) if race is None else race.stops(self._all)
        unmeasured = Measured(
            designs, self._accelerator.energy_rel(designs), np.full(n, np.nan), np.zeros(n, dtype=np.int64),
            np.zeros(n, dtype=np.bool_), None if self._memory is None else self._memory.rel(designs),
        )  # fmt: skip
        rivals = self._rivals(unmeasured.costs) if len(stops) > 1 else [None] * n
        return _Batch(unmeasured, keys, rivals, stops, unmeasured.accuracy.copy(), unmeasured.n_images.copy())

    def _rivals(self, costs: NDArray[np.float64]) -> list[Evaluation | None]:
        if not self._batches:
            return [None] * len(costs)
        known = self.everything()
        found = [self._find(key) for key in known.keys]
        # Journals of the first format know no outcomes of single images.
        rows = [i for i in np.flatnonzero(known.is_complete) if found[i].hits]
        chosen = choose_rivals(costs, known_costs=known.costs[rows], known_accuracy=known.accuracy[rows])
        return [found[rows[i]] if i >= 0 else None for i in chosen]

    def _n_affordable(self, keys: list[tuple[int, ...]]) -> int:
        """How many rows fit into the budget even if none of them is beaten."""
        if self._budget is None:
            return len(keys)
        left, reserved = self._budget * self._all - self.n_images, set()
        for i, key in enumerate(keys):
            if key not in reserved:
                left -= self._all - self._asked.get(key, 0)
                reserved.add(key)
            if left < 0:
                return i
        return len(keys)

    def _run(self, batch: _Batch, rows: NDArray[np.int64]) -> None:
        """Measures some rows of a batch: those with a rival stage by stage, then the rest of all that are left."""
        is_open = np.array([self._asked.get(batch.keys[i], 0) < self._all for i in rows], dtype=np.bool_)
        has_rival = np.array([batch.rivals[i] is not None for i in rows], dtype=np.bool_)
        racing = rows[is_open & has_rival]
        for stop in batch.stops[:-1]:
            self._measure(batch, racing, stop)
            racing = racing[[self._is_measured(batch.keys[i], stop) for i in racing]]
            racing = self._drop_beaten(batch, racing, stop)
        self._measure(batch, np.union1d(rows[is_open & ~has_rival], racing), self._all)

    def _is_measured(self, key: tuple[int, ...], stop: int) -> bool:
        found = self._find(key)
        return found.state != "failed" or found.n_images >= stop

    def _drop_beaten(self, batch: _Batch, rows: NDArray[np.int64], stop: int) -> NDArray[np.int64]:
        """The rows that go on; what is told of the others is filled in, and that they lost is journaled."""
        hits = {int(i): self._find(batch.keys[i]).first_hits(stop) for i in rows}
        paired = [i for i in hits if hits[i] is not None]
        if not paired:
            return rows
        candidate = np.stack([hits[i] for i in paired])
        rival = np.stack([batch.rivals[i].first_hits(stop) for i in paired])
        told = told_accuracy(candidate, rival, [batch.rivals[i].accuracy for i in paired])
        is_beaten = self._race.is_beaten(candidate, rival, len(batch.stops) - 1)
        beaten = np.array(paired, dtype=np.int64)[is_beaten]
        batch.accuracy[beaten] = told[is_beaten]
        rows = np.setdiff1d(rows, beaten)
        staying = {batch.keys[i] for i in rows}
        self._record_raced({batch.keys[i] for i in beaten} - staying, stop)
        return rows

    def _record_raced(self, keys: Iterable[tuple[int, ...]], stop: int) -> None:
        found = [self._find(key) for key in sorted(keys)]
        # A replay finds some of them told already, or measured further at a later call.
        new = [replace(e, state="raced") for e in found if e.state == "partial" and e.n_images == stop]
        self._journal.append(new)

    def _measure(self, batch: _Batch, rows: NDArray[np.int64], stop: int) -> None:
        """Makes the outcomes of the first `stop` images known, unless the evaluation fails."""
        batch.n_images[rows] = stop
        missing: dict[int, list[int]] = {}  # by images that are known
        for key, i in {batch.keys[i]: int(i) for i in reversed(rows)}.items():
            self._asked[key] = max(self._asked.get(key, 0), stop)
            found = self._find(key)
            n_known = 0 if found is None else found.n_images
            if found is None or not (found.is_final or n_known >= stop):
                missing.setdefault(n_known, []).append(i)
        n_left = sum(len(part) for part in missing.values())
        for start, part in sorted(missing.items()):
            n_left -= len(part)
            self._simulate(batch, np.array(sorted(part), dtype=np.int64), start=start, stop=stop, n_later=n_left)

    def _simulate(self, batch: _Batch, rows: NDArray[np.int64], *, start: int, stop: int, n_later: int) -> None:
        stopping.check()
        n_images = np.full(len(rows), stop - start)  # left to measure

        def keep(results: list[Result]) -> None:
            self._journal.append(self._record(batch, rows[r.index], r, start=start) for r in results)
            self._new.update(batch.keys[rows[r.index]] for r in results)
            for r in results:
                n_images[r.index] = stop - start - len(r.hits) if r.is_ok else 0
            # All assignments may go through the first images before one of them is done.
            self._on_results(n_later + int(np.ceil(n_images.sum() / (stop - start))))

        self._executor.run(self._evaluator, batch.known.designs.assignments[rows], keep, start=start, stop=stop)

    def _record(self, batch: _Batch, row: int, result: Result, *, start: int) -> Evaluation:
        key, tiles = batch.keys[row], batch.known.designs.tiles
        hits = np.empty(0, dtype=np.bool_) if start == 0 else self._find(key).first_hits(start)
        if result.is_ok:
            hits = np.concatenate([hits, result.hits])
        return Evaluation(
            split=self._split,
            assignment=key,
            fingerprint=self._fingerprint,
            accuracy=float(hits.mean()) if result.is_ok else float("nan"),
            state="failed" if not result.is_ok else "ok" if len(hits) == self._all else "partial",
            message=result.message,
            energy_rel=float(batch.known.energy_rel[row]),
            tiles=None if tiles is None else tuple(tiles[row].tolist()),
            n_images=len(hits),
            hits=pack_hits(hits),
        )

    def _settle(self, measured: Measured) -> Measured:
        """With the outcome of every assignment that has been asked for on all images."""
        accuracy, n_images = measured.accuracy.copy(), measured.n_images.copy()
        is_complete = measured.is_complete.copy()
        for i, key in enumerate(measured.keys):
            if not is_complete[i] and self._asked[key] == self._all:
                found = self._find(key)
                accuracy[i], n_images[i], is_complete[i] = found.accuracy, self._all, found.state == "ok"
        return replace(measured, accuracy=accuracy, n_images=n_images, is_complete=is_complete)

    def _find(self, key: tuple[int, ...]) -> Evaluation | None:
        return self._journal.find(self._split, key, self._fingerprint)

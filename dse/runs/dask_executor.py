"""Workers of a dask cluster measure assignments.

Chunks of assignments are tasks. Those of a worker that died, dask gives to others; those of a worker that hangs are
given to others here, and whichever answer comes first counts: all are equal. What was handed over is never measured
again, whatever happens to the worker that measured it.
"""

import logging
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from distributed import Client, Future, KilledWorker
from distributed.comm import CommClosedError
from numpy.typing import NDArray

from dse import __version__, stopping
from dse.errors import DseError, RunError
from dse.runs.dask_worker import Answer, Chunk, EvaluatorPlugin, NotSent, measure
from dse.runs.execution import Evaluator, Executor, cut, packed
from dse.runs.work import Result, Work

_log = logging.getLogger("dse")

TICK_S = 0.5
"""How often hanging workers are looked for."""

NEWS_S = 0.2
"""A message from a worker takes less, as a rule."""

FIRST_TIMEOUT_S = 1800.0
"""A worker's time for a chunk before anything is known of how long an assignment takes."""

MIN_TIMEOUT_S, TIMEOUT_FACTOR = 120.0, 20.0
"""Later it is so many times as long as the slowest so far would have taken, or this where that is less."""

NO_WORKERS_S = 120.0
"""How long a cluster may be without workers."""

RESTART_S = 20.0
"""How long a hanging worker may take to end by itself."""

MAX_KILLS = 3
"""So many times an assignment that was alone in its chunk may be given up by dask, each after several dead workers."""


@dataclass(eq=False)
class _Flight:
    """A chunk on its way: `begin` and `worker` are known once it is computed."""

    chunk: Chunk
    future: Future
    n_before: int
    begin: float | None = None
    worker: str | None = None
    is_late: bool = False

    @property
    def indices(self) -> set[int]:
        """Of its assignments in the batch."""
        return {int(i) for i in self.chunk.indices}


@dataclass(eq=False)
class _Pace:
    """How long a chunk may take.

    Attributes:
        timeout_s: for an assignment on any images; `None`: by experience.
        slowest_s: for an assignment on one image, so far.
    """

    timeout_s: float | None
    slowest_s: float = 0.0

    def learn(self, chunk: Chunk, time_s: float) -> None:
        """Takes account of a chunk that is done."""
        n = len(chunk.indices) * max(chunk.work.n_images, 1)
        self.slowest_s = max(self.slowest_s, time_s / n)

    def limit(self, flight: _Flight) -> float:
        """In s; twice as long each time that it was not enough."""
        chunk = flight.chunk
        n = len(chunk.indices)
        if self.timeout_s is not None:
            limit = self.timeout_s * n
        elif self.slowest_s == 0:
            limit = FIRST_TIMEOUT_S
        else:
            limit = max(MIN_TIMEOUT_S, TIMEOUT_FACTOR * self.slowest_s * n * chunk.work.n_images)
        return limit * 2.0**flight.n_before


class DaskExecutor(Executor):
    """Measures on the workers of a dask cluster.

    Args:
        client: connected to it.
        place: what the cluster is, for people.
        threads: of each evaluation; a worker does as many at a time as dask's `nthreads` says.
        timeout_s: what an assignment may take before it is given to another worker too; `None`: by experience.
        is_own: whether nobody else uses the cluster, so that hanging workers may be restarted.
        no_workers_s: how long it may be without workers; `None`: forever, as where jobs wait in a queue.
        on_close: called at the end.
    """

    def __init__(
        self,
        client: Client,
        *,
        place: str,
        threads: int | None = None,
        timeout_s: float | None = None,
        is_own: bool = False,
        no_workers_s: float | None = NO_WORKERS_S,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.threads = threads or 1
        self._client, self._place, self._is_own, self._on_close = client, place, is_own, on_close
        self._no_workers_s = no_workers_s
        self._topic = f"dse-{uuid.uuid4().hex}"
        self._pace = _Pace(timeout_s)
        self._sent: set[str] = set()
        self._flights: dict[int, _Flight] = {}
        self._hanging: set[str] = set()
        self._n_launched = 0
        self._seen_s = time.monotonic()
        self._began: queue.SimpleQueue[tuple[int, str, float]] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[int] = queue.SimpleQueue()
        client.subscribe_topic(self._topic, self._on_begin)

    @property
    def jobs(self) -> int:
        """See `Executor`; workers may come and go."""
        return max(1, sum(self._client.nthreads().values()))

    @property
    def place(self) -> str:
        """See `Executor`."""
        return self._place

    def close(self) -> None:
        """Ends the connection, and the cluster where it was started for this."""
        try:
            for fingerprint in self._sent:
                self._client.unregister_worker_plugin(_plugin_name(fingerprint))
        except Exception:
            _log.debug("evaluators stay on the cluster", exc_info=True)
        self._on_close()

    def _chunks_done(self, evaluator: Evaluator, work: Work) -> Iterator[list[Result]]:
        order = work.related_first()
        if not len(order):
            return
        batch = _Batch(evaluator, evaluator.fingerprint, work, {int(i) for i in order})
        self._provide(batch)
        try:
            for rows in cut(order, self.jobs):
                self._launch(batch, rows)
            while batch.missing:
                results = self._land(batch)
                if results:
                    yield results
                if stopping.is_asked():
                    self._end_early()
        finally:
            self._cancel([*self._flights.values()])

    def _end_early(self) -> None:
        """Lets go of what no worker has begun.

        Raises:
            Stopped: what they had begun has come.
        """
        time.sleep(NEWS_S)  # a worker that has just answered is at the next chunk, and its word of that on the way
        self._note_begins()
        self._cancel([flight for flight in self._flights.values() if flight.begin is None])
        if not self._flights:
            stopping.check()

    def _provide(self, batch: "_Batch") -> None:
        """Sends the evaluator to all workers of now and later, once."""
        if batch.fingerprint not in self._sent:
            plugin = EvaluatorPlugin(batch.fingerprint, packed(batch.evaluator))
            end = time.monotonic() + NO_WORKERS_S
            while not self._has_registered(plugin, _plugin_name(batch.fingerprint)):
                stopping.check()
                self._require_connection()
                if time.monotonic() > end:
                    raise RunError(
                        f"workers of {self._place} die while they are sent network and data, most likely for lack of "
                        "memory. Everything measured is saved: give them more memory and repeat the command"
                    )
                time.sleep(TICK_S)
            self._sent.add(batch.fingerprint)

    def _has_registered(self, plugin: EvaluatorPlugin, name: str) -> bool:
        """Whether all workers have it; not where one of them died meanwhile."""
        try:
            self._client.register_plugin(plugin, name=name)
        except CommClosedError:
            _log.debug("a worker died while it was sent an evaluator", exc_info=True)
            return False
        return True

    def _launch(self, batch: "_Batch", rows: NDArray[np.int64], *, n_before: int = 0) -> None:
        self._n_launched += 1
        number = self._n_launched
        chunk = Chunk(
            number, self._topic, __version__, batch.fingerprint, self.threads, rows, batch.work.take(rows),
        )  # fmt: skip
        workers = self._healthy()
        future = self._client.submit(
            measure, chunk, key=f"{self._topic}-{number}", pure=False, workers=workers,
            allow_other_workers=workers is not None,
        )  # fmt: skip
        self._flights[number] = _Flight(chunk, future, n_before)
        future.add_done_callback(lambda _: self._ended.put(number))

    def _healthy(self) -> list[str] | None:
        """Workers that may get something; `None` for all."""
        if not self._hanging:
            return None
        return [worker for worker in self._client.nthreads() if worker not in self._hanging] or None

    def _land(self, batch: "_Batch") -> list[Result]:
        """Results of chunks that came by now, waiting a moment for some."""
        ended = self._drain()
        self._note_begins()
        results = []
        for answer, flight in self._answers(batch, ended):
            self._pace.learn(flight.chunk, answer.time_s)
            self._hanging.discard(flight.worker)
            new = [r for r in answer.results if r.index in batch.missing]  # not what another worker told before
            batch.missing -= {r.index for r in new}
            results += new
        if results:
            self._seen_s = time.monotonic()
        self._drop_needless(batch)
        self._relieve_hanging(batch)
        self._require_workers()
        return results

    def _drain(self) -> list[_Flight]:
        numbers = []
        try:
            numbers.append(self._ended.get(timeout=TICK_S))
            while True:
                numbers.append(self._ended.get_nowait())
        except queue.Empty:
            return [self._flights[number] for number in numbers if number in self._flights]

    def _answers(self, batch: "_Batch", ended: list[_Flight]) -> Iterator[tuple[Answer, _Flight]]:
        """Those of chunks that are done; the others go elsewhere."""
        done = {flight.future.key: flight for flight in ended if flight.future.status == "finished"}
        # A result that is lost with its worker before it was fetched is missing from the dictionary.
        answers = self._client.gather({key: f.future for key, f in done.items()}, errors="skip") if done else {}
        for flight in ended:
            answer = answers.get(flight.future.key)
            if isinstance(answer, Answer):
                del self._flights[flight.chunk.number]
                flight.future.release()
                yield answer, flight
            else:
                self._try_again(batch, flight)

    def _try_again(self, batch: "_Batch", flight: _Flight) -> None:
        """Sends a chunk that came to nothing once more.

        Raises:
            RunError: that would not help.
        """
        if flight.chunk.number not in self._flights:
            return
        self._cancel([flight])
        error = flight.future.exception() if flight.future.status == "error" else None
        if isinstance(error, DseError):
            raise error
        if isinstance(error, KilledWorker):
            self._split(batch, flight)
            return
        if isinstance(error, NotSent):
            self._sent.discard(batch.fingerprint)
        elif error is not None:
            raise RunError(
                f"a worker of {self._place} cannot evaluate: {type(error).__name__}: {error}. Its Python needs the "
                "same packages as this one, dse among them, and its device. Everything measured is saved: repeat the "
                "command"
            )
        else:
            self._require_connection()
        self._provide(batch)
        self._launch(batch, flight.chunk.indices, n_before=flight.n_before)

    def _split(self, batch: "_Batch", flight: _Flight) -> None:
        """Workers died over a chunk: its assignments go on one by one, as one of them may need too much memory."""
        rows = flight.chunk.indices
        for i in rows:
            batch.n_kills[int(i)] = n_kills = batch.n_kills.get(int(i), 0) + (len(rows) == 1)
            if n_kills >= MAX_KILLS:
                raise RunError(
                    f"every worker of {self._place} that evaluated {batch.work.assignments[i].tolist()} died, most "
                    "likely for lack of memory. Everything measured before is saved: give the workers more memory and "
                    "repeat the command"
                )
            self._launch(batch, np.array([i]), n_before=flight.n_before)

    def _require_connection(self) -> None:
        """Waits for the scheduler if the connection was lost; one that was restarted knows nothing."""
        if self._client.status != "running":
            _log.warning("the connection to %s was lost; waiting for it", self._place)
            end = time.monotonic() + NO_WORKERS_S
            while self._client.status == "connecting" and time.monotonic() < end:
                time.sleep(TICK_S)
            if self._client.status != "running":
                raise RunError(
                    f"the connection to {self._place} was lost. Everything measured is saved: repeat the same command "
                    "when the scheduler is back, or without --cluster"
                )
            self._sent.clear()
            self._client.subscribe_topic(self._topic, self._on_begin)

    def _drop_needless(self, batch: "_Batch") -> None:
        """Lets go of chunks whose assignments others have measured."""
        self._cancel([f for f in self._flights.values() if f.indices.isdisjoint(batch.missing)])

    def _cancel(self, flights: list[_Flight]) -> None:
        for flight in flights:
            self._flights.pop(flight.chunk.number, None)
        pending = [flight.future for flight in flights if flight.future.status == "pending"]
        if pending and self._client.status == "running":
            self._client.cancel(pending)

    def _on_begin(self, event: tuple[float, Any]) -> None:
        """In dask's thread: a worker says that it begins."""
        _, message = event
        self._began.put((message["chunk"], message["worker"], time.monotonic()))

    def _note_begins(self) -> None:
        while not self._began.empty():
            number, worker, begin = self._began.get()
            if number in self._flights:
                self._flights[number].worker, self._flights[number].begin = worker, begin

    def _relieve_hanging(self, batch: "_Batch") -> None:
        """Gives what waits for a worker that takes too long to others."""
        now = time.monotonic()
        for flight in [*self._flights.values()]:
            if flight.begin is None or flight.is_late or now - flight.begin <= self._pace.limit(flight):
                continue
            if flight.worker not in self._client.nthreads():  # it died, and dask has given the chunk to others
                flight.worker = flight.begin = None
                continue
            _log.warning(
                "worker %s has not answered for %.0f s: its evaluations go to others", flight.worker, now - flight.begin
            )
            self._hanging.add(flight.worker)
            for other in self._at(flight.worker):
                other.is_late = True
                if self._is_own or other.begin is None:
                    self._cancel([other])
                rows = np.array(sorted(other.indices & batch.missing), dtype=np.int64)
                self._launch(batch, rows, n_before=other.n_before + 1)
            if self._is_own:
                self._restart(flight.worker)

    def _at(self, worker: str) -> list[_Flight]:
        """Chunks that a worker computes, or that wait there."""
        keys = set(self._client.processing().get(worker, ()))
        return [f for f in self._flights.values() if f.worker == worker or (f.begin is None and f.future.key in keys)]

    def _restart(self, worker: str) -> None:
        """Has another process take its place; that may take a while, and nothing waits for it."""

        def restart() -> None:
            try:
                self._client.restart_workers([worker], timeout=RESTART_S, raise_for_error=False)
            except Exception:
                _log.debug("worker %s was not restarted", worker, exc_info=True)

        threading.Thread(target=restart, daemon=True).start()

    def _require_workers(self) -> None:
        now = time.monotonic()
        if self._no_workers_s is None or now - self._seen_s < self._no_workers_s / 4:
            return
        if self._client.status == "running" and self._client.nthreads():
            self._seen_s = now
        elif now - self._seen_s > self._no_workers_s:
            raise RunError(
                f"{self._place} has had no workers for {self._no_workers_s:.0f} s. Everything measured is saved: start "
                "workers and repeat the same command, or leave --cluster out"
            )


@dataclass(eq=False)
class _Batch:
    """Assignments of one call; `missing` are those without result."""

    evaluator: Evaluator
    fingerprint: str
    work: Work
    missing: set[int]
    n_kills: dict[int, int] = field(default_factory=dict)


def _plugin_name(fingerprint: str) -> str:
    return f"dse-{fingerprint}"

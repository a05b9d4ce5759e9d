"""Where assignments are measured: in this process, or in worker processes or threads through joblib.

The evaluator reaches each worker once, processes through a file; afterwards only integer assignments travel. Every
result is handed over as soon as it exists, so that a killed run loses at most the few evaluations in flight. Results do
not depend on the number of workers, nor on how assignments are cut into chunks. Workers on other machines are in
`dse.runs.dask_executor`.

An evaluator may measure a batch of assignments in parts (`correct_in_parts`), all of them on some images before any of
them on more, so that they share work. In this process parts are handed over every so often; a worker measures a chunk
as a whole.
"""

import logging
import os
import pickle
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal, Protocol

import cloudpickle
import joblib
import numpy as np
from numpy.typing import NDArray

from dse import stopping
from dse.errors import ConfigError, RunError, ShapeError
from dse.runs.work import Joined, Result, Work, cut_images

_log = logging.getLogger("dse")

CHUNK_TIME_S = 0.5
"""Work that a kill may lose, about; also how often progress moves."""

MAX_CHUNK = 32


class Evaluator(Protocol):
    """Measures assignments; see `dse.evaluation`. Must be deterministic, and picklable for more than one job.

    A method `correct_in_parts` with the arguments of `correct` may yield the same outcomes piece by piece: a row of the
    assignments, and the outcomes of its next few images.
    """

    fingerprint: str
    n_images: int

    def correct(self, assignments: NDArray[np.int64], start: int, stop: int) -> NDArray[np.bool_]:
        """Whether images start..stop-1 are classified correctly, bool [n, stop - start], of int64 [n, n_layers]."""


OnResults = Callable[[Sequence[Result]], None]


def available_cpus() -> int:
    """Cores this process may use: what SLURM granted, else its affinity mask."""
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdecimal() and int(granted) > 0:
        return int(granted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Executor(ABC):
    """Measures batches of assignments somewhere. Use as a context manager: it may keep files, processes, connections.

    Attributes:
        threads: of every job.
    """

    threads: int

    @property
    @abstractmethod
    def jobs(self) -> int:
        """How many evaluations go on at a time."""

    @property
    def place(self) -> str:
        """Where, for people; empty on this machine."""
        return ""

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Lets go of whatever it keeps."""

    def run(
        self,
        evaluator: Evaluator,
        assignments: NDArray[np.int64],
        on_results: OnResults,
        *,
        start: int = 0,
        stop: int | None = None,
    ) -> list[Result]:
        """Measures every assignment on the images start..stop-1.

        Args:
            evaluator: what measures.
            assignments: int64 [n, n_layers]; not changed.
            on_results: called with a few results as soon as they exist, in any order; with one of the first images of
                an assignment, maybe, before that of more and finally all of them.
            start: first image.
            stop: one past the last image; all by default.

        Returns:
            One result per assignment, in their order. An assignment whose evaluation raises or returns something else
            than one bool an image has a message and no hits.
        """
        results: dict[int, Result] = {}
        stop = int(evaluator.n_images) if stop is None else stop
        work = cut_images(assignments, start, stop, jobs=self.jobs)
        joined = Joined(work, len(assignments))
        for part in map(joined.add, self._chunks_done(evaluator, work)):
            if part:
                on_results(part)
                results.update((r.index, r) for r in part)
        return [results[i] for i in range(len(assignments))]

    @abstractmethod
    def _chunks_done(self, evaluator: Evaluator, work: Work) -> Iterator[list[Result]]:
        """Results of a few rows after the other, in any order."""


def cut(rows: NDArray[np.int64], jobs: int) -> Iterator[NDArray[np.int64]]:
    """Chunks of rows: several for each job, so that no job waits long for the others."""
    size = int(np.clip(len(rows) // (4 * jobs), 1, MAX_CHUNK))
    return (rows[start : start + size] for start in range(0, len(rows), size))


Backend = Literal["loky", "threading"]


class LocalExecutor(Executor):
    """Runs batches in this process, or on `jobs` processes or threads of this machine.

    Args:
        jobs: how many.
        threads: of each of them; by default they share the cores evenly.
        backend: of joblib, for more than one job.
    """

    def __init__(self, jobs: int = 1, threads: int | None = None, *, backend: Backend = "loky") -> None:
        if jobs < 1 or (threads is not None and threads < 1):
            raise ConfigError(f"jobs = {jobs}, threads = {threads}: expected numbers of at least 1")
        self._jobs, self._backend = jobs, backend
        self.threads = threads or max(1, available_cpus() // jobs)
        self._folder = tempfile.TemporaryDirectory(prefix="dse-") if jobs > 1 and backend == "loky" else None
        self._files: dict[str, Path] = {}
        self._copies: dict[str, Copies] = {}

    @property
    def jobs(self) -> int:
        """See `Executor`."""
        return self._jobs

    def close(self) -> None:
        """See `Executor`."""
        self._copies.clear()
        if self._folder is not None:
            self._folder.cleanup()

    def _chunks_done(self, evaluator: Evaluator, work: Work) -> Iterator[list[Result]]:
        order = work.related_first()
        if self.jobs == 1:
            limit_threads(self.threads)
            yield from _in_process(evaluator, work, order)
        elif self._backend == "threading":
            yield from self._parallel(_in_thread, self._copied(evaluator), work, order)
        else:
            yield from self._in_processes(evaluator, work, order)

    def _in_processes(self, evaluator: Evaluator, work: Work, order: NDArray[np.int64]) -> Iterator[list[Result]]:
        """Assignments of a worker that dies are measured by those that take its place."""
        path, n_before = self._send(evaluator), 0
        missing = {int(i) for i in order}
        while missing:
            n_missing = len(missing)
            try:
                rows = order[[int(i) in missing for i in order]]
                for results in self._parallel(_in_worker, path, work, rows):
                    missing -= {r.index for r in results}
                    yield results
            except BrokenProcessPool:
                stopping.check()
                if len(missing) == n_missing == n_before:
                    raise RunError(
                        f"one of {self.jobs} worker processes died, most likely for lack of memory. Everything "
                        "measured before is saved: repeat the same command with fewer --jobs to continue"
                    ) from None
                _log.warning("a worker process died; %d evaluations go to new ones", len(missing))
                n_before = len(missing)

    def _parallel(
        self, function: Callable[..., list[Result]], evaluator: "Path | Copies", work: Work, rows: NDArray[np.int64]
    ) -> Iterator[list[Result]]:
        tasks = (
            joblib.delayed(function)(evaluator, self.threads, part, work.take(part))
            for part in stopping.until_asked(cut(rows, self.jobs))
        )
        limit = {"inner_max_num_threads": self.threads} if self._backend == "loky" else {}
        with joblib.parallel_config(self._backend, n_jobs=self.jobs, **limit):
            yield from joblib.Parallel(return_as="generator_unordered", batch_size=1)(tasks)
        stopping.check()  # once all chunks under way have come

    def _send(self, evaluator: Evaluator) -> Path:
        key = evaluator.fingerprint
        if key not in self._files:
            path = Path(self._folder.name) / f"{len(self._files)}.pickle"
            path.write_bytes(packed(evaluator))
            self._files[key] = path
        return self._files[key]

    def _copied(self, evaluator: Evaluator) -> "Copies":
        key = evaluator.fingerprint
        if key not in self._copies:
            self._copies[key] = Copies(packed(evaluator), self.jobs)
        return self._copies[key]


def packed(evaluator: Evaluator) -> bytes:
    """An evaluator as it travels to workers."""
    # Unlike pickle, cloudpickle carries classes that were defined in a notebook or script.
    return cloudpickle.dumps(evaluator)


class Copies:
    """A packed evaluator for the threads of a process: each takes a copy, as evaluating changes an evaluator.

    Args:
        payload: see `packed`.
        n_threads: that take one at the same time, at most.
        fingerprint: that the evaluator must have; `None` for any.
    """

    def __init__(self, payload: bytes, n_threads: int, *, fingerprint: str | None = None) -> None:
        self._payload, self._n_left, self._fingerprint = payload, n_threads, fingerprint
        self._free: list[Evaluator] = []
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[Evaluator]:
        """A copy that nobody else uses meanwhile."""
        with self._lock:  # unpacking imports torch, once
            copy = self._free.pop() if self._free else self._unpack()
        try:
            yield copy
        finally:
            with self._lock:
                self._free.append(copy)

    def _unpack(self) -> Evaluator:
        copy = pickle.loads(self._payload)
        if self._fingerprint is not None and copy.fingerprint != self._fingerprint:
            raise RunError(
                "network, data or multipliers came to a worker as something else (other fingerprint). Install the same "
                "versions of dse, torch and numpy on all machines of the cluster, and repeat the command"
            )
        self._n_left -= 1
        if self._n_left == 0:
            self._payload = b""
        return copy


def evaluate_batch(
    evaluator: Evaluator,
    assignments: NDArray[np.int64],
    on_results: OnResults = lambda results: None,
    *,
    jobs: int = 1,
    threads: int | None = None,
) -> list[Result]:
    """`LocalExecutor.run` for a single batch."""
    with LocalExecutor(jobs, threads) as executor:
        return executor.run(evaluator, assignments, on_results)


def _in_process(evaluator: Evaluator, work: Work, order: NDArray[np.int64]) -> Iterator[list[Result]]:
    if hasattr(evaluator, "correct_in_parts"):
        for rows, start, stop in work.by_images():
            parts = _in_parts(evaluator, work.assignments[rows], (start, stop))
            yield from ([replace(r, index=int(rows[r.index])) for r in part] for part in parts)
        return
    start, size = 0, 1
    while start < len(order):
        part = order[start : start + size]
        begin = time.perf_counter()
        yield measure_chunk(evaluator, part, work.take(part))
        stopping.check()
        start += len(part)
        per_item = max(time.perf_counter() - begin, 1e-9) / len(part)
        size = int(np.clip(CHUNK_TIME_S / per_item, 1, min(MAX_CHUNK, 2 * size)))


def _in_parts(evaluator: Evaluator, assignments: NDArray[np.int64], images: tuple[int, int]) -> Iterator[list[Result]]:
    """Results of all assignments together, as they grow; when that fails, of each that is left by itself."""
    n_images = images[1] - images[0]
    hits = [np.empty(0, dtype=np.bool_) for _ in assignments]
    new = set(range(len(hits))) if n_images == 0 else set()  # those to hand over
    begin = time.perf_counter()
    try:
        for row, part in evaluator.correct_in_parts(assignments, *images):
            part = _checked(part, (min(len(part), n_images - len(hits[row])),))
            hits[row] = np.concatenate([hits[row], part])
            new.add(row)
            if time.perf_counter() - begin >= CHUNK_TIME_S:
                yield [Result(i, hits[i]) for i in sorted(new)]
                stopping.check()
                new, begin = set(), time.perf_counter()
    except Exception:
        _log.debug("evaluation of %d assignments together failed", len(assignments), exc_info=True)
    yield [Result(i, hits[i]) for i in sorted(new)]
    for i, known in enumerate(hits):
        if len(known) < n_images:
            rest = Work(assignments[i][None], np.array([images[0] + len(known)]), n_images - len(known))
            (result,) = measure_chunk(evaluator, [i], rest)
            yield [replace(result, hits=np.concatenate([known, result.hits])) if result.is_ok else result]
            stopping.check()


_loaded: dict[Path, Evaluator] = {}
"""In a worker: the evaluators it has read, by file."""


def _in_worker(path: Path, threads: int, indices: NDArray[np.int64], work: Work) -> list[Result]:
    if path not in _loaded:
        stopping.leave_to_driver()
        _loaded[path] = pickle.loads(path.read_bytes())
    limit_threads(threads)
    return measure_chunk(_loaded[path], indices, work)


def _in_thread(copies: Copies, threads: int, indices: NDArray[np.int64], work: Work) -> list[Result]:
    with copies.one() as evaluator:
        limit_threads(threads)
        return measure_chunk(evaluator, indices, work)


def limit_threads(threads: int) -> None:
    """Has this thread of this process use so many threads from now on."""
    # An evaluator without torch must not pay for its import.
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def measure_chunk(evaluator: Evaluator, indices: Iterable[int], work: Work) -> list[Result]:
    """Results of a chunk; when it fails, of each assignment by itself.

    Args:
        evaluator: what measures.
        indices: of the rows of `work` in their batch.
        work: what to measure.
    """
    indices = np.asarray(list(indices), dtype=np.int64)
    return [
        result
        for rows, start, stop in work.by_images()
        for result in _measure_together(evaluator, indices[rows].tolist(), work.assignments[rows], (start, stop))
    ]


def _measure_together(
    evaluator: Evaluator, indices: list[int], assignments: NDArray[np.int64], images: tuple[int, int]
) -> list[Result]:
    try:
        hits = _checked(evaluator.correct(assignments, *images), (len(indices), images[1] - images[0]))
    except Exception as error:
        if len(indices) == 1:
            _log.debug("evaluation failed", exc_info=True)
            return [Result(indices[0], None, f"{type(error).__name__}: {error}")]
        pairs = zip(indices, assignments, strict=True)
        return [result for i, row in pairs for result in _measure_together(evaluator, [i], row[None], images)]
    return [Result(i, row) for i, row in zip(indices, hits, strict=True)]


def _checked(hits: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    hits = np.asarray(hits)
    if hits.shape != shape or hits.dtype != np.bool_:
        raise ShapeError(f"the evaluator returned {hits.dtype} {list(hits.shape)}, expected bool {list(shape)}")
    return hits

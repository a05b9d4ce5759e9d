"""Where assignments are measured: in this process, or in worker processes through joblib.

The evaluator reaches each worker once, through a file; afterwards only integer assignments travel. Every result is
handed over as soon as it exists, so that a killed run loses at most the few evaluations in flight. Results do not
depend on the number of workers, nor on how assignments are cut into chunks.

An evaluator may measure a batch of assignments in parts (`correct_in_parts`), all of them on some images before any of
them on more, so that they share work. In this process parts are handed over every so often; a worker measures a chunk
as a whole.
"""

import logging
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cloudpickle
import joblib
import numpy as np
from numpy.typing import NDArray

from dse.errors import ConfigError, RunError, ShapeError

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


@dataclass(frozen=True, eq=False)
class Result:
    """The outcome of one assignment.

    Attributes:
        index: of the assignment in the batch.
        hits: whether each image asked for is classified correctly, bool [n_images], or the first of them where the rest
            is still being measured; `None` where that failed.
        message: the reason of the failure, else empty.
    """

    index: int
    hits: NDArray[np.bool_] | None
    message: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether there are outcomes."""
        return self.hits is not None

    @property
    def accuracy(self) -> float:
        """Share of images classified correctly; NaN where it failed."""
        return float("nan") if self.hits is None else float(self.hits.mean())


OnResults = Callable[[Sequence[Result]], None]


def available_cpus() -> int:
    """Cores this process may use: what SLURM granted, else its affinity mask."""
    granted = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if granted.isdecimal() and int(granted) > 0:
        return int(granted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Executor:
    """Runs batches of assignments on `jobs` processes with `threads` threads each.

    Use as a context manager: it keeps the evaluators' files for its workers.
    """

    def __init__(self, jobs: int = 1, threads: int | None = None) -> None:
        if jobs < 1 or (threads is not None and threads < 1):
            raise ConfigError(f"jobs = {jobs}, threads = {threads}: expected numbers of at least 1")
        self.jobs = jobs
        self.threads = threads or max(1, available_cpus() // jobs)
        self._folder = tempfile.TemporaryDirectory(prefix="dse-") if jobs > 1 else None
        self._files: dict[str, Path] = {}

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *_: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

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
        images = (start, evaluator.n_images if stop is None else stop)
        for part in self._chunks_done(evaluator, assignments, images):
            on_results(part)
            results.update((r.index, r) for r in part)
        return [results[i] for i in range(len(assignments))]

    def _chunks_done(
        self, evaluator: Evaluator, assignments: NDArray[np.int64], images: tuple[int, int]
    ) -> Iterator[list[Result]]:
        # Neighbours share leading layers, and an evaluator may share their work.
        order = np.lexsort(assignments.T[::-1]) if len(assignments) else np.empty(0, dtype=np.int64)
        if self.jobs == 1:
            limit_threads(self.threads)
            yield from _in_process(evaluator, assignments, order, images)
            return
        path = self._send(evaluator)
        size = int(np.clip(len(order) // (4 * self.jobs), 1, MAX_CHUNK))
        tasks = (
            joblib.delayed(_work)(path, self.threads, part, assignments[part], images)
            for part in (order[start : start + size] for start in range(0, len(order), size))
        )
        try:
            with joblib.parallel_config("loky", n_jobs=self.jobs, inner_max_num_threads=self.threads):
                yield from joblib.Parallel(return_as="generator_unordered", batch_size=1)(tasks)
        except BrokenProcessPool:
            raise RunError(
                f"one of {self.jobs} worker processes died, most likely for lack of memory. Everything measured before "
                "is saved: repeat the same command with fewer --jobs to continue"
            ) from None

    def _send(self, evaluator: Evaluator) -> Path:
        key = evaluator.fingerprint
        if key not in self._files:
            path = Path(self._folder.name) / f"{len(self._files)}.pickle"
            # Unlike pickle, cloudpickle carries classes that were defined in a notebook or script.
            path.write_bytes(cloudpickle.dumps(evaluator))
            self._files[key] = path
        return self._files[key]


def evaluate_batch(
    evaluator: Evaluator,
    assignments: NDArray[np.int64],
    on_results: OnResults = lambda results: None,
    *,
    jobs: int = 1,
    threads: int | None = None,
) -> list[Result]:
    """`Executor.run` for a single batch."""
    with Executor(jobs, threads) as executor:
        return executor.run(evaluator, assignments, on_results)


def _in_process(
    evaluator: Evaluator, assignments: NDArray[np.int64], order: NDArray[np.int64], images: tuple[int, int]
) -> Iterator[list[Result]]:
    if hasattr(evaluator, "correct_in_parts"):
        yield from _in_parts(evaluator, assignments, images)
        return
    start, size = 0, 1
    while start < len(order):
        part = order[start : start + size]
        begin = time.perf_counter()
        yield _measure(evaluator, part, assignments[part], images)
        start += len(part)
        per_item = max(time.perf_counter() - begin, 1e-9) / len(part)
        size = int(np.clip(CHUNK_TIME_S / per_item, 1, min(MAX_CHUNK, 2 * size)))


def _in_parts(
    evaluator: Evaluator, assignments: NDArray[np.int64], images: tuple[int, int]
) -> Iterator[list[Result]]:
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
                new, begin = set(), time.perf_counter()
    except Exception:
        _log.debug("evaluation of %d assignments together failed", len(assignments), exc_info=True)
    yield [Result(i, hits[i]) for i in sorted(new)]
    for i, known in enumerate(hits):
        if len(known) < n_images:
            (rest,) = _measure(evaluator, [i], assignments[i][None], (images[0] + len(known), images[1]))
            yield [replace(rest, hits=np.concatenate([known, rest.hits])) if rest.is_ok else rest]


_loaded: dict[Path, Evaluator] = {}
"""In a worker: the evaluators it has read, by file."""


def _work(
    path: Path, threads: int, indices: NDArray[np.int64], assignments: NDArray[np.int64], images: tuple[int, int]
) -> list[Result]:
    if path not in _loaded:
        _loaded[path] = pickle.loads(path.read_bytes())
    limit_threads(threads)
    return _measure(_loaded[path], indices, assignments, images)


def limit_threads(threads: int) -> None:
    """Has this process use so many threads from now on."""
    # An evaluator without torch must not pay for its import.
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)


def _measure(
    evaluator: Evaluator, indices: Iterable[int], assignments: NDArray[np.int64], images: tuple[int, int]
) -> list[Result]:
    """Results of a chunk; when the chunk fails, of each assignment by itself."""
    indices = [int(i) for i in indices]
    try:
        hits = _checked(evaluator.correct(assignments, *images), (len(indices), images[1] - images[0]))
    except Exception as error:
        if len(indices) == 1:
            _log.debug("evaluation failed", exc_info=True)
            return [Result(indices[0], None, f"{type(error).__name__}: {error}")]
        pairs = zip(indices, assignments, strict=True)
        return [result for i, row in pairs for result in _measure(evaluator, [i], row[None], images)]
    return [Result(i, row) for i, row in zip(indices, hits, strict=True)]


def _checked(hits: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    hits = np.asarray(hits)
    if hits.shape != shape or hits.dtype != np.bool_:
        raise ShapeError(f"the evaluator returned {hits.dtype} {list(hits.shape)}, expected bool {list(shape)}")
    return hits

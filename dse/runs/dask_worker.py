"""What runs in the worker processes of a dask cluster: evaluators that came by plugin, chunks that come as tasks.

The scheduler keeps plugins and gives them to every worker, those that join later too: an evaluator reaches each worker
process once, whoever dies meanwhile.
"""

import time
from dataclasses import dataclass

import numpy as np
from distributed import Worker, WorkerPlugin, get_worker
from numpy.typing import NDArray

from dse import __version__
from dse.errors import RunError
from dse.runs.execution import Copies, limit_threads, measure_chunk
from dse.runs.work import Result, Work


@dataclass(frozen=True, eq=False)
class Chunk:
    """A few assignments to measure.

    Attributes:
        number: its name, among the chunks of a driver.
        topic: of the driver's events: there the worker says that it begins.
        version: of dse in the driver.
        evaluator: fingerprint of the one that measures.
        threads: to use.
        indices: of the rows of `work` in their batch, int64 [n].
        work: what to measure.
    """

    number: int
    topic: str
    version: str
    evaluator: str
    threads: int
    indices: NDArray[np.int64]
    work: Work


@dataclass(frozen=True, eq=False)
class Answer:
    """The results of a chunk, and the time in s that they took once the evaluator was there."""

    results: list[Result]
    time_s: float


class NotSent(Exception):
    """The worker does not have the evaluator: another driver that used it has ended."""


_known: dict[str, Copies] = {}
"""Evaluators of this process by fingerprint."""


class EvaluatorPlugin(WorkerPlugin):
    """Brings a packed evaluator to every worker. It is unpacked with the first chunk, as that may take seconds."""

    def __init__(self, fingerprint: str, payload: bytes) -> None:
        self._fingerprint, self._payload = fingerprint, payload

    def setup(self, worker: Worker) -> None:
        """Keeps the evaluator for the chunks."""
        if self._fingerprint not in _known:
            _known[self._fingerprint] = Copies(self._payload, worker.state.nthreads, fingerprint=self._fingerprint)
        self._payload = b""

    def teardown(self, worker: Worker) -> None:
        """Forgets it."""
        _known.pop(self._fingerprint, None)


def measure(chunk: Chunk) -> Answer:
    """Measures a chunk in this worker.

    Raises:
        NotSent: the evaluator is not here.
        RunError: driver and worker do not fit together.
    """
    worker = get_worker()
    if chunk.version != __version__:
        raise RunError(
            f"the worker {worker.address} has dse {__version__}, this process {chunk.version}: results might differ. "
            "Install the same version on all machines of the cluster, restart its workers and repeat the command"
        )
    worker.log_event(chunk.topic, {"chunk": chunk.number, "worker": worker.address})
    copies = _known.get(chunk.evaluator)
    if copies is None:
        raise NotSent(worker.address)
    with copies.one() as evaluator:
        limit_threads(chunk.threads)
        begin = time.perf_counter()
        results = measure_chunk(evaluator, chunk.indices, chunk.work)
        return Answer(results, time.perf_counter() - begin)

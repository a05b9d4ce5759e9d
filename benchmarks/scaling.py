"""How the throughput of a search grows with the number of workers, and what the driver spends on an evaluation.

    python benchmarks/scaling.py --csv results/scaling.csv

Evaluations are those of a stand-in that sleeps, so that thousands of them fit on one machine: a worker process has
hundreds of threads, and scheduler and driver cannot tell these from so many machines. Everything else is a search as
`dse explore --cluster dask:tcp://...` does it: journal, chunks, front. Rows with a population as large as the search
have no generations to wait for; the others have, as NSGA-II does. Takes about ten minutes; prints the model's
prediction beside each measured rate. Needs `dse[cluster]`.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import numpy as np
import pandas as pd
import psutil
import pytest
from distributed import Client
from scipy.optimize import nnls

from dse.config import parse_config
from dse.runs.execution import MAX_CHUNK
from dse.runs.runner import run
from dse.runs.work import cut_images
from dse.testing.fakes import FakeEvaluator, use_fakes

N_LAYERS, N_IMAGES = 20, 1000
"""As ResNet-20 on the default number of images, which decides how long messages and lines of the journal are."""


@dataclass(frozen=True)
class Sleeping(FakeEvaluator):
    """Takes `time_s` for an assignment on all images."""

    time_s: float = 1.0

    def correct(self, assignments: np.ndarray, start: int, stop: int) -> np.ndarray:
        time.sleep(self.time_s * len(assignments) * (stop - start) / self.n_images)
        return super().correct(assignments, start, stop)


@dataclass(frozen=True)
class Case:
    """A search: workers, seconds an evaluation, designs a generation, generations, method."""

    workers: int
    time_s: float
    population_size: int
    generations: int = 1
    method: str = "random"


CASES = (
    *(Case(n, 1.0, max(16, 8 * n)) for n in (1, 4, 16, 64, 256, 1000)),
    *(Case(n, 0.0, 2000) for n in (16, 256, 1000)),
    *(Case(n, 10.0, 3 * n) for n in (256, 1000)),
    *(Case(n, 1.0, 50, 8, "nsga2") for n in (16, 64, 256)),
    *(Case(n, 10.0, 24, 4, "nsga2") for n in (16, 64, 256, 1000)),
    Case(1000, 1.0, 1000, 4, "nsga2"),
)


class Processes:
    """Those of a cluster, with the driver's own.

    Args:
        scheduler: process numbers.
        workers: likewise.
    """

    def __init__(self, scheduler: Sequence[int], workers: Sequence[int]) -> None:
        self._groups = {"driver": [os.getpid()], "scheduler": scheduler, "workers": workers}

    def cpu_s(self) -> dict[str, float]:
        """What they have computed so far, in s."""
        return {name: sum(map(self._of_one, pids)) for name, pids in self._groups.items()}

    def _of_one(self, pid: int) -> float:
        times = psutil.Process(pid).cpu_times()
        return times.user + times.system


@contextmanager
def cluster(n_workers: int, folder: Path) -> Iterator[tuple[str, Processes]]:
    """Address of so many worker threads, in at most 8 processes."""
    n_processes = min(8, n_workers)
    python = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    file = folder / "scheduler.json"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    scheduler = subprocess.Popen(
        [*python, "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)], **quiet
    )
    counts = [len(part) for part in np.array_split(np.arange(n_workers), n_processes)]
    workers = []
    try:
        while not file.exists():
            time.sleep(0.1)
        for i, n_threads in enumerate(counts):
            command = [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", str(file)]
            options = ["--host", "127.0.0.1", "--no-nanny", "--no-dashboard", "--memory-limit", "0"]
            options += ["--nthreads", str(n_threads), "--local-directory", str(folder / f"worker{i}")]
            workers.append(subprocess.Popen([*command, *options], **quiet))
        with Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(n_processes, timeout=300)
            yield client.scheduler.address, Processes([scheduler.pid], [worker.pid for worker in workers])
    finally:
        for process in [*workers, scheduler]:
            process.kill()
            process.wait()


def measure(case: Case, folder: Path) -> dict[str, float | int | str]:
    """A row of the table. The search is done twice: imports and connections are over in the second."""
    text = (
        f"[search]\nmethod = '{case.method}'\npopulation_size = {{}}\ngenerations = {case.generations}\n"
        "initial = 'random'\nsurrogate = false\nracing = false\n[execution]\ncluster = 'dask:{}'\nthreads = 1"
    )
    with cluster(case.workers, folder) as (address, processes), pytest.MonkeyPatch.context() as patch:
        use_fakes(patch, Sleeping(N_LAYERS, 5, N_IMAGES, time_s=0.0))
        run(parse_config(text.format(64, address)), folder / "warm")
        use_fakes(patch, Sleeping(N_LAYERS, 5, N_IMAGES, fingerprint="slow", time_s=case.time_s))
        before, begin = processes.cpu_s(), time.monotonic()
        done = run(parse_config(text.format(case.population_size, address)), folder / "run")
        wall_s, n = time.monotonic() - begin, len(done.evaluations)
        computed = {f"{name}_ms": 1e3 * (after - before[name]) / n for name, after in processes.cpu_s().items()}
        return {
            "method": case.method, "workers": case.workers, "evaluation_s": case.time_s,
            "population_size": case.population_size, "generations": case.generations, "evaluations": n,
            "wall_s": wall_s, "per_s": n / wall_s, **computed,
        }  # fmt: skip


def generation(row: pd.Series, population_size: int) -> tuple[float, float]:
    """Tasks of a batch, and the seconds that its workers need: several designs a task, or several tasks a design."""
    workers = int(row["workers"])
    work = cut_images(np.zeros((population_size, 1), dtype=np.int64), 0, N_IMAGES, jobs=workers)
    rows = len(work)
    size = np.clip(rows // (4 * workers), 1, MAX_CHUNK)
    rounds = np.ceil(rows / workers)
    return rows / size, rounds * row["evaluation_s"] * work.n_images / N_IMAGES


def of_search(row: pd.Series) -> tuple[float, float]:
    """The same of a whole search: the exact network comes before, the front's report images after its generations."""
    n_front = max(int(row["evaluations"] - 1 - row["generations"] * row["population_size"]), 1)
    batches = [(1, 1), (row["generations"], int(row["population_size"])), (1, n_front)]
    parts = np.array([np.multiply(generation(row, n), times) for times, n in batches])
    return tuple(parts.sum(axis=0))


def predicted_per_s(row: pd.Series, task_s: dict[str, float], *, n_cores: float = np.inf) -> float:
    """The model: workers, driver and scheduler work at the same time, the slowest one decides.

    Args:
        row: of the table.
        task_s: computing of driver, scheduler and workers for a task.
        n_cores: that all of them share; infinite where each has its own.
    """
    n_tasks, worked_s = of_search(row)
    alone_s = max(task_s["driver"], task_s["scheduler"])
    return row["evaluations"] / max(worked_s, n_tasks * max(alone_s, sum(task_s.values()) / n_cores))


def cost_of_task(table: pd.DataFrame, column: str) -> tuple[float, float]:
    """Computing of a process for a task, in s, and beside that, in s a second (heartbeats, clocks): least squares."""
    computed_s = table[column] * table["evaluations"] / 1e3
    A = np.column_stack([[of_search(row)[0] for _, row in table.iterrows()], table["wall_s"]])
    (task_s, idle), _ = nnls(A, computed_s)
    return float(task_s), float(idle)


def projection(task_s: dict[str, float], n_workers: int) -> pd.DataFrame:
    """What the model says of NSGA-II on so many machines of their own."""
    rows = []
    for population_size in (24, 200, 1000, 4000):
        for time_s in (0.1, 1.0, 10.0, 60.0):
            n = 20 * population_size
            row = {"workers": n_workers, "evaluation_s": time_s, "population_size": population_size, "generations": 20}
            per_s = predicted_per_s(pd.Series(row | {"evaluations": n + 1 + population_size // 2}), task_s)
            rows.append(row | {"per_s": per_s, "workers_busy_pct": 100 * per_s * time_s / n_workers})
    return pd.DataFrame(rows)


def measured_rows(max_workers: int) -> pd.DataFrame:
    """Of all cases that have no more workers."""
    rows = []
    for case in CASES:
        if case.workers <= max_workers:
            with tempfile.TemporaryDirectory() as place:
                rows.append(measure(case, Path(place)))
            print({k: round(v, 2) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    return pd.DataFrame(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--csv", type=Path)
    parser.add_argument("--measured", type=Path, help="take the rows of this file instead of measuring")
    parser.add_argument("--workers", type=int, default=1000, help="leave out cases with more")
    options = parser.parse_args()
    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    table = measured_rows(options.workers) if options.measured is None else pd.read_csv(options.measured)
    costs = {name: cost_of_task(table, f"{name}_ms") for name in ("driver", "scheduler", "workers")}
    task_s = {name: cost[0] for name, cost in costs.items()}
    table["predicted_per_s"] = table.apply(predicted_per_s, axis=1, task_s=task_s, n_cores=os.cpu_count())
    print(table.round(2).to_string(index=False))
    for name, (each_s, idle) in costs.items():
        print(f"{name}: {1e3 * each_s:.2f} ms a task, and {100 * idle:.1f} % of the time beside that")
    print("\nThe model for machines of their own:\n", projection(task_s, 1000).round(1).to_string(index=False))
    if options.csv:
        table.to_csv(options.csv, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()

"""Kills workers of a dask cluster at random during a search, and compares with a search on this machine.

    python benchmarks/cluster_kills.py --workers 3 --kills 20 --csv results/reliability/cluster_kills.csv

Passes when the two `front.csv` are identical byte for byte, and nothing was evaluated again whose result the driver
had: what dies with a worker is what it was at. Needs nothing but the embedded example; two to three minutes. Every
evaluation takes `--pause` seconds more than it needs, as those of larger networks do.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pandas as pd
from distributed import LocalCluster, Status

from dse.config import RunConfig, load_config
from dse.runs import preparation
from dse.runs.dask_executor import DaskExecutor
from dse.runs.runner import run

SEARCH = {
    "search.population_size": 24, "search.generations": 10, "search.seed": 3, "data.images": 200,
    "execution.threads": 1,
}  # fmt: skip

Key = tuple[str, tuple[int, ...], int, int]
"""An evaluation: fingerprint, assignment, first image, one past the last."""


class Slow:
    """An evaluator that takes longer, and writes when which process begins what."""

    def __init__(self, evaluator: Any, log: str, pause: float) -> None:
        self.evaluator, self.log, self.pause = evaluator, log, pause

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "evaluator":
            raise AttributeError(name)
        return getattr(self.evaluator, name)

    def correct(self, assignments: np.ndarray, start: int, stop: int) -> np.ndarray:
        lines = [f"{time.time()}|{os.getpid()}|{row.tolist()}|{start}|{stop}\n" for row in assignments]
        with open(f"{self.log}.{self.fingerprint}", "a") as file:
            file.write("".join(lines))
        time.sleep(self.pause * len(assignments) * (stop - start) / self.n_images)
        return self.evaluator.correct(assignments, start, stop)


@dataclass(frozen=True)
class Begin:
    time_s: float
    pid: int


def begins(log: Path) -> dict[Key, list[Begin]]:
    """Every beginning of every evaluation, in order."""
    found = defaultdict(list)
    for path in log.parent.glob(f"{log.name}.*"):
        for line in path.read_text().splitlines():
            time_s, pid, assignment, start, stop = line.split("|")
            key = (path.suffix[1:], tuple(map(int, assignment.strip("[]").split(","))), int(start), int(stop))
            found[key].append(Begin(float(time_s), int(pid)))
    return {key: sorted(each, key=lambda b: b.time_s) for key, each in found.items()}


def note_hand_overs() -> dict[Key, float]:
    """When the driver got the result of every evaluation; filled while a search runs."""
    handed: dict[Key, float] = {}
    original = DaskExecutor.run

    def run(self, evaluator, assignments, on_results, *, start=0, stop=None):
        last = evaluator.n_images if stop is None else stop

        def keep(results):
            on_results(results)
            for r in results:
                handed[evaluator.fingerprint, tuple(assignments[r.index].tolist()), start, last] = time.time()

        return original(self, evaluator, assignments, keep, start=start, stop=stop)

    DaskExecutor.run = run
    return handed


def kill(cluster: LocalCluster, pids: list[int], n_kills: int, *, rng: random.Random, is_over: threading.Event) -> None:
    """Kills a random worker process every few seconds; `pids` are those that died."""
    while len(pids) < n_kills and not is_over.wait(rng.uniform(2, 9)):
        # Nannies restart workers that die at work; one that dies while it starts, they take for hopeless.
        working = [n for n in cluster.workers.values() if n.process and n.process.status == Status.running]
        alive = [n.pid for n in working if n.pid not in pids]
        if alive:
            pids.append(rng.choice(alive))
            os.kill(pids[-1], signal.SIGKILL)
            print(f"kill {len(pids):2d}: worker process {pids[-1]}", flush=True)


def configuration(address: str | None = None) -> RunConfig:
    execution = {} if address is None else {"execution.cluster": f"dask:{address}"}
    return load_config(None, SEARCH | execution)


def slow_loading(log: Path, pause: float) -> None:
    """Has every later run use `Slow` evaluators."""
    load = preparation._load

    def slow(config, inputs, library):
        loaded = load(config, inputs, library)
        names = ("evaluator", "confirm", "report")
        found = {name: Slow(getattr(loaded, name), str(log), pause) for name in names if getattr(loaded, name)}
        return replace(loaded, **found)

    preparation._load = slow


def search_with_kills(out: Path, options: argparse.Namespace) -> tuple[list[int], float]:
    """Process ids that were killed, and the duration in s."""
    pids, is_over, rng = [], threading.Event(), random.Random(options.seed)
    with LocalCluster(
        n_workers=options.workers, threads_per_worker=1, processes=True, host="127.0.0.1",
        dashboard_address="127.0.0.1:0", silence_logs=50,
    ) as cluster:  # fmt: skip
        killer = threading.Thread(
            target=kill, args=(cluster, pids, options.kills), kwargs={"rng": rng, "is_over": is_over}
        )
        cluster.adapt(minimum=options.workers, maximum=options.workers)  # replaces what its nanny gave up
        begin = time.monotonic()
        killer.start()
        try:
            run(configuration(cluster.scheduler_address), out)
        finally:
            is_over.set()
            killer.join()
        return pids, time.monotonic() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--pause", type=float, default=0.6, help="seconds")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and victims")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    cloudpickle.register_pickle_by_value(sys.modules["__main__"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(configuration(), folder / "here")
        slow_loading(folder / "log", options.pause)
        handed = note_hand_overs()
        pids, duration = search_with_kills(folder / "cluster", options)
        begun = begins(folder / "log")
        is_same = (folder / "here/front.csv").read_bytes() == (folder / "cluster/front.csv").read_bytes()
    again = {key: each for key, each in begun.items() if len(each) > 1}
    needless = sum(later.time_s > handed[key] for key, each in again.items() for later in each[1:])
    lost = sum(each[0].pid in pids for each in again.values())
    numbers = {
        "workers": options.workers,
        "kills": len(pids),
        "evaluations": len(begun),
        "handed_over": len(handed),
        "computed_again": len(again),
        "of_killed_workers": lost,
        "computed_again_after_hand_over": needless,
        "identical_front": is_same,
        "duration_s": round(duration),
    }
    print("\n".join(f"{key:32s} {value}" for key, value in numbers.items()))
    if options.csv:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([numbers]).to_csv(options.csv, index=False)
    sys.exit(0 if is_same and not needless else 1)


if __name__ == "__main__":
    main()

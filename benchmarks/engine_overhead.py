"""What the engine costs beside its evaluations: time and memory.

    python benchmarks/engine_overhead.py

Prints a table, writes it to `results/reliability/overhead.csv`, and ends with exit code 1 where a limit is not kept.
Evaluations are those of a stand-in. Needs nothing but the package; four minutes.
"""

import argparse
import resource
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dse.config import parse_config
from dse.runs.journal import Evaluation, Journal, pack_hits
from dse.runs.loop import Progress, Start
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes

RESULTS = Path(__file__).resolve().parents[1] / "results" / "reliability"


def memory_mb() -> float:
    """Of this process, resident."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


@dataclass(frozen=True)
class Sleeping(FakeEvaluator):
    """Takes 1 s for an assignment on all images, and writes down for how long it slept."""

    times: str = ""

    def correct(self, assignments: np.ndarray, start: int, stop: int) -> np.ndarray:
        begin = time.perf_counter()
        time.sleep(len(assignments) * (stop - start) / self.n_images)
        with open(self.times, "a") as file:
            file.write(f"{time.perf_counter() - begin}\n")
        return super().correct(assignments, start, stop)


class MemoryWatch:
    """Writes down the memory of this process after every generation."""

    def __init__(self) -> None:
        self.mb: list[float] = []

    def on_start(self, start: Start) -> None: ...

    def on_learning(self, n_done: int, n_steps: int) -> None: ...

    def on_evaluation(self, progress: Progress) -> None: ...

    def on_generation(self, progress: Progress) -> None:
        self.mb.append(memory_mb())


def search_with(
    evaluator: FakeEvaluator, path: Path, text: str, *, watch: MemoryWatch | None = None
) -> tuple[float, float]:
    """Seconds that a search takes with an evaluator of its own, and seconds of computing in this process."""
    with pytest.MonkeyPatch.context() as patch:
        use_fakes(patch, evaluator)
        begin, begin_cpu = time.monotonic(), time.process_time()
        run(parse_config(text), path, observer=watch or MemoryWatch())
        return time.monotonic() - begin, time.process_time() - begin_cpu


def engine_shares(path: Path, options: str, jobs: int) -> tuple[float, float]:
    """Percent of the time of 1 s evaluations: what this process computes meanwhile (what the stand-in computes is in
    it), and what a search takes longer than its evaluations (waiting for the disk and the last worker is in it)."""
    text = f"[search]\npopulation_size = 16\ngenerations = 3\n{options}\n[execution]\njobs = {jobs}\nthreads = 1"
    search_with(FakeEvaluator(n_images=100), path / "warm", text)  # imports, and processes that stay
    times = path / "times"
    total_s, computed_s = search_with(Sleeping(n_images=100, times=str(times)), path / "run", text)
    slept_s = sum(map(float, times.read_text().split())) / jobs
    print(f"jobs = {jobs}: {total_s:.2f} s, evaluations {slept_s:.2f} s, computed {computed_s:.2f} s", flush=True)
    return 100 * computed_s / slept_s, 100 * (total_s / slept_s - 1)


def of_generations(path: Path) -> list[tuple[str, float, float]]:
    """A search of 200 generations: how memory grows in the later half of it, and computing (s) to continue it when
    everything is in the journal."""
    text = "[search]\npopulation_size = 50\ngenerations = 200\ninitial = 'random'\nsurrogate = false\nracing = false"
    evaluator, watch = FakeEvaluator(12, 5, n_images=1000), MemoryWatch()
    search_with(evaluator, path, text, watch=watch)
    (path / "front.csv").unlink()
    grown = watch.mb[-1] - watch.mb[len(watch.mb) // 2]
    return [
        ("memory of generations 100 to 200 of 50 designs, MB", grown, 20.0),
        ("replaying 200 generations of 50, s", search_with(evaluator, path, text)[1], 10.0),
    ]


def of_journal(path: Path, n: int) -> list[tuple[str, float, float]]:
    """Evaluations of 20 layers on 1,000 images each, in batches of 100: memory to keep them, time to open them."""
    rng = np.random.default_rng(0)
    assignments, hits = rng.integers(0, 40, (n, 20)).tolist(), rng.random((100, 1000)) < 0.5
    texts = [pack_hits(row) for row in hits]
    one = Evaluation("search", (), "f" * 64, 0.5, energy_rel=0.5, n_images=1000)
    with Journal(path) as journal:
        before = memory_mb()  # the assignments asked for are there already
        for start_at in range(0, n, 100):
            rows = assignments[start_at : start_at + 100]
            journal.append(replace(one, assignment=tuple(row), hits=texts[i]) for i, row in enumerate(rows))
        grown = memory_mb() - before
    del assignments, journal
    begin = time.process_time()
    with Journal(path) as journal:
        opened_s, n_found = time.process_time() - begin, len(journal)
    print(f"{n_found} evaluations, {path.stat().st_size / 1e6:.0f} MB", flush=True)
    return [("opening 100,000 evaluations, s", opened_s, 5.0), ("memory for 100,000 evaluations, MB", grown, 200.0)]


def overhead() -> tuple[pd.DataFrame, bool]:
    """What the engine costs, with the limits that it must keep."""
    plain = "initial = 'random'\nsurrogate = false\nracing = false"
    with tempfile.TemporaryDirectory() as place:
        rows = []
        for name, options, jobs in (("plain", plain, 1), ("plain, 2 processes", plain, 2), ("all of it", "", 1)):
            folder = Path(place, name)
            folder.mkdir()
            computed, longer = engine_shares(folder, options, jobs)
            rows += [(f"engine beside 1 s evaluations, {name}: computing, %", computed, 5.0)]
            rows += [(f"engine beside 1 s evaluations, {name}: by the clock, %", longer, 5.0)]
        rows += of_generations(Path(place, "generations"))
        rows += of_journal(Path(place, "journal"), 100_000)
    table = pd.DataFrame(rows, columns=["what", "measured", "limit"])
    return table, bool((table["measured"] < table["limit"]).all())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    table, is_good = overhead()
    print(table.to_string(index=False))
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "overhead.csv", index=False, float_format="%.4g")
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()

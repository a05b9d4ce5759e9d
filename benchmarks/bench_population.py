"""Speed of whole populations: assignments that share their first layers, together and one by one.

    python benchmarks/bench_population.py --run runs/resnet20_full
    python benchmarks/bench_population.py                              # searches for a population of its own first

Populations are `--size` consecutive designs of a search's journal, in the order in which it first asked for them: its
first, its middle and its last ones. The sensitivity sweep is every layer through `--multipliers` multipliers, spread
over the energies of the library, with the exact one in all other layers.

Each is evaluated together (what a search does) and one assignment at a time, both with all operators packed and all
corrections fitted before, in `--repeats` pairs; outcomes must agree image by image. Medians of the pairs are shown, and
how many layers ran for one batch of images.

For time and memory against work, random assignments are evaluated in a process of their own for each number of images
and of assignments. Time is the shortest of `--repeats` passes, for which everything is packed; memory is the largest
resident set of the process from its start, with loading, packing and fitting. Without `--run` reads `$DSE_DATA`, else
`../shared/data`; paths in run directories are relative to where the search was started.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import dse
from dse.config import load_config
from dse.evaluation import Evaluator
from dse.runs.journal import read_journal
from dse.runs.preparation import Inputs, Prepared, prepare

ROOT = Path(__file__).resolve().parents[1]
OWN_SEARCH = {"population_size": 50, "evaluations": 200, "initial": "uniform", "surrogate": False, "racing": False}
OWN_IMAGES = 64


@dataclass(frozen=True)
class Comparison:
    """One population; a layer is counted each time it runs on a batch of images."""

    population: str
    designs: int
    images: int
    layers_one_by_one: int
    layers_together: int
    designs_per_s_one_by_one: float
    designs_per_s_together: float
    speed_up: float


COMPARISON_COLUMNS = {
    "population": "population", "designs": "designs", "images": "images", "layers_one_by_one": "layers, one by one",
    "layers_together": "layers, together", "designs_per_s_one_by_one": "designs/s, one by one",
    "designs_per_s_together": "designs/s, together", "speed_up": "speed-up",
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """Time and memory of one process."""

    images: int
    designs: int
    layers_run: int
    time_s: float
    peak_mib: float


POINT_COLUMNS = {
    "images": "images",
    "designs": "designs",
    "layers_run": "layers",
    "time_s": "s",
    "peak_mib": "peak MiB",
}


def own_search(options: argparse.Namespace, out: Path) -> Path:
    """A short search of ResNet-20 on CIFAR-10; its run directory."""
    data = options.data
    dse.explore(
        network="resnet20", weights=data / "weights" / "cifar10_resnet20.pt", dataset="cifar10", data=data / "cifar10",
        library=data / "evoapprox", images=OWN_IMAGES, confirm_images=OWN_IMAGES, report_images=OWN_IMAGES, seed=0,
        threads=options.threads, out=out, **OWN_SEARCH,
    )  # fmt: skip
    return out


def load(run: Path, n_images: int) -> Prepared:
    """What a run used, on so many search images."""
    stored = load_config(run / "resolved.toml")
    confirm_images = max(stored.data.confirm_images, n_images)
    overrides = {"data.images": n_images, "data.confirm_images": confirm_images}
    return prepare(load_config(run / "resolved.toml", overrides), Inputs())


def searched(run: Path) -> np.ndarray:
    """The different assignments of a search in the order in which it asked for them, int64 `[n, n_layers]`."""
    found = (e.assignment for e in read_journal(run / "evaluations.jsonl") if e.split == "search")
    return np.array(list(dict.fromkeys(found)), dtype=np.int64)


def populations(assignments: np.ndarray, size: int) -> dict[str, np.ndarray]:
    """The first, middle and last `size` designs; fewer where there are few."""
    starts = {"first": 0, "middle": (len(assignments) - size) // 2, "last": len(assignments) - size}
    if len(assignments) < 3 * size:
        starts = {"last": max(0, len(assignments) - size)}
    return {f"{name} {size} designs": assignments[start : start + size] for name, start in starts.items()}


def sensitivity_sweep(prepared: Prepared, n_multipliers: int) -> np.ndarray:
    """The exact assignment, and each layer through each of some multipliers, int64 `[n, n_layers]`."""
    by_energy = np.argsort(prepared.library.energy_rel, kind="stable")
    others = by_energy[by_energy != prepared.library.exact_index]
    chosen = others[np.linspace(0, len(others) - 1, min(n_multipliers, len(others))).round().astype(int)]
    exact = prepared.exact
    single = [np.where(np.arange(len(exact)) == layer, m, exact) for layer in range(len(exact)) for m in chosen]
    return np.array([exact, *single])


def count_layers(evaluator: Evaluator, assignments: np.ndarray) -> int:
    """Layers that run for the first image; packs and fits what had not been."""
    bank, n_run = evaluator.bank, 0
    look_up = bank.operator

    def counting(layer: int, multiplier: int):
        operator = look_up(layer, multiplier)

        def run(codes: torch.Tensor) -> torch.Tensor:
            nonlocal n_run
            n_run += 1
            return operator(codes)

        return run

    bank.operator = counting
    try:
        evaluator.correct(assignments, 0, 1)
    finally:
        bank.operator = look_up
    return n_run


def timed(function) -> tuple[float, np.ndarray]:
    begin = time.perf_counter()
    result = function()
    return time.perf_counter() - begin, result


def compare(evaluator: Evaluator, name: str, assignments: np.ndarray, repeats: int) -> Comparison:
    """Times a population both ways, after one pass that packs."""
    n_images = evaluator.n_images
    n_together = count_layers(evaluator, assignments)
    n_one_by_one = sum(count_layers(evaluator, row[None]) for row in assignments)

    def together() -> np.ndarray:
        return evaluator.correct(assignments, 0, n_images)

    def one_by_one() -> np.ndarray:
        return np.concatenate([evaluator.correct(row[None], 0, n_images) for row in assignments])

    pairs = np.empty((repeats, 2))
    for row in range(repeats):
        pairs[row, 0], hits = timed(together)
        pairs[row, 1], expected = timed(one_by_one)
        if not np.array_equal(hits, expected):
            raise SystemExit(f"{name}: outcomes differ between the two ways")
    together_s, one_by_one_s = np.median(pairs, axis=0)
    return Comparison(
        population=name,
        designs=len(assignments),
        images=n_images,
        layers_one_by_one=n_one_by_one,
        layers_together=n_together,
        designs_per_s_one_by_one=len(assignments) / one_by_one_s,
        designs_per_s_together=len(assignments) / together_s,
        speed_up=float(np.median(pairs[:, 1] / pairs[:, 0])),
    )


def peak_memory_mib() -> float:
    """Of this process alone: `getrusage` would carry over the peak of the process that started it."""
    return int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text()).group(1)) / 2**10


def print_point(options: argparse.Namespace) -> None:
    """In a fresh process: one point as a JSON line."""
    prepared = load(options.run, options.images)
    evaluator, rng = prepared.evaluator, np.random.default_rng(0)
    assignments = rng.integers(0, len(prepared.library), (options.size, len(prepared.layers)))
    n_run = count_layers(evaluator, assignments)
    times = [timed(lambda: evaluator.correct(assignments, 0, options.images))[0] for _ in range(options.repeats)]
    print(json.dumps([options.images, options.size, n_run, min(times), peak_memory_mib()]))


def measure_point(options: argparse.Namespace, run: Path, n_images: int, n_designs: int) -> Point:
    command = [sys.executable, __file__, "--point", "--run", str(run), "--images", str(n_images)]
    command += ["--size", str(n_designs), "--threads", str(options.threads), "--repeats", str(options.repeats)]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    point = Point(*json.loads(result.stdout.splitlines()[-1]))
    print(
        f"{point.images:6} images {point.designs:5} designs {point.time_s:8.2f} s {point.peak_mib:6.0f} MiB", flush=True
    )
    return point


def measure_scaling(options: argparse.Namespace, run: Path) -> list[Point]:
    """Images and designs in turn: from a quarter of what is compared up to four times that."""
    images = [max(1, options.images * 2**i // 4) for i in range(5)]
    designs = [max(1, options.size * 2**i // 4) for i in range(5)]
    grid = [(n, designs[0]) for n in images] + [(images[0], n) for n in designs[1:]]
    return [measure_point(options, run, *point) for point in grid]


def cells(frame: pd.DataFrame, headings: dict[str, str]) -> list[str]:
    """A Markdown table."""
    values = frame[list(headings)].astype(object).values.tolist()  # counts stay integers
    rows = [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in row] for row in values]
    lines = [list(headings.values()), ["---"] + ["---:"] * (len(headings) - 1), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def summary(comparisons: pd.DataFrame, points: pd.DataFrame) -> list[str]:
    lines = [
        f"{row.population}: **{row.designs_per_s_together:.2f}** designs a second together, "
        f"{row.designs_per_s_one_by_one:.2f} one by one (**{row.speed_up:.2f}** times); "
        f"{100 * (1 - row.layers_together / row.layers_one_by_one):.0f} % of the layers need not run"
        for row in comparisons.itertuples()
    ]
    if len(points):
        per_layer = points.time_s / (points.images * points.layers_run)
        images, designs, peak = (points[column].agg(["min", "max"]) for column in ("images", "designs", "peak_mib"))
        lines += [
            f"{images['min']} to {images['max']} images and {designs['min']} to {designs['max']} designs: "
            f"{1e6 * per_layer.min():.1f} to {1e6 * per_layer.max():.1f} us for an image and a layer that runs",
            f"peak memory there: {peak['min']:.0f} to {peak['max']:.0f} MiB",
        ]
    return lines


def report(comparisons: pd.DataFrame, points: pd.DataFrame, options: argparse.Namespace, what: str) -> str:
    """The Markdown page."""
    heading = [
        "# Populations: designs that share their first layers", "", f"`{' '.join(['python', *sys.argv])}`", "",
        f"{datetime.date.today()}, {cpu_model()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{options.threads} threads, {options.repeats} pairs; {what}", "",
    ]  # fmt: skip
    table = cells(comparisons, COMPARISON_COLUMNS)
    scaling = cells(points, POINT_COLUMNS) if len(points) else []
    notes = [paragraph.replace("\n", " ") for paragraph in __doc__.strip().split("\n\n")[2:]]
    lines = [f"- {line}" for line in summary(comparisons, points)]
    return "\n".join([*heading, *lines, "", *table, "", *scaling, "", "\n\n".join(notes), ""])


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def measure(options: argparse.Namespace, run: Path) -> None:
    prepared, assignments = load(run, options.images), searched(run)
    named = populations(assignments, options.size)
    named["sensitivity sweep"] = sensitivity_sweep(prepared, options.multipliers)
    comparisons = []
    for name, population in named.items():
        comparisons.append(compare(prepared.evaluator, name, population, options.repeats))
        print(f"{name:20} {comparisons[-1].speed_up:5.2f} times", flush=True)
    points = measure_scaling(options, run) if options.scaling else []
    frames = pd.DataFrame(comparisons), pd.DataFrame(points)
    what = f"{prepared.library.name}: {len(prepared.library)} multipliers, {len(prepared.layers)} layers, " + (
        f"{len(assignments)} designs in the journal"
    )
    options.out.mkdir(parents=True, exist_ok=True)
    frames[0].to_csv(options.out / "population.csv", index=False, float_format="%.6g")
    if options.scaling:
        frames[1].to_csv(options.out / "population_scaling.csv", index=False, float_format="%.6g")
    (options.out / "population.md").write_text(report(*frames, options, what), encoding="utf-8")
    print("\n".join(summary(*frames)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="run directory of a search; without, one is made")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--size", type=int, default=50, help="designs of a population")
    parser.add_argument("--multipliers", type=int, default=4, help="of the sensitivity sweep, besides the exact one")
    parser.add_argument("--repeats", type=int, default=3, help="pairs of passes")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--no-scaling", dest="scaling", action="store_false", help="skip the fresh processes")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DSE_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of population.md and .csv")
    parser.add_argument("--point", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.point:
        print_point(options)
    elif options.run:
        measure(options, options.run)
    else:
        with tempfile.TemporaryDirectory(prefix="dse-population-") as folder:
            measure(options, own_search(options, Path(folder) / "run"))


if __name__ == "__main__":
    main()

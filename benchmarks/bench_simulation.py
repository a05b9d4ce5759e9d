"""Speed and memory of the simulation: ResNet-20 on CIFAR-10 images through every table of EvoApproxLib.

    python benchmarks/bench_simulation.py

One multiplier in all layers, end to end: quantize, convolve, rescale, accuracy. Each pass through a table is timed next
to a pass with the exact multiplier over the same images, and ratios are medians over such pairs, so that the noise of
the machine cancels. Packing and the fit of corrections come before and are timed apart (factorizations lie in the disk
cache by then).

The last columns are from processes of their own with `DSE_ISA` at a lower level, which holds the native library down,
not PyTorch's int8 convolutions.

`reference` does the same work whatever the table and is linear in the images: it is timed with few images on few
tables, and one median serves for all. Memory is the largest resident set of a process, from its start.
Reads `$DSE_DATA`, else `../shared/data`.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dse.datasets import load_splits
from dse.evaluation import Evaluator, build_evaluator, default_batch_size
from dse.multipliers.factorization import factorize
from dse.multipliers.library import load_library
from dse.networks.convert import quantize_network
from dse.networks.zoo import create_network, default_preprocessing
from dse.quantization.affine import scheme_for
from dse.recovery.operators import Recovery
from dse.simulation.native_library import LEVELS

ROOT = Path(__file__).resolve().parents[1]
N_CALIBRATION = 128
REFERENCE_IMAGES, REFERENCE_TABLES = 8, 3
MEMORY_IMAGES = (1000, 5000)
MEMORY_TABLES = {False: "mul8u_QJD", True: "mul8s_1KR3"}  # by signedness


@dataclass(frozen=True)
class Timing:
    """One table; medians over pairs of passes. A lookup is one multiplication of the network."""

    table: str
    planes: int
    prepare_s: float
    s_per_1000: float
    ratio_to_exact: float
    g_lookups_per_s: float
    exact_s_per_1000: float
    images: int
    accuracy: float


class Bench:
    """The network, `n_images` images and all tables, those of zero cost included, which searches leave out."""

    def __init__(self, data: Path, n_images: int, is_signed: bool):
        self.library = load_library(data / "evoapprox", is_signed=is_signed)
        preprocessing = default_preprocessing("resnet20")
        self.splits = load_splits(
            "cifar10", data_dir=data, n_calibration=N_CALIBRATION, n_search=n_images, n_report=10,
            preprocessing=preprocessing,
        )  # fmt: skip
        network = create_network("resnet20", weights=data / "weights" / "cifar10_resnet20.pt")
        self.network = quantize_network(network, self.splits.calibration, scheme=scheme_for(is_signed))
        self.n_multiplications = sum(layer.n_multiplications for layer in self.network.layers)
        self.batch_size = default_batch_size(self.network.layers)
        self.exact = self.library[self.library.exact_index].name

    def evaluator(self, device: str = "cpu") -> Evaluator:
        split, calibration = self.splits.search, self.splits.calibration
        return build_evaluator(self.network, self.library, split, calibration=calibration, device=device)

    def reference_evaluator(self) -> Evaluator:
        """Without corrections: fitting them through `reference` would take minutes."""
        split, calibration = self.splits.search, self.splits.calibration.subset(1)
        recovery = Recovery(fold_bias=False)
        return build_evaluator(
            self.network, self.library, split, calibration=calibration, recovery=recovery, backend="reference",
            device="cpu",
        )  # fmt: skip

    def time(self, evaluator: Evaluator, name: str, n_images: int) -> tuple[float, float]:
        """Seconds and accuracy of multiplier `name` in all layers on the first `n_images`."""
        part = evaluator.with_split(self.splits.search.subset(min(n_images, evaluator.n_images)))
        assignment = np.full((1, self.network.n_layers), self.library.index(name))
        begin = time.perf_counter()
        accuracy = part(assignment)[0]
        return time.perf_counter() - begin, float(accuracy)


def time_table(bench: Bench, evaluator: Evaluator, name: str, *, repeats: int, budget_s: float) -> Timing:
    """Packs and fits on one batch, then times pairs on as many images as `budget_s` allows for."""
    multiplier = bench.library[name]
    planes = 0 if multiplier.is_exact else factorize(multiplier).n_planes
    one_batch = min(bench.batch_size, evaluator.n_images)
    first_s, _ = bench.time(evaluator, name, one_batch)
    batch_s, _ = bench.time(evaluator, name, one_batch)
    n_batches = max(1, int(budget_s / repeats / batch_s))
    n_images = min(n_batches * one_batch, evaluator.n_images)
    pairs = np.empty((repeats, 2))
    for row in range(repeats):
        pairs[row, 0], accuracy = bench.time(evaluator, name, n_images)
        pairs[row, 1], _ = bench.time(evaluator, bench.exact, n_images)
    table_s, exact_s = np.median(pairs, axis=0) * 1000 / n_images
    return Timing(
        table=name,
        planes=planes,
        prepare_s=max(0.0, first_s - batch_s),
        s_per_1000=table_s,
        ratio_to_exact=float(np.median(pairs[:, 0] / pairs[:, 1])),
        g_lookups_per_s=1e-6 * bench.n_multiplications / table_s,
        exact_s_per_1000=exact_s,
        images=n_images,
        accuracy=accuracy,
    )


def time_reference(bench: Bench, names: list[str]) -> float:
    """Seconds per 1000 images, median over `names`."""
    evaluator = bench.reference_evaluator()
    bench.time(evaluator, names[0], 1)  # warms up
    seconds = [bench.time(evaluator, name, REFERENCE_IMAGES)[0] for name in names]
    return float(np.median(seconds)) * 1000 / min(REFERENCE_IMAGES, evaluator.n_images)


def print_rates(options: argparse.Namespace) -> None:
    """One JSON object: G look-ups/s by table, the better of two passes over `options.images`."""
    bench = Bench(options.data, options.images, options.signed)
    evaluator, rates = bench.evaluator(), {}
    for name in table_names(options, bench):
        bench.time(evaluator, name, options.images)
        seconds = min(bench.time(evaluator, name, options.images)[0] for _ in range(2))
        rates[name] = 1e-9 * bench.n_multiplications * options.images / seconds
    print(json.dumps(rates))


def level_rates(options: argparse.Namespace, level: str) -> dict[str, float]:
    """G look-ups/s by table of a process that is held down to an instruction-set level."""
    command = [sys.executable, __file__, "--rates", "--images", str(options.level_images), "--data", str(options.data)]
    command += ["--threads", str(options.threads), *(["--tables", options.tables] if options.tables else [])]
    command += ["--signed"] if options.signed else []
    environment = {**os.environ, "DSE_ISA": level}
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(result.stdout)


def table_names(options: argparse.Namespace, bench: Bench) -> list[str]:
    return options.tables.split(",") if options.tables else [multiplier.name for multiplier in bench.library]


def peak_memory_gib() -> float:
    """Of this process alone: `getrusage` would carry over the peak of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status).group(1)) / 2**20


def child_memory_gib(options: argparse.Namespace, name: str, n_images: int) -> float:
    """Peak of a fresh process that evaluates one table on `n_images`."""
    command = [sys.executable, __file__, "--memory-of", name, "--images", str(n_images), "--data", str(options.data)]
    command += ["--threads", str(options.threads), *(["--signed"] if options.signed else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def print_memory(options: argparse.Namespace) -> None:
    bench = Bench(options.data, options.images, options.signed)
    bench.time(bench.evaluator(), options.memory_of, options.images)
    print(peak_memory_gib())


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def summary(frame: pd.DataFrame, reference_s: float, bench: Bench, memory: dict[str, float]) -> list[str]:
    """Lines of what is asked for and what was measured; the exact multiplier itself is left out of the medians."""
    tables = frame[frame.table != bench.exact]
    exact = 1e-6 * bench.n_multiplications / frame.exact_s_per_1000.median()
    rates, worst = tables.g_lookups_per_s, tables.loc[tables.g_lookups_per_s.idxmin()]
    lines = [
        f"G look-ups/s: **{rates.median():.1f}** at the median of the tables (target: at least 25), "
        f"**{rates.min():.1f}** at the worst, `{worst.table}` (target: at least 10)",
        f"exact pass: **{exact:.1f} G multiplications/s**; ratio to it **{tables.ratio_to_exact.median():.2f}** at the "
        f"median, **{tables.ratio_to_exact.max():.2f}** at the worst",
        f"speed-up over `reference`: **{tables.speed_up.median():.0f}** at the median, **{tables.speed_up.min():.0f}** "
        f"at the worst; `reference` takes {reference_s:.0f} s per 1000 images",
    ]
    for level in (column for column in tables if column in LEVELS):
        rates = tables[level]
        lines.append(f"held down to {level}: **{rates.median():.1f}** at the median, **{rates.min():.1f}** at worst")
    lines += [f"peak memory, {what}: **{gib:.2f} GiB** (target: below 2)" for what, gib in memory.items()]
    return lines


def report(frame: pd.DataFrame, lines: list[str], options: argparse.Namespace) -> str:
    """The Markdown page."""
    names = {
        "table": "table", "planes": "planes", "prepare_s": "prepare s", "s_per_1000": "s / 1000 images",
        "ratio_to_exact": "ratio to exact", "g_lookups_per_s": "G lookups/s", "speed_up": "times `reference`",
        "images": "images timed", **{level: f"{level} G/s" for level in frame if level in LEVELS},
    }  # fmt: skip
    rows = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row] for row in frame[list(names)].values.tolist()]
    table = [list(names.values()), ["---"] + ["---:"] * (len(names) - 1), *rows]
    heading = [
        f"# Speed of the simulation: ResNet-20, CIFAR-10, {'' if options.signed else 'un'}signed EvoApproxLib",
        "",
        f"`{' '.join(['python', *sys.argv])}`",
        "",
        f"{datetime.date.today()}, {cpu_model()}, {os.cpu_count()} cores, torch {torch.__version__}, "
        f"{options.threads} threads, {options.repeats} pairs of passes a table.",
        "",
    ]
    notes = [line.strip() for line in __doc__.split("\n\n")[2:]]
    cells = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([*heading, *(f"- {line}" for line in lines), "", *cells, "", "\n\n".join(notes), ""])


def run(options: argparse.Namespace) -> None:
    bench = Bench(options.data, options.images, options.signed)
    evaluator = bench.evaluator()
    names = table_names(options, bench)
    bench.time(evaluator, bench.exact, options.images)
    timings = []
    for name in names:
        timings.append(time_table(bench, evaluator, name, repeats=options.repeats, budget_s=options.budget_s))
        t = timings[-1]
        print(f"{t.table:12} {t.planes:4} planes  {t.s_per_1000:7.2f} s/1000  {t.ratio_to_exact:6.2f}", flush=True)
    memory = {f"{len(names)} tables one after another, {options.images} images": peak_memory_gib()}
    for n_images in MEMORY_IMAGES if options.memory else ():
        table = MEMORY_TABLES[options.signed]
        memory[f"{table}, {n_images} images"] = child_memory_gib(options, table, n_images)
    reference_s = time_reference(bench, names[:: max(1, len(names) // REFERENCE_TABLES)][:REFERENCE_TABLES])
    frame = pd.DataFrame(timings)
    frame["speed_up"] = reference_s / frame.s_per_1000
    for level in filter(None, options.levels.split(",")):
        frame[level] = frame.table.map(level_rates(options, level))
    lines = summary(frame, reference_s, bench, memory)
    options.out.mkdir(parents=True, exist_ok=True)
    name = "simulation_signed" if options.signed else "simulation"
    frame.to_csv(options.out / f"{name}.csv", index=False, float_format="%.6g")
    (options.out / f"{name}.md").write_text(report(frame, lines, options), encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3, help="pairs of passes for each table")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--signed", action="store_true", help="the signed tables and signed symmetric quantization")
    parser.add_argument("--tables", help="names joined by commas; all by default")
    parser.add_argument("--budget-s", type=float, default=8.0, help="seconds of timed passes for each table")
    parser.add_argument("--levels", default="avx2,portable", help="levels of DSE_ISA to hold down to, by commas")
    parser.add_argument("--level-images", type=int, default=256, help="images timed there")
    parser.add_argument("--no-memory", dest="memory", action="store_false", help="skip the fresh processes")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DSE_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of simulation.md and .csv")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--rates", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print_memory(options)
    elif options.rates:
        print_rates(options)
    else:
        run(options)


if __name__ == "__main__":
    main()

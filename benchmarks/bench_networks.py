"""Speed of the simulation by network, batch size and instruction-set level, as `results/networks.md` shows it.

Networks of the zoo with random weights on random images: the time does not depend on what they have learned, and every
kernel takes as long for one picture as for another, but for caches. One multiplier in all layers, end to end (quantize,
sum, rescale, activation); each pass through a table is timed beside a pass with the exact multiplier over the same
batch. Tables, by planes of their factorization: none (exact), one, the median of the set, the most.

Each level runs in a process of its own with `DSE_ISA` set to it, which holds the native library down; PyTorch's int8
convolutions, which exact layers and tables of few planes use, stay what they are.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dse.datasets import Split
from dse.evaluation import build_evaluator
from dse.multipliers.library import load_library
from dse.networks.convert import quantize_network
from dse.networks.zoo import create_network
from dse.quantization.affine import scheme_for
from dse.recovery.operators import Recovery
from dse.simulation.native_library import LEVELS, load

ROOT = Path(__file__).resolve().parents[1]
NETWORKS = ("resnet20", "vgg8", "mobilenetv2")
BATCHES = (1, 8, 64, 512)
TABLES = {"exact": "mul8u_1JFF", "1 plane": "mul8u_Y48", "median": "mul8u_QJD", "worst": "mul8u_L40"}
SIZE = 32


class Bench:
    """A network of the zoo on random images."""

    def __init__(self, network: str, library, n_images: int):
        random = torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        calibration, self.images = (
            Split.from_arrays(torch.randn(n, 3, SIZE, SIZE, generator=random), torch.zeros(n, dtype=torch.int64))
            for n in (8, n_images)
        )
        quantized = quantize_network(create_network(network, n_classes=10), calibration, scheme=scheme_for(False))
        self.library, self.layers = library, quantized.layers
        self.n_multiplications = sum(layer.n_multiplications for layer in quantized.layers)
        recovery = Recovery(fold_bias=False)  # corrections change numbers, not times
        self.evaluator = build_evaluator(
            quantized, library, self.images, calibration=calibration, recovery=recovery, device="cpu",
            batch_size=n_images,
        )  # fmt: skip

    def seconds(self, table: str, batch: int) -> float:
        """One pass of a batch."""
        part = self.evaluator.with_split(self.images.subset(batch))
        assignment = np.full((1, len(self.layers)), self.library.index(table))
        begin = time.perf_counter()
        part(assignment)
        return time.perf_counter() - begin


def measure(options: argparse.Namespace) -> None:
    """Prints one JSON line for every network, batch and table at the level of this process."""
    library = load_library(options.data / "evoapprox", is_signed=False)
    found = load()
    level = "no native library" if found is None else found.isa_name
    for network in options.networks.split(","):
        bench = Bench(network, library, max(options.batches))
        for batch in options.batches:
            for kind, table in TABLES.items():
                bench.seconds(table, batch)  # packs
                n_pairs = options.pairs if batch > 8 else 4 * options.pairs
                pairs = np.array([[bench.seconds(t, batch) for t in (table, TABLES["exact"])] for _ in range(n_pairs)])
                table_s, exact_s = np.median(pairs, axis=0)
                rate = 1e-9 * bench.n_multiplications * batch
                row = {
                    "level": level, "network": network, "batch": batch, "table": kind, "name": table,
                    "ms_per_image": 1e3 * table_s / batch, "g_lookups_per_s": rate / table_s,
                    "g_exact_per_s": rate / exact_s, "ratio_to_exact": float(np.median(pairs[:, 0] / pairs[:, 1])),
                }  # fmt: skip
                print(json.dumps(row), flush=True)


def run_level(options: argparse.Namespace, level: str) -> list[dict]:
    """Rows of one level, from a process of its own."""
    command = [sys.executable, __file__, "--child", "--data", str(options.data), "--threads", str(options.threads)]
    command += ["--networks", options.networks, "--pairs", str(options.pairs)]
    command += ["--batches", *map(str, options.batches)]
    environment = {**os.environ, "DSE_ISA": level}
    result = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return [json.loads(line) for line in result.stdout.splitlines()]


def report(frame: pd.DataFrame, options: argparse.Namespace) -> str:
    """The Markdown page."""
    processor = getattr(torch.cpu, "get_capabilities", dict)().get("cpu_name", "")
    lines = [
        "# Speed of the simulation by network, batch and level", "",
        f"`{' '.join(['python', *sys.argv])}`", "",
        f"{datetime.date.today()}, {processor}, torch {torch.__version__}, {options.threads} threads. "
        "G look-ups/s (times the exact pass).", "",
    ]  # fmt: skip
    cell = frame.apply(lambda row: f"{row.g_lookups_per_s:.1f} ({row.ratio_to_exact:.1f})", axis=1)
    table = frame.assign(cell=cell).pivot_table(
        index=["network", "level", "table"], columns="batch", values="cell", aggfunc="first", sort=False
    )
    head = ["network", "level", "table", *(f"batch {batch}" for batch in table.columns)]
    rows = [head, ["---"] * 3 + ["---:"] * len(table.columns)]
    rows += [[*map(str, index), *values] for index, values in zip(table.index, table.values.tolist(), strict=True)]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", "\n\n".join(__doc__.split("\n\n")[1:]).strip(), ""]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    parser.add_argument("--levels", default="best,avx2,portable", help="`best` or names that DSE_ISA takes, by commas")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of passes; four times as many for small batches")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DSE_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of networks.md and .csv")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        measure(options)
        return
    found = load()
    levels = [found.levels[-1] if found and level == "best" else level for level in options.levels.split(",")]
    unknown = [level for level in levels if level not in (*LEVELS, "off")]
    if unknown:
        parser.error(f"--levels {unknown[0]}: expected best, {', '.join(LEVELS)} or off, and a native library for best")
    rows = [row for level in dict.fromkeys(levels) for row in run_level(options, level)]
    frame = pd.DataFrame(rows)
    options.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.out / "networks.csv", index=False, float_format="%.4g")
    (options.out / "networks.md").write_text(report(frame, options), encoding="utf-8")
    print(report(frame, options))


if __name__ == "__main__":
    main()

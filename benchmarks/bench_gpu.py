"""Speed on a GPU: ResNet-20 on CIFAR-10 images through every unsigned table of EvoApproxLib.

    python benchmarks/bench_gpu.py

End to end (quantize, sum, rescale, accuracy), one multiplier in all layers, beside passes with the exact one; and the
sums of all layers alone, on the same codes: by the kernel that dse chooses, by each of its two kernels in all layers,
and by a plain one, a thread an output and a gather a product (`plain_lookup.cu`).

Times are medians; packing and the fit of corrections come before. Reads `$DSE_DATA`, else `../shared/data`. Without a
CUDA device there is nothing to measure, and the exit code is 1.
"""

import argparse
import datetime
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench_simulation import Bench

from dse.evaluation import Evaluator
from dse.multipliers.factorization import factorize
from dse.multipliers.multiplier import Multiplier
from dse.simulation.cuda_kernels import Kernels, make_kernels
from dse.simulation.factored import unsigned_padded
from dse.simulation.gpu import Gpu, open_gpu, prepare_gpu
from dse.simulation.lookup import patch_geometry, tap_offsets, weight_index
from dse.simulation.problem import IntegerConv

ROOT = Path(__file__).resolve().parents[1]
PLAIN_SOURCE = Path(__file__).with_name("plain_lookup.cu")
TARGET = 10

Conv = Callable[[torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Timing:
    """One table. Rates in G lookups/s (multiplications of the network): end to end, then sums of all layers alone."""

    table: str
    planes: int
    s_per_1000: float
    ratio_to_exact: float
    g_lookups_per_s: float
    sums: float
    by_planes: float
    by_lookups: float
    plain: float
    times_plain: float
    accuracy: float


class PlainConv:
    """`IntegerConv` by `plain_lookup.cu`; `table` has entries of 0..65535."""

    def __init__(self, problem: IntegerConv, table: np.ndarray, kernels: Kernels):
        self.problem, self._kernels, self._taps = problem, kernels, None
        device = kernels.device
        self._table = torch.from_numpy(table.astype(np.uint16).view(np.int16)).to(device)
        self._weights = weight_index(problem).contiguous().to(device)
        self._zero_point, self._constant = (v.to(device, torch.int32) for v in (problem.w_zero_point, problem.constant))

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """int32 `[n, C_out, H_out, W_out]` for codes uint8 `[n, C_in, H, W]`."""
        p, size = self.problem, self.problem.output_size(*x.shape[2:])
        codes = unsigned_padded(p, x).contiguous()
        out = torch.empty(len(x), p.n_outputs, *size, dtype=torch.int32, device=x.device)
        if self._taps is None:  # one size an instance
            self._taps = tap_offsets(p, *codes.shape[2:]).to(x.device)
        where = patch_geometry(p, codes, size)
        arguments = (where, codes, self._table, self._weights, self._taps, self._zero_point, self._constant, out)
        self._kernels.launch("plain_lookup", (-(-out.numel() // 256), 1, 1), 256, arguments)
        return out


class Layers:
    """The convolutions of the network with `n_images` of codes as they meet them, on the GPU."""

    def __init__(self, evaluator: Evaluator, n_images: int, gpu: Gpu):
        bank = evaluator.bank
        self.problems = [layer.problem for layer in bank.network.integer_layers]
        self.codes = [codes[torch.arange(n_images) % len(codes)].to(gpu.device) for codes in bank.codes]
        self.n_multiplications = n_images * sum(layer.n_multiplications for layer in bank.network.layers)

    def rate(self, make: Callable[[IntegerConv], Conv], repeats: int) -> float:
        """G lookups/s of the sums of all layers, each prepared by `make`."""
        pairs = zip(self.problems, self.codes, strict=True)
        return 1e-9 * self.n_multiplications / sum(_median_seconds(make(p), codes, repeats) for p, codes in pairs)


def _median_seconds(conv: Conv, codes: torch.Tensor, repeats: int) -> float:
    seconds = []
    for _ in range(repeats + 1):  # the first one warms up
        torch.cuda.synchronize()
        begin = time.perf_counter()
        conv(codes)
        torch.cuda.synchronize()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds[1:]))


def time_table(bench: Bench, evaluator: Evaluator, layers: Layers, name: str, options: argparse.Namespace) -> Timing:
    """Everything about one table."""
    multiplier, gpu = bench.library[name], options.gpu
    bench.time(evaluator, name, options.images)  # packs
    pairs = np.empty((options.repeats, 2))
    for row in range(options.repeats):
        pairs[row, 0], accuracy = bench.time(evaluator, name, options.images)
        pairs[row, 1], _ = bench.time(evaluator, bench.exact, options.images)
    seconds = float(np.median(pairs[:, 0]))
    rates = [layers.rate(make, options.repeats) for make in _makers(multiplier, gpu, options.plain)]
    return Timing(
        table=name,
        planes=0 if multiplier.is_exact else factorize(multiplier).n_planes,
        s_per_1000=1000 * seconds / options.images,
        ratio_to_exact=float(np.median(pairs[:, 0] / pairs[:, 1])),
        g_lookups_per_s=1e-9 * bench.n_multiplications * options.images / seconds,
        sums=rates[0],
        by_planes=rates[1],
        by_lookups=rates[2],
        plain=rates[3],
        times_plain=rates[0] / rates[3],
        accuracy=accuracy,
    )


def _makers(multiplier: Multiplier, gpu: Gpu, plain: Kernels) -> list[Callable[[IntegerConv], Conv]]:
    """As dse chooses, by planes, by lookups, plain."""
    factorization = None if multiplier.is_exact else factorize(multiplier)
    return [
        lambda problem: prepare_gpu(problem, multiplier, gpu),
        lambda problem: gpu.factored(problem, factorization),
        lambda problem: gpu.looked_up(problem, multiplier.table),
        lambda problem: PlainConv(problem, multiplier.table, plain),
    ]


def summary(frame: pd.DataFrame, exact: str) -> list[str]:
    """What is asked for and what was measured; the exact multiplier is left out of the medians."""
    tables = frame[frame.table != exact]
    ratio, rate = tables.times_plain.median(), tables.g_lookups_per_s
    return [
        f"sums of all layers, times a plain table-lookup kernel, median over tables: **{ratio:.1f}** "
        f"(target: at least {TARGET})",
        f"end to end: **{rate.median():.0f} G lookups/s** at the median, {rate.min():.0f} at the worst table, "
        f"ratio to the exact pass {tables.ratio_to_exact.median():.1f} at the median",
    ]


def report(frame: pd.DataFrame, lines: list[str], *, heading: str) -> str:
    """The Markdown page."""
    shown = frame.drop(columns="accuracy")
    rows = [[f"{v:.3g}" if isinstance(v, float) else str(v) for v in row] for row in shown.values.tolist()]
    table = [list(shown.columns), ["---"] + ["---:"] * (len(shown.columns) - 1), *rows]
    cells = ["| " + " | ".join(row) + " |" for row in table]
    notes = __doc__.split("\n\n")[2:]
    parts = ["# Speed of the simulation on a GPU", heading, "\n".join(f"- {line}" for line in lines), "\n".join(cells)]
    return "\n\n".join([*parts, *notes])


def run(options: argparse.Namespace) -> None:
    bench = Bench(options.data, options.images)
    evaluator = bench.evaluator("cuda")
    options.gpu = open_gpu(torch.device("cuda", 0))
    options.plain = make_kernels(PLAIN_SOURCE.read_text(encoding="utf-8"), options.gpu.device, {})
    layers = Layers(evaluator, options.layer_images, options.gpu)
    names = options.tables.split(",") if options.tables else [multiplier.name for multiplier in bench.library]
    bench.time(evaluator, bench.exact, options.images)
    timings = []
    for name in names:
        timings.append(time_table(bench, evaluator, layers, name, options))
        print(timings[-1], flush=True)
    frame = pd.DataFrame(timings)
    lines = summary(frame, bench.exact)
    heading = (
        f"`{' '.join(['python', *sys.argv])}`\n\n{datetime.date.today()}, {torch.cuda.get_device_name(0)}, "
        f"torch {torch.__version__}, CUDA {torch.version.cuda}."
    )
    options.out.mkdir(parents=True, exist_ok=True)
    frame.to_csv(options.out / "gpu_speed.csv", index=False, float_format="%.6g")
    (options.out / "gpu_speed.md").write_text(report(frame, lines, heading=heading), encoding="utf-8")
    print("\n".join(lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=8000, help="of a pass end to end")
    parser.add_argument("--layer-images", type=int, default=1024, help="in one call of a layer, for the sums alone")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tables", help="names joined by commas; all by default")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("DSE_DATA", ROOT.parent / "shared" / "data")))
    parser.add_argument("--out", type=Path, default=ROOT / "results", help="folder of gpu_speed.md and .csv")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit(
            f"nothing to measure: PyTorch {torch.__version__} finds no CUDA device. Run this where there is one, "
            "with a CUDA build of PyTorch"
        )
    if torch.version.hip is not None:
        sys.exit("nothing to compare: the kernels are CUDA C, and this PyTorch is for AMD GPUs")
    run(options)


if __name__ == "__main__":
    main()

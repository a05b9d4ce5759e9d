"""Time of layers whose output channels go through two multipliers, beside each of the two alone, in one run.

    python benchmarks/bench_channels.py ../shared/data/evoapprox --out results/axnn/channels.csv

Layers are those of ResNet-20 on 32x32 pictures and of MobileNetV2 on 64x64 ones, with random weights. One thread,
processor time, so that other work on the machine counts little; freed memory is kept, because fresh pages cost more
than some layers and fall on whichever call comes first. The three convolutions of a row are called in turn, and the
fastest call of each counts. Rows "all" add up a network's layers.
"""

import argparse
import ctypes
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dse.multipliers.library import load_library
from dse.simulation.channels import prepare_channels
from dse.simulation.ops import prepare, rescaled
from dse.simulation.problem import IntegerConv, integer_conv

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h

PAIRS = [("mul8u_1JFF", "mul8u_17KS"), ("mul8u_19DB", "mul8u_17KS"), ("mul8u_2AC", "mul8u_FTA")]
"""Exact and approximate, and approximate ones that differ in energy."""


@dataclass(frozen=True)
class Layer:
    """One kind of layer; `count` of them are in the network."""

    name: str
    channels: int
    outputs: int
    size: int
    kernel: int = 3
    stride: int = 1
    groups: int = 1
    count: int = 1

    def problem(self, rng: np.random.Generator) -> IntegerConv:
        """With random weights."""
        weight = rng.normal(128, 30, (self.outputs, self.channels // self.groups, self.kernel, self.kernel))
        pad = (self.kernel // 2,) * 4
        return integer_conv(
            torch.from_numpy(weight.clip(0, 255).astype(np.uint8)), torch.uint8, stride=(self.stride,) * 2, padding=pad,
            groups=self.groups, w_zero_point=torch.from_numpy(rng.integers(100, 156, self.outputs)),
        )  # fmt: skip


NETWORKS = {
    "ResNet-20": [
        Layer("conv 3-16, 32x32", 3, 16, 32),
        Layer("conv 16-16, 32x32", 16, 16, 32, count=6),
        Layer("conv 16-32, 32x32, stride 2", 16, 32, 32, stride=2),
        Layer("conv 32-32, 16x16", 32, 32, 16, count=5),
        Layer("conv 32-64, 16x16, stride 2", 32, 64, 16, stride=2),
        Layer("conv 64-64, 8x8", 64, 64, 8, count=5),
        Layer("linear 64-10", 64, 10, 1, kernel=1),
    ],
    "MobileNetV2": [
        Layer("pointwise 24-144, 16x16", 24, 144, 16, kernel=1, count=2),
        Layer("depthwise 144, 16x16", 144, 144, 16, groups=144),
        Layer("pointwise 144-32, 8x8", 144, 32, 8, kernel=1),
        Layer("depthwise 384, 4x4", 384, 384, 4, groups=384, count=4),
        Layer("pointwise 64-384, 4x4", 64, 384, 4, kernel=1, count=4),
        Layer("pointwise 384-64, 4x4", 384, 64, 4, kernel=1, count=3),
        Layer("pointwise 320-1280, 2x2", 320, 1280, 2, kernel=1),
    ],
}


def time_layer(layer: Layer, multipliers: list, share: float, *, n_images: int, repeats: int) -> list[float]:
    """Milliseconds of the first multiplier, the second, and both with `share` of the channels in the second."""
    rng = np.random.default_rng(0)
    problem = layer.problem(rng)
    x = torch.from_numpy(rng.integers(0, 256, (n_images, layer.channels, layer.size, layer.size), dtype=np.uint8))
    x = x.contiguous(memory_format=torch.channels_last)
    choice = np.zeros(layer.outputs, dtype=np.int64)
    choice[rng.permutation(layer.outputs)[: round(share * layer.outputs)]] = 1
    convs = [*(prepare(problem, m) for m in multipliers), prepare_channels(problem, multipliers, choice)]
    scale, bias = torch.full((layer.outputs,), 0.01), torch.zeros(layer.outputs)
    best = [float("inf")] * len(convs)
    for repeat in range(repeats + 1):
        for i, conv in enumerate(convs):
            begin = time.thread_time()
            rescaled(conv, x, scale, bias)
            if repeat:  # the first call warms up
                best[i] = min(best[i], 1e3 * (time.thread_time() - begin))
    return best


def _keep_freed_memory() -> None:
    """Where the allocator is glibc's."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_TRIM_THRESHOLD, 2**30)
        mallopt(M_MMAP_THRESHOLD, 2**30)


def main() -> None:
    """Times everything and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("library", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(1)
    _keep_freed_memory()
    library, rows = load_library(options.library, is_signed=False), []
    sizes = {"n_images": options.images, "repeats": options.repeats}
    for network, layers in NETWORKS.items():
        for pair in PAIRS:
            for share in (0.25, 0.5, 0.75):
                total = np.zeros(3)
                for layer in layers:
                    ms = np.array(time_layer(layer, [library[name] for name in pair], share, **sizes))
                    total += layer.count * ms
                    rows.append([network, layer.name, *pair, share, *ms])
                rows.append([network, "all", *pair, share, *total])
    columns = ["network", "layer", "high", "low", "low_share", "high_ms", "low_ms", "mixed_ms"]
    table = pd.DataFrame(rows, columns=columns)
    mean_ms = (1 - table["low_share"]) * table["high_ms"] + table["low_share"] * table["low_ms"]
    table["over_mean"] = table["mixed_ms"] / mean_ms
    table["over_slower"] = table["mixed_ms"] / table[["high_ms", "low_ms"]].max(axis=1)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(options.out, index=False)
    print(table[table["layer"] == "all"].round(3).to_string(index=False))


if __name__ == "__main__":
    main()

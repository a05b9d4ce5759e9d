"""Networks that someone else brings, unchanged: float against integer accuracy with the exact multiplier.

    python benchmarks/stranger_networks.py DATA [--network NAME] [--images N]

`DATA` is the folder with `example_networks.py`, the datasets and `evoapprox/`. For each network it prints float top-1,
and integer top-1 for every observer and for one weight scale a layer or one a channel, on the same report images.
The small fronts come from run files in `benchmarks/runs`; `results/strangers.md` has the commands.
"""

import argparse
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from dse.datasets import Split, load_splits
from dse.evaluation import build_evaluator
from dse.multipliers.library import Library, load_library
from dse.networks.convert import quantize_network
from dse.networks.zoo import create_network
from dse.quantization.affine import scheme_for
from dse.recovery.operators import Recovery

NETWORKS = {
    "mlperf_tiny_resnet8": ("cifar10", "raw", 5000),
    "cifar10_mobilenetv2": ("cifar10", "unit", 2000),
    "tinyimagenet_mobilenetv2": ("tinyimagenet", "centered", 2000),
}
"""Dataset, preprocessing, and images of the report split that are measured."""

SETTINGS = [(observer, per_channel) for per_channel in (True, False) for observer in ("percentile", "minmax", "mse")]
"""Observer, and whether each output channel has a weight scale of its own."""


def float_accuracy(network: torch.nn.Module, split: Split) -> float:
    """Top-1 of the network as it came."""
    hits = 0
    with torch.inference_mode():
        for start in range(0, split.n_images, 50):
            hits += int((network(split.batch(start, start + 50)).argmax(1) == split.labels[start : start + 50]).sum())
    return hits / split.n_images


def exact_accuracy(network, splits, library: Library, *, observer: str, per_channel: bool) -> float:
    """Top-1 of the integer network with the exact multiplier in every layer."""
    scheme = scheme_for(library.is_signed)
    integer = quantize_network(network, splits.calibration, scheme=scheme, observer=observer, per_channel=per_channel)
    evaluator = build_evaluator(
        integer, library, splits.report, calibration=splits.calibration, recovery=Recovery(fold_bias=False)
    )
    return float(evaluator(np.full((1, integer.n_layers), library.exact_index))[0])


def rows(data: Path, name: str, n_images: int | None, is_signed: bool) -> Iterator[dict]:
    """One row a setting."""
    dataset, preprocessing, n_default = NETWORKS[name]
    network = create_network(f"{data / 'example_networks.py'}:{name}")
    splits = load_splits(
        dataset, data_dir=data / dataset, n_report=n_images or n_default, n_search=1, preprocessing=preprocessing
    )
    library = load_library(data / "evoapprox", is_signed=is_signed).searchable()
    float_top1 = float_accuracy(network, splits.report)
    for observer, per_channel in SETTINGS:
        start = time.perf_counter()
        top1 = exact_accuracy(network, splits, library, observer=observer, per_channel=per_channel)
        yield {
            "network": name,
            "images": splits.report.n_images,
            "scheme": scheme_for(is_signed).name,
            "weights": "per channel" if per_channel else "per tensor",
            "observer": observer,
            "float_pct": 100 * float_top1,
            "integer_pct": 100 * top1,
            "lost_points": 100 * (float_top1 - top1),
            "time_s": time.perf_counter() - start,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--network", choices=NETWORKS, action="append")
    parser.add_argument("--images", type=int)
    parser.add_argument("--signed", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.network or NETWORKS:
        for row in rows(arguments.data, name, arguments.images, arguments.signed):
            print(pd.DataFrame([row]).to_csv(index=False, header=False, float_format="%.2f").strip(), flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()

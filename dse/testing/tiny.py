"""A tiny network, library and data for tests: 8x8 images of random pixels, everything decided by a seed."""

from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dse.datasets import Split
from dse.multipliers.families import builtin_library
from dse.multipliers.library import Library
from dse.robustness.tolerances import Tolerances

_MEMBERS = {
    False: ("u8_drum3", "u8_trunc8", "u8_mitchell4", "u8_trunc5", "u8_kulkarni4", "u8_exact"),
    True: ("s8_trunc8", "s8_drum3_oc", "s8_bam_v6_h1", "s8_mitchell4", "s8_trunc2", "s8_exact"),
}


def tiny_library(*, is_signed: bool = False) -> Library:
    """Six multipliers of the built-in library, a searchable one."""
    return builtin_library().select(names=list(_MEMBERS[is_signed])).searchable()


def tiny_split(n_images: int = 24, *, seed: int = 0, channels: int = 2, n_classes: int = 4) -> Split:
    """Random images float32 `[n, channels, 8, 8]` in [-1, 1) with random labels."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n_images, channels, 8, 8, generator=generator) * 2 - 1
    labels = torch.randint(0, n_classes, (n_images,), generator=generator)
    return Split.from_arrays(images, labels, n_classes=n_classes)


def randomize(network: nn.Module, seed: int = 0) -> nn.Module:
    """`network` in eval mode with every parameter and BatchNorm statistic drawn anew; changed in place."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in network.modules():
            for parameter in module.parameters(recurse=False):
                bound = parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.5
                parameter.copy_((torch.rand(parameter.shape, generator=generator) * 2 - 1) * bound)
            if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) and module.running_mean is not None:
                module.running_mean.copy_(torch.rand(module.num_features, generator=generator) - 0.5)
                module.running_var.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
                if module.affine:
                    module.weight.copy_(torch.rand(module.num_features, generator=generator) + 0.5)
    return network.eval()


class TinyCnn(nn.Module):
    """Plain, depthwise strided and 1x1 convolutions with BatchNorm, then a linear layer: `[n, 2, 8, 8]` to `[n, 4]`."""

    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.depthwise, self.bn2 = nn.Conv2d(6, 6, 3, stride=2, padding=1, groups=6), nn.BatchNorm2d(6)
        self.pointwise = nn.Conv2d(6, 8, 1)
        self.linear = nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits `[n, 4]`."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.depthwise(x)))
        return self.linear(F.relu(self.pointwise(x)).mean((2, 3)))


def tiny_network(seed: int = 0) -> nn.Module:
    """`TinyCnn` with random weights."""
    return randomize(TinyCnn(), seed)


def tiny_tolerances(n_layers: int = 3, **changes: Any) -> Tolerances:
    """Made-up tolerances with numbers that have no short decimal form; the last layer is saturated."""
    rng = np.random.default_rng(0)
    values = {
        "layers": tuple(f"layer{i}" for i in range(n_layers)),
        "n_multiplications": np.arange(1, n_layers + 1, dtype=np.int64) * 1000,
        "sigma": np.append(np.sort(rng.random(n_layers - 1)) / 3, 0.5),
        "is_saturated": np.arange(n_layers) == n_layers - 1,
        "sensitivity": rng.random(n_layers) ** 9,
        "coefficient": 0.1 + 0.2,
        "accuracy": 1 / 3,
        "accuracy_with_noise": 0.25,
        "n_images": 7,
        "n_steps": 3,
        "time_s": 0.1,
        "method": "frozen",
        "key": "a" * 64,
    }
    return Tolerances(**values | changes)

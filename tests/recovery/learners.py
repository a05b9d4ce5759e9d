"""Banks, assignments and networks that tests of learning share."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery.operators import OperatorBank, Recovery
from dse.testing.tiny import randomize, tiny_library, tiny_network, tiny_split

SPLIT = tiny_split(20)


def make_bank(network=None, *, is_signed=False, split=SPLIT, **recovery):
    integer = quantize_network(network or tiny_network(), split, scheme=scheme_for(is_signed))
    return OperatorBank(integer, tiny_library(is_signed=is_signed), split, recovery=Recovery(**recovery))


def random_rows(bank, n_points, seed=0):
    """Assignments int64 `[n_points, n_layers]`."""
    return np.random.default_rng(seed).integers(0, len(bank.library), (n_points, bank.network.n_layers))


def shake(learner, seed=0):
    """Changes all that learns a little, at random."""
    generator = torch.Generator().manual_seed(seed)
    weights, affine = learner.parameters()
    with torch.no_grad():
        for size, parameters in ((20.0, weights), (0.2, affine)):
            for parameter in parameters:
                parameter += size * (torch.rand(parameter.shape, generator=generator) - 0.5)
    learner.pack()


def wide_network():
    """Filters of up to 108 weights: what there is to choose."""
    return randomize(
        nn.Sequential(
            nn.Conv2d(2, 12, 3, padding=1), nn.ReLU(), nn.Conv2d(12, 12, 3, padding=1), nn.ReLU(),
            nn.Conv2d(12, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4),
        )
    )  # fmt: skip


class Varied(nn.Module):
    """Strides, even kernels with uneven padding, groups, dilation, reflected edges, a linear layer on three axes."""

    def __init__(self):
        super().__init__()
        self.strided, self.norm = nn.Conv2d(2, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4)
        self.even = nn.Conv2d(4, 4, 4, padding="same", groups=2)
        self.reflected = nn.Conv2d(4, 4, 3, padding=2, dilation=2, padding_mode="reflect")
        self.tokens, self.linear = nn.Linear(16, 6), nn.Linear(24, 4)

    def forward(self, x):
        x = F.relu(self.norm(self.strided(x)))
        x = self.reflected(F.relu(self.even(x)))
        return self.linear(F.relu(self.tokens(x.flatten(2))).flatten(1))


class Shared(nn.Module):
    """One convolution that runs twice."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 2, 3, padding=1), nn.Linear(128, 4)

    def forward(self, x):
        return self.linear(F.relu(self.conv(F.relu(self.conv(x)))).flatten(1))


class Undecided(nn.Module):
    """Control flow that depends on data, which torch.fx cannot trace, and a hook."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.linear = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Linear(144, 4)
        self.norm.register_forward_hook(lambda _module, _inputs, outputs: outputs * 1.5)

    def forward(self, x):
        y = self.norm(self.conv(x))
        if y.mean() > -1e9:
            y = y.relu()
        return self.linear(y.view(len(y), -1))


class InPlace(nn.Module):
    """ReLUs and sums that overwrite their inputs."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu, self.linear = nn.ReLU(inplace=True), nn.Linear(4, 4)

    def forward(self, x):
        x = self.relu(self.first(x))
        y = self.second(x)
        y += x
        y = self.relu(y)
        return self.linear(F.relu_(self.second(y)).mean((2, 3)))


class Overwritten(nn.Module):
    """Overwrites a value that its own gradient needs."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(2, 4, 3), nn.Linear(4, 4)

    def forward(self, x):
        y = torch.sigmoid(self.conv(x))
        y.add_(1)
        return self.linear(y.mean((2, 3)))


class Detached(nn.Module):
    """Lets no gradient through."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 8)

    def forward(self, x):
        return self.conv(x).flatten(1).detach()


NETWORKS = {"tiny": tiny_network} | {
    kind.__name__: lambda kind=kind: randomize(kind()) for kind in (Varied, Shared, Undecided, InPlace)
}

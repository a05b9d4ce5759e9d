"""Small random networks for tests of sharing: residual adds, concatenations, work in place, layers called again."""

import operator

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from dse.multipliers.library import Library
from dse.networks.convert import IntegerNetwork, quantize_network
from dse.networks.layers import LayerOperator
from dse.quantization.affine import scheme_for
from dse.simulation.ops import prepare
from dse.testing.tiny import randomize, tiny_library, tiny_split

SPLIT = tiny_split(8)


class Program(nn.Module):
    """Runs steps `(operation, layer, value)` on the values so far, `[n, 2, 8, 8]` each; then a Linear layer."""

    def __init__(self, steps, *, is_traceable=True):
        super().__init__()
        self.layers = nn.ModuleList([nn.Conv2d(2, 2, 3, padding=1), nn.Conv2d(2, 2, 1), nn.Conv2d(2, 2, 5, padding=2)])
        self.join, self.linear = nn.Conv2d(4, 2, 1), nn.Linear(2, 4)
        self.relu, self.drop, self.norm = nn.ReLU(inplace=True), nn.Dropout(inplace=True), nn.BatchNorm2d(2)
        self.steps, self.is_traceable = steps, is_traceable

    def forward(self, x):
        values = [self.layers[0](x)]
        for operation, layer, value in self.steps:
            values.append(self._step(operation, layer, values[-1], values[value % len(values)]))
        y = values[-1] if self.is_traceable or x.sum() < 1e9 else -values[-1]
        return self.linear(y.mean((2, 3)))

    def _step(self, operation, layer, x, other):
        if operation == "layer":
            return self.layers[layer](x)
        if operation == "join":
            return self.join(torch.cat([x, other], 1))
        return OPERATIONS[operation](self, x, other)


def _swapped(halves):
    return torch.cat([halves[1].sub_(0.1), halves[0]], 1)


OPERATIONS = {
    "relu": lambda net, x, other: F.relu(x),
    "relu module": lambda net, x, other: net.relu(x),
    "other relu module": lambda net, x, other: net.relu(other),
    "relu argument": lambda net, x, other: F.relu(other, inplace=True),
    "relu_": lambda net, x, other: torch.relu_(other),
    "drop": lambda net, x, other: net.drop(other).mul_(0.5),
    "norm": lambda net, x, other: net.norm(other),
    "add": lambda net, x, other: x + other,
    "iadd": lambda net, x, other: operator.iadd(x, other),
    "add_": lambda net, x, other: other.add_(x),
    "view": lambda net, x, other: other.flatten(2).view(-1, 2, 8, 8).mul_(0.75),
    "halves": lambda net, x, other: _swapped(other.chunk(2, 1)),
    "unused": lambda net, x, other: (other.clamp_(-0.5), x)[1],
}

steps = st.lists(
    st.tuples(st.sampled_from(["layer", "join", *OPERATIONS]), st.integers(0, 2), st.integers(0, 20)), max_size=8
)


def integer(network, **options) -> IntegerNetwork:
    """The integer copy of `network`, with random weights; operators are not set."""
    return quantize_network(randomize(network), SPLIT, scheme=scheme_for(False), **options)


class Operators:
    """Sets the operators of an integer network; counts how often each layer runs.

    Attributes:
        calls: `(layer, multiplier)` of each.
    """

    def __init__(self, network: IntegerNetwork, library: Library | None = None):
        self.network, self.library = network, library or tiny_library()
        self.calls: list[tuple[int, int]] = []
        self._made: dict[tuple[int, int], LayerOperator] = {}

    def __call__(self, assignment, layers=None) -> None:
        for layer in range(self.network.n_layers) if layers is None else layers:
            self.network.integer_layers[layer].operator = self._counting(layer, int(assignment[layer]))

    def _counting(self, layer, multiplier):
        key, integer_layer = (layer, multiplier), self.network.integer_layers[layer]
        if key not in self._made:
            sums = prepare(integer_layer.problem, self.library[multiplier])
            self._made[key] = LayerOperator(sums, integer_layer.scale, integer_layer.bias)

        def count(codes):
            self.calls.append(key)
            return self._made[key](codes)

        return count

    def whole(self, assignment, images) -> torch.Tensor:
        """Logits of a run of the whole network."""
        self(assignment)
        return self.network(images.clone())

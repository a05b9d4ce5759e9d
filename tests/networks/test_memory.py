"""In-place additions and activations change time and memory, never values."""

import operator

import pytest
import torch
from torch import fx, nn
from torch.nn import functional as F

from dse.networks.memory import reuse_memory


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.relu6, self.inplace = nn.BatchNorm2d(3), nn.ReLU6(), nn.ReLU(inplace=True)

    def forward(self, x):
        y = F.relu(self.norm(x))
        z = torch.add(self.norm(y), y)
        z = self.relu6(z + x[:, :1]) + self.norm(x)
        return F.relu(z + z), y, self.inplace(self.norm(z))


def traced(module):
    result = fx.symbolic_trace(module.eval())
    reuse_memory(result)
    return result


def functions(module):
    return [getattr(node.target, "__name__", node.target) for node in module.graph.nodes if node.op == "call_function"]


def test_values_and_inputs_stay():
    torch.manual_seed(0)
    block, x = Block(), torch.randn(2, 3, 4, 5)
    module, before = traced(block), x.clone()
    expected = block(x.clone())
    results = module(x)
    assert torch.equal(x, before)
    assert all(torch.equal(a, b) for a, b in zip(results, expected, strict=True))
    assert {"_add", "_relu", "_relu6"} <= set(functions(module))


@pytest.mark.parametrize(
    "forward",
    [
        lambda self, x: F.relu(x),  # the caller's tensor
        lambda self, x: F.relu(x.view(-1)),  # shares its memory
        lambda self, x: F.relu(F.relu(x, True)),
        lambda self, x: F.relu(F.relu(x, inplace=True)),
        lambda self, x: (lambda y: (F.relu(y), y))(torch.mul(x, 2)),  # used again
        lambda self, x: operator.add(x, x),
    ],
)
def test_left_alone(forward):
    module = traced(type("Plain", (nn.Module,), {"forward": forward})())
    assert not {"_add", "_relu", "_relu6"} & set(functions(module))


def test_sums_that_grow_take_new_memory():
    module = traced(type("Grow", (nn.Module,), {"forward": lambda self, x, y: torch.mul(x, 2) + y})())
    assert "_add" in functions(module)
    assert torch.equal(module(torch.ones(1, 3), torch.ones(2, 3)), torch.full((2, 3), 3.0))

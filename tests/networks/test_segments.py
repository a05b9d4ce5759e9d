import copy
import operator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import fx, nn
from torch.nn import functional as F

from dse.networks.convert import quantize_network
from dse.networks.segments import SegmentedNetwork, count_bytes
from dse.quantization.affine import scheme_for
from dse.testing.tiny import randomize, tiny_network, tiny_split

from .programs import Operators, Program, integer, steps

IMAGES = tiny_split(5, seed=3).images


class Net(nn.Module):
    """Modules by keyword and a forward function `(self, x)`."""

    def __init__(self, forward, **modules):
        super().__init__()
        for name, module in modules.items():
            setattr(self, name, module)
        self._function = forward

    def forward(self, x):
        return self._function(self, x)


def _conv(n_in=2, n_out=2):
    return nn.Conv2d(n_in, n_out, 3, padding=1)


def _pooled(x):
    return x.mean((2, 3))


def _check(network, assignment, images=IMAGES):
    """Segments give the bits of a whole run and leave every state as it is."""
    segmented, use = SegmentedNetwork(network), Operators(network)
    expected, before = use.whole(assignment, images), images.clone()
    state = segmented.begin(images)
    for segment in segmented.segments:
        given_state, snapshot = state, copy.deepcopy(state)
        state = segment(state)
        assert all(_same(a, b) for a, b in zip(given_state, snapshot, strict=True))
    assert torch.equal(state[0], expected)
    assert torch.equal(images, before)
    return segmented


def _same(a, b):
    return torch.equal(a, b) and a.stride() == b.stride() if isinstance(a, torch.Tensor) else a == b


@settings(max_examples=40, deadline=None)
@given(steps, st.booleans(), st.lists(st.integers(0, 5), min_size=5, max_size=5))
def test_same_bits_and_untouched_states(program, is_traceable, multipliers):
    network = integer(Program(program, is_traceable=is_traceable))
    segments = _check(network, multipliers[: network.n_layers]).segments
    assert [s.stop for s in segments] == (list(range(1, network.n_layers + 1)) if is_traceable else [network.n_layers])


@pytest.mark.parametrize("n_images", [0, 1, 2, 24])
def test_any_number_of_images(n_images):
    network = integer(tiny_network())
    _check(network, [0, 1, 2, 3], IMAGES[:n_images] if n_images < 5 else tiny_split(n_images).images)


def test_one_segment_a_layer():
    segments = _check(integer(tiny_network()), [5, 0, 3, 1]).segments
    assert [(s.stop, s.layers, s.is_pure) for s in segments] == [(i + 1, (i,), True) for i in range(4)]


def test_grey_images_that_the_network_changes():
    network, split = Net(lambda s, x: _pooled(s.b(s.a(x.mul_(2)))), a=_conv(1), b=_conv()), tiny_split(6, channels=1)
    _check(quantize_network(randomize(network), split, scheme=scheme_for(False)), [0, 1], split.images)


REPEATED = {
    "called again": Net(lambda s, x: _pooled(s.b(s.a(s.b(s.a(x))))), a=_conv(), b=_conv()),
    "by two names": Net(lambda s, x: _pooled(s.other(s.b(s.a(x)))), a=_conv(), b=_conv()),
}
REPEATED["by two names"].other = REPEATED["by two names"].a


@pytest.mark.parametrize("case", sorted(REPEATED))
def test_layers_called_again_run_in_later_segments(case):
    segments = _check(integer(REPEATED[case]), [0, 3]).segments
    assert [(s.stop, s.layers) for s in segments] == [(1, (0,)), (2, (0, 1))]


def test_named_in_another_order_than_called():
    network = integer(Net(lambda s, x: _pooled(s.a(s.b(x))), a=_conv(), b=_conv()))
    assert [info.name for info in network.layers] == ["b", "a"]
    assert len(_check(network, [1, 2]).segments) == 2


class _Block(nn.Module):
    """Two layers in what torch.fx takes for one node, because it claims to be a part of torch."""

    __module__ = "torch.nn.modules.block"

    def __init__(self):
        super().__init__()
        self.a, self.b = _conv(), _conv()

    def forward(self, x):
        return self.b(self.a(x).relu_())


def test_layers_inside_one_node_share_a_segment():
    modules = {"first": _conv(), "block": _Block(), "last": _conv()}
    network = integer(Net(lambda s, x: _pooled(s.last(s.block(s.first(x)))), **modules))
    segments = _check(network, [1, 2, 3, 4]).segments
    assert [(s.stop, s.layers, s.is_pure) for s in segments] == [(1, (0,), True), (3, (1, 2), False), (4, (3,), True)]


class _Backwards(_Block):
    __module__ = "torch.nn.modules.block"

    def forward(self, x):
        return self.a(self.b(x))


def test_an_order_that_the_graph_does_not_show_is_one_segment():
    network = integer(Net(lambda s, x: _pooled(s.block(s.first(s.block.a(x)))), first=_conv(), block=_Backwards()))
    assert [info.name for info in network.layers] == ["block.a", "first", "block.b"]
    assert len(_check(network, [1, 2, 3]).segments) == 3
    network = integer(Net(lambda s, x: _pooled(s.last(s.block(x))), last=_conv(), block=_Backwards()))
    assert [info.name for info in network.layers] == ["block.b", "block.a", "last"]
    assert [s.stop for s in _check(network, [1, 2, 3]).segments] == [2, 3]


def test_no_segments_without_a_trace():
    def branching(s, x):
        x = s.a(x) if x.sum() < 1e9 else -s.a(x)
        return _pooled(s.b(x.relu_()))

    network = integer(Net(branching, a=_conv(), b=_conv()))
    (segment,) = _check(network, [4, 2]).segments
    assert (segment.stop, segment.layers, segment.is_pure) == (2, (0, 1), False)


@fx.wrap
def _opaque(x):
    return x.mul_(2)


HARMLESS = {
    "module": lambda s, x: s.relu(s.a(x)),
    "residual": lambda s, x: s.relu(operator.iadd(s.b(s.relu(s.a(x))), s.a(x))),
    "chain": lambda s, x: torch.relu_(s.a(x)).add_(1).mul_(2),
    "argument": lambda s, x: F.relu(s.a(x), inplace=True),
    "positional": lambda s, x: F.relu(s.a(x), True),
    "not in place": lambda s, x: F.relu(s.a(x).flatten(2).view(-1, 2, 8, 8)),
    "named alike": lambda s, x: s.a(x).sigmoid().clamp(0).abs() + getattr(x, "ndim"),  # noqa: B009
}
HARMFUL = {
    "input of the network": lambda s, x: s.a(x).relu() + s.b(x.add_(1)),
    "earlier layer": lambda s, x: (lambda y: s.b(y) + s.relu(y))(s.a(x)),
    "view": lambda s, x: s.a(x).flatten(2).relu_().view(-1, 2, 8, 8),
    "function of the user": lambda s, x: _opaque(s.a(x)),
    "given output": lambda s, x: (lambda y: torch.add(y, 1, out=y))(s.a(x)),
    "hook": lambda s, x: s.hooked(s.a(x)),
}


def _add_one(module, inputs):
    inputs[0].add_(1)


def _net(forward):
    net = Net(lambda s, x: _pooled(s.last(forward(s, x))), a=_conv(), b=_conv(), last=_conv())
    net.relu, net.hooked = nn.ReLU(inplace=True), nn.Sigmoid()
    net.hooked.register_forward_pre_hook(_add_one)
    return net


@pytest.mark.parametrize("case", sorted(HARMLESS))
def test_work_in_place_on_a_tensor_of_its_own_needs_no_copy(case):
    network = integer(_net(HARMLESS[case]))
    assert all(s.is_pure for s in _check(network, [0, 1, 2][: network.n_layers]).segments)


@pytest.mark.parametrize("case", sorted(HARMFUL))
def test_work_in_place_on_anything_else_gets_a_copy(case):
    network = integer(_net(HARMFUL[case]))
    assert network.is_traced
    assert not all(s.is_pure for s in _check(network, [0, 1, 2][: network.n_layers]).segments)


def test_count_bytes():
    a, b = torch.zeros(100), torch.zeros(10, dtype=torch.uint8)
    assert count_bytes([]) == 0
    assert count_bytes([(a, 3), (a[5:], (b, [None])), ({"x": a.view(10, 10)},)]) == 410


def test_segments_use_the_modules_of_the_network():
    network = integer(tiny_network())
    segmented, use = SegmentedNetwork(network), Operators(network)
    results = []
    for assignment in ([0, 1, 2, 3], [3, 2, 1, 0]):
        use(assignment)
        state = segmented.begin(IMAGES)
        for segment in segmented.segments:
            state = segment(state)
        results.append(state[0])
    assert not torch.equal(*results)
    assert np.array_equal(use.calls[:4], [(0, 0), (1, 1), (2, 2), (3, 3)])

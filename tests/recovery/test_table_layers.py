"""Layers that learn: forward with the bits of the integer network, backward as the exact layer."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.recovery import table_layers
from dse.recovery.operators import OperatorBank, Recovery
from dse.recovery.switchable import layer_multipliers, switchable_network
from dse.recovery.table_layers import LearningNetwork, TableLayer, layer_points
from dse.testing.tiny import randomize, tiny_library

from .learners import NETWORKS, SPLIT, Varied, make_bank, random_rows, shake

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

GEOMETRIES = {
    "plain": nn.Conv2d(4, 6, 3, padding=1),
    "strided": nn.Conv2d(4, 6, 3, stride=2, padding=(0, 1)),
    "uneven": nn.Conv2d(4, 6, (2, 4), padding="same"),
    "grouped": nn.Conv2d(4, 6, 3, groups=2, dilation=2, padding=2),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4, stride=2, padding=1),
    "reflected": nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    "linear": nn.Linear(8, 6),
}


class _Single(nn.Module):
    """A layer between two that only make a network of it."""

    def __init__(self, layer):
        super().__init__()
        self.before, self.layer = nn.Conv2d(2, 4, 1), layer

    def forward(self, x):
        return self.layer(self.before(x)).flatten(1)


def table_layer(geometry, *, multiplier, is_signed=False, gradients=None, **recovery):
    """A learning layer with parameters drawn at random, and an input that needs a gradient, partly out of range."""
    network = randomize(_Single(copy.deepcopy(GEOMETRIES[geometry])))
    integer = quantize_network(network, SPLIT, scheme=scheme_for(is_signed))
    bank = OperatorBank(integer, tiny_library(is_signed=is_signed), SPLIT, recovery=Recovery(**recovery))
    model = switchable_network(bank, np.full((1, 2), multiplier))
    layer = TableLayer(
        bank.network.integer_layers[1], layer_points(model.points, bank.network.layers, 1), weight_map=None,
        library=bank.library, gradients=gradients,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        layer.gains[0].copy_(torch.rand(layer.gains[0].shape, generator=generator) + 0.5)
        layer.shifts[0].copy_(torch.rand(layer.shifts[0].shape, generator=generator) - 0.5)
    layer.unit = 0.5
    layer.pack()
    low, high = layer.limits
    shape = (3, 4, 8, 8)
    x = low + (high - low) * (1.2 * torch.rand(shape, generator=generator) - 0.1)
    return layer, x.requires_grad_()


def fake_quantized(layer, x):
    """The exact layer in floating point with autograd: rounding and clamping pass gradients within the range."""
    integer, point = layer.layer, layer.points[0]
    p = integer.problem
    shaped = integer.shaped(x)
    low, high = layer.limits
    is_inside = ((shaped >= low) & (shaped <= high)).float()
    codes = integer.quantize_shaped(shaped.detach()).float() - p.x_zero_point
    centered_x = codes + is_inside * (shaped - shaped.detach()) / integer.x_scale
    weight = layer.weight + (layer.weight.detach().round() - layer.weight.detach())
    left, right, top, bottom = p.padding
    sums = F.conv2d(
        F.pad(centered_x, (left, right, top, bottom)), weight - p.w_zero_point.view(-1, 1, 1, 1), None, p.stride, 0,
        p.dilation, p.groups,
    )  # fmt: skip
    view = (1, -1, 1, 1)
    scale, bias = point.scale * layer.gains[0], point.bias + layer.unit * layer.shifts[0]
    return integer.unshaped(sums * scale.view(view) + bias.view(view), x)


def gradients_of(outputs, layer, x):
    generator = torch.Generator().manual_seed(2)
    upstream = torch.randn(outputs.shape, generator=generator)
    return torch.autograd.grad(outputs, [x, layer.weight, layer.gains[0], layer.shifts[0]], upstream)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("recovery", [{}, {"sum_compensation": True}])
def test_forward_has_the_bits_of_the_frozen_network(network, is_signed, recovery):
    bank = make_bank(NETWORKS[network](), is_signed=is_signed, **recovery)
    rows = random_rows(bank, 3)
    learner = LearningNetwork(bank, rows)
    untuned = switchable_network(bank, rows)
    assert_same(learner, learner.frozen())
    assert_same(LearningNetwork(bank, rows[:1]), switchable_network(bank, rows[:1]))
    shake(learner)
    frozen = learner.frozen()
    assert_same(learner, frozen)
    assert not torch.equal(frozen(SPLIT.images), untuned(SPLIT.images))


def assert_same(learner, model):
    for k in range(model.n_points):
        learner.set_operating_point(k)
        model.set_operating_point(k)
        assert torch.equal(learner(SPLIT.images).detach(), model(SPLIT.images))


@pytest.mark.parametrize("weight_tuning", ["uniform", "histogram"])
def test_forward_through_tuned_weights(weight_tuning):
    bank = make_bank(weight_tuning=weight_tuning, sum_compensation=True)
    row = np.zeros((1, 4), dtype=np.int64)
    learner = LearningNetwork(bank, row)
    assert_same(learner, switchable_network(bank, row))
    shake(learner)
    frozen = learner.frozen()
    assert_same(learner, frozen)
    layer = frozen.network.integer_layers[0].problem
    assert torch.equal(layer.weight, learner.layers[0].mapped(learner.layers[0].quantized()).weight)
    assert torch.equal(layer.constant, learner.layers[0].quantized().constant)


@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_gradients_are_those_of_the_exact_layer(geometry, is_signed, monkeypatch):
    monkeypatch.setattr(table_layers, "_has_bfloat16", lambda: False)
    for multiplier in (0, 5):  # the last is exact
        for recovery in ({}, {"sum_compensation": True}):
            layer, x = table_layer(geometry, multiplier=multiplier, is_signed=is_signed, **recovery)
            outputs, expected = layer(x), fake_quantized(layer, x)
            assert outputs.shape == expected.shape
            if multiplier == 5:
                torch.testing.assert_close(outputs, expected, rtol=1e-4, atol=1e-4)
            for found, wanted in zip(gradients_of(outputs, layer, x), gradients_of(expected, layer, x), strict=True):
                torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("geometry", ["plain", "grouped", "uneven", "linear"])
def test_bfloat16_rounds_little(geometry, monkeypatch):
    found = []
    for has in (False, True):
        monkeypatch.setattr(table_layers, "_has_bfloat16", lambda has=has: has)
        layer, x = table_layer(geometry, multiplier=1)
        found.append(gradients_of(layer(x), layer, x))
    for exact, rounded in zip(*found, strict=True):
        assert (rounded - exact).norm() <= 0.01 * exact.norm()
        assert rounded.dtype == torch.float32


def test_no_gradient_beyond_the_range():
    layer, x = table_layer("plain", multiplier=0)
    low, high = layer.limits
    by_x = torch.autograd.grad(layer(x).sum(), x)[0]
    is_outside = (x < low) | (x > high)
    assert is_outside.any()
    assert not by_x[is_outside].any()
    assert by_x[~is_outside].count_nonzero() > 0.9 * (~is_outside).sum()


def test_weights_stay_codes():
    bank = make_bank()
    learner = LearningNetwork(bank, random_rows(bank, 1))
    with torch.no_grad():
        learner.layers[0].weight += 500
        learner.layers[1].weight -= 500
    learner.pack()
    assert (learner.layers[0].weight == 255).all()
    assert not learner.layers[1].weight.any()
    assert_same(learner, learner.frozen())


def test_points_share_gradients_of_weights_and_of_linear_biases():
    bank = make_bank()
    learner = LearningNetwork(bank, random_rows(bank, 2))
    once, both = [], []
    for points, found in (((0,), once), ((0, 1), both), ((1,), once)):
        for parameters in learner.parameters():
            for parameter in parameters:
                parameter.grad = None
        for k in points:
            learner.set_operating_point(k)
            F.cross_entropy(learner(SPLIT.images), SPLIT.labels).backward()
        if len(points) > 1:
            learner.share_gradients()
        conv, linear = learner.layers[0], learner.layers[-1]
        tensors = (conv.weight, linear.weight, linear.shifts[0], *conv.shifts, *conv.gains)
        found.append([None if t.grad is None else t.grad.clone() for t in tensors])
    (first, second), (joint,) = once, both
    for index in range(3):
        torch.testing.assert_close(joint[index], (first[index] + second[index]) / 2)
    assert torch.equal(joint[3], first[3])
    assert torch.equal(joint[4], second[4])
    assert (first[4], second[3], first[6], second[5]) == (None,) * 4


def test_what_learns():
    bank = make_bank()
    rows = random_rows(bank, 2)
    with_gains, biases = LearningNetwork(bank, rows), LearningNetwork(bank, rows, has_gains=False)
    assert [len(group) for group in with_gains.parameters()] == [4, 3 * 2 * 2 + 1]
    assert [len(group) for group in biases.parameters()] == [4, 3 * 2 + 1]
    everything = [parameter for parameter in with_gains.module.parameters() if parameter.requires_grad]
    assert len(everything) == sum(layer.points is not None and 1 + 2 * 2 for layer in with_gains.layers)


def test_joint_learning_keeps_weights_equal_and_vectors_apart():
    bank = make_bank()
    learner = LearningNetwork(bank, random_rows(bank, 3))
    shake(learner)
    model = learner.frozen()
    for index, info in enumerate(bank.network.layers):
        scales = [point.scales[index] for point in model.points]
        assert all(torch.equal(scales[0], other) for other in scales[1:]) == (info.kind == "linear")
    assert model.n_private_parameters > 0


def test_state_goes_into_another_learner():
    bank = make_bank(Varied().eval())
    rows = random_rows(bank, 2)
    first, second = LearningNetwork(bank, rows), LearningNetwork(bank, rows)
    shake(first)
    first.layers[0].unit = 0.25
    second.load_state(copy.deepcopy(first.state()))
    assert_same(second, first.frozen())


def test_the_bank_is_not_changed():
    bank = make_bank(NETWORKS["InPlace"]())
    fingerprint = bank.network.fingerprint()
    learner = LearningNetwork(bank, random_rows(bank, 1))
    F.cross_entropy(learner(SPLIT.images), SPLIT.labels).backward()
    shake(learner)
    assert bank.network.fingerprint() == fingerprint
    assert bank.network.module.relu.inplace
    assert not learner.module.relu.inplace


def test_not_a_number_is_noticed():
    bank = make_bank()
    learner = LearningNetwork(bank, random_rows(bank, 1))
    assert learner.is_finite
    with torch.no_grad():
        learner.layers[2].weight[0, 0, 0, 0] = torch.nan
    assert not learner.is_finite


def neuron_rows(bank, n_points=1, seed=5):
    """Multipliers of every neuron, drawn at random."""
    n_neurons = sum(info.weight_shape[0] for info in bank.network.layers)
    return np.random.default_rng(seed).integers(0, len(bank.library), (n_points, n_neurons))


@pytest.mark.parametrize("network", [*NETWORKS][:4])
@pytest.mark.parametrize("recovery", [{}, {"sum_compensation": True, "weight_tuning": "histogram"}])
@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_neurons_of_a_layer_may_differ(network, recovery):
    """Each channel is what a layer computes whose channels all have its multiplier, forward and backward."""
    bank = make_bank(NETWORKS[network](), **recovery)
    rows = neuron_rows(bank)
    learner = LearningNetwork(bank, rows)
    logits = learner(SPLIT.images)
    assert torch.equal(logits.detach(), learner.frozen()(SPLIT.images))
    assert torch.equal(logits.detach(), switchable_network(bank, rows)(SPLIT.images))
    channels = layer_multipliers(rows[0], bank.network.layers)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand((2, *SPLIT.shape), generator=generator)
    first = learner.layers[0]
    weights = torch.rand(first(x).shape, generator=generator)
    (weights * first(x)).sum().backward()
    for m in np.unique(channels[0]):
        own = channels[0] == m
        plain = LearningNetwork(bank, np.full((1, bank.network.n_layers), m)).layers[0]
        assert torch.equal(plain(x)[:, own], first(x)[:, own])
        (weights * plain(x)).sum().backward()
        torch.testing.assert_close(plain.weight.grad[own], first.weight.grad[own], rtol=0.02, atol=1e-4)


def test_layers_and_neurons_are_two_ways_to_say_the_same():
    bank = make_bank()
    row = np.array([[0, 2, 1, 3]])
    by_neuron = np.concatenate(layer_multipliers(row[0], bank.network.layers))[None]
    assert by_neuron.shape == (1, 6 + 6 + 8 + 4)
    one, other = LearningNetwork(bank, row), LearningNetwork(bank, by_neuron)
    assert torch.equal(one(SPLIT.images), other(SPLIT.images))
    shake(one)
    other.load_state(one.state())
    assert torch.equal(one.frozen()(SPLIT.images), other.frozen()(SPLIT.images))

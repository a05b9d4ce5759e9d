"""dse.networks.activations: the nearest clamps, in the right places."""

import numpy as np
import pytest
import torch
from torch import nn

from dse.errors import ConfigError, NetworkError, ShapeError
from dse.networks.activations import (
    Clamp,
    PartlyLinear,
    PiecewiseLinear,
    activation_modules,
    approximate_activations,
    fit_clamps,
)
from dse.testing.tiny import randomize, tiny_split

IMAGES = tiny_split(16).images
POINTS = np.quantile(np.random.default_rng(0).normal(0.3, 1.5, 20_000), (np.arange(512) + 0.5) / 512)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def error(linear, function, points=POINTS):
    return float(np.square(linear(torch.from_numpy(points)).numpy() - function(points)).mean())


def network(*activations):
    first, second = activations or (nn.Tanh(), nn.Sigmoid())
    layers = nn.Conv2d(2, 5, 3), first, nn.Flatten(), nn.Linear(180, 7), second, nn.Linear(7, 4)
    return randomize(nn.Sequential(*layers))


def test_the_formula():
    x = torch.linspace(-3, 3, 13)
    linear = PiecewiseLinear(0.5, [Clamp(2.0, -1.0, 1.0), Clamp(-0.25, -2.0, float("inf"))])
    expected = [0.5 + 2 * min(max(v, -1), 1) - 0.25 * max(v, -2) for v in x.tolist()]
    assert linear(x).tolist() == pytest.approx(expected)
    assert "0.5 +2 * clamp(x, -1, 1) -0.25 * clamp(x, -2, inf)" in repr(linear)


@pytest.mark.parametrize("clamp", [Clamp(0.8, -1.5, 1.0), Clamp(-0.8, -1.5, 1.0), Clamp(0.0, -1.0, float("inf"))])
def test_one_clamp_alone(clamp):
    x = torch.linspace(-3, 3, 13)
    before = x.clone()
    expected = [0.5 + clamp.slope * min(max(v, clamp.low), clamp.high) for v in x.tolist()]
    assert PiecewiseLinear(0.5, [clamp])(x).tolist() == pytest.approx(expected)
    assert torch.equal(x, before)


@pytest.mark.parametrize("function", [np.tanh, sigmoid])
def test_one_clamp_is_the_best_of_all(function):
    linear = fit_clamps(function, POINTS)
    knots = np.linspace(-3.5, 3.5, 60)
    best = min(
        np.square(basis @ np.linalg.lstsq(basis, function(POINTS), rcond=None)[0] - function(POINTS)).mean()
        for low in knots
        for high in knots[knots > low]
        for basis in [np.stack((np.ones_like(POINTS), np.clip(POINTS, low, high)), 1)]
    )
    assert error(linear, function) <= 1.0001 * best


@pytest.mark.parametrize("function", [np.tanh, sigmoid])
def test_two_clamps_are_nearer(function):
    assert error(fit_clamps(function, POINTS, n_clamps=2), function) < 0.3 * error(
        fit_clamps(function, POINTS), function
    )


def test_functions_without_bound_go_on():
    def silu(x):
        return x * sigmoid(x)

    linear = fit_clamps(silu, POINTS, n_clamps=2, is_bounded=False)
    assert all(clamp.high == float("inf") for clamp in linear.clamps)
    assert error(linear, silu) < 0.003
    assert linear(torch.tensor(100.0)).item() == pytest.approx(100, rel=0.2)


def test_points_that_are_all_the_same():
    linear = fit_clamps(np.tanh, np.full(512, 0.5))
    assert linear(torch.tensor(0.5)).item() == pytest.approx(np.tanh(0.5))


@pytest.mark.parametrize("n_clamps", [1, 2])
def test_all_activations_of_a_copy(n_clamps):
    exact = network()
    before = exact(IMAGES)
    found = approximate_activations(exact, IMAGES, n_clamps=n_clamps)
    assert [type(found[i]) for i in (1, 4)] == [PiecewiseLinear] * 2
    assert len(found[1].clamps) == n_clamps
    assert torch.equal(exact(IMAGES), before)
    assert (found(IMAGES) - before).abs().max() < 0.1 * before.std()


def test_chosen_channels_only():
    exact, masks = network(), {"1": np.array([1, 0, 1, 1, 0], dtype=bool), "4": np.zeros(7, dtype=bool)}
    found = approximate_activations(exact, IMAGES, resilient=masks)
    assert isinstance(found[1], PartlyLinear)
    assert isinstance(found[4], nn.Sigmoid)
    x = exact[0](IMAGES)
    y = found[1](x)
    assert torch.equal(y[:, ~masks["1"]], torch.tanh(x)[:, ~masks["1"]])
    assert torch.equal(y[:, masks["1"]], found[1].linear(x)[:, masks["1"]])
    resilient = x[:, masks["1"]].detach().numpy().ravel().astype(float)
    alone = fit_clamps(np.tanh, np.quantile(resilient, (np.arange(512) + 0.5) / 512))
    (clamp,), (expected,) = found[1].linear.clamps, alone.clamps
    assert (clamp.slope, clamp.low, clamp.high) == pytest.approx((expected.slope, expected.low, expected.high))


def test_activations_that_are_not_named_stay():
    found = approximate_activations(network(), IMAGES, resilient={"4": np.ones(7, dtype=bool)})
    assert isinstance(found[1], nn.Tanh)
    assert isinstance(found[4], PiecewiseLinear)


@pytest.mark.parametrize("masks", [None, {"1": np.arange(5) > 1}])
def test_what_is_replaced_learns(masks):
    found = approximate_activations(network(), IMAGES, resilient=masks)
    found.train()(IMAGES).square().sum().backward()
    assert all(bool(p.grad.abs().sum() > 0) for p in found.parameters())


def test_a_shared_activation_is_replaced_as_a_whole():
    shared = nn.Tanh()
    exact = network(shared, shared)
    assert list(activation_modules(exact)) == ["1"]
    found = approximate_activations(exact, IMAGES)
    assert found[1] is found[4]
    with pytest.raises(NetworkError, match=r"activation '1' serves layers with \[5, 7\] channels"):
        approximate_activations(exact, IMAGES, resilient={"1": np.arange(5) > 1})


@pytest.mark.parametrize(("module", "n_clamps"), [(nn.SiLU(), 2), (nn.GELU(), 2), (nn.GELU(approximate="tanh"), 1)])
def test_silu_and_gelu(module, n_clamps):
    found = approximate_activations(network(module, nn.Tanh()), IMAGES, n_clamps=n_clamps)
    assert isinstance(found[1], PiecewiseLinear)
    assert found[1].clamps[0].high == float("inf")


def test_refusals():
    with pytest.raises(NetworkError, match="no activation to replace"):
        approximate_activations(network(nn.ReLU(), nn.ReLU()), IMAGES)
    with pytest.raises(ConfigError, match="n_clamps is 3"):
        approximate_activations(network(), IMAGES, n_clamps=3)
    with pytest.raises(ConfigError, match="unknown activation 'tanh'"):
        approximate_activations(network(), IMAGES, resilient={"tanh": np.ones(5, dtype=bool)})
    with pytest.raises(ShapeError, match=r"has shape \(6,\): expected \(5,\)"):
        approximate_activations(network(), IMAGES, resilient={"1": np.ones(6, dtype=bool)})
    idle = _Idle({"layer": nn.Conv2d(2, 5, 3), "tanh": nn.Tanh(), "idle": nn.Tanh()})
    with pytest.raises(NetworkError, match="activation 'idle' does not run"):
        approximate_activations(idle, IMAGES)


class _Idle(nn.ModuleDict):
    """A network with a module that does not run."""

    def forward(self, x):
        return self["tanh"](self["layer"](x))

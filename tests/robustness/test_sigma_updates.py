"""dse.robustness.sigma_updates: both ways go to the minimum of the loss where the cross entropy is known."""

import pytest
import torch

from dse.robustness.sigma_updates import FixedPoint, GradientDescent, Slopes
from dse.robustness.tolerances import AgnSettings

SHARES = torch.tensor([0.1, 0.6, 0.3])
SENSITIVITY = torch.tensor([5.0, 0.3, 1e-3])


def minimum(coefficient, sigma_max=0.5):
    """Of SUM s sigma^2 - lambda SUM share min(|sigma|, sigma_max)."""
    return (coefficient * SHARES / (2 * SENSITIVITY)).clamp(max=sigma_max).double()


def descend(update, n_steps=200, scatter=0.0):
    generator = torch.Generator().manual_seed(0)
    for k in range(n_steps):
        slopes = 2 * SENSITIVITY * update.sigma + scatter * torch.randn(3, generator=generator)
        entropy = float((SENSITIVITY * update.sigma**2).sum())
        update.step(slopes, entropy, n_done=k, n_steps=n_steps)
    return update.tolerance()


def fixed_point(**options):
    slopes = Slopes(3)
    update = FixedPoint(SHARES, AgnSettings(**options), slopes)
    update.start(0.0)
    return update, slopes


@pytest.mark.parametrize("coefficient", [0.02, 0.2, 1.0])
def test_fixed_point_finds_the_minimum(coefficient):
    update, slopes = fixed_point(coefficient=coefficient)
    torch.testing.assert_close(descend(update), minimum(coefficient), rtol=1e-3, atol=0.0)
    torch.testing.assert_close(slopes.sensitivity(), SENSITIVITY.double(), rtol=1e-3, atol=0.0)


def test_fixed_point_averages_scatter():
    found = descend(fixed_point(coefficient=1.0)[0], scatter=0.2)
    torch.testing.assert_close(found, minimum(1.0), rtol=0.3, atol=0.0)


def test_loud_noise_is_turned_down_and_not_counted():
    update, slopes = fixed_point(sigma_init=0.4)
    update.step(torch.zeros(3), 9.0, n_done=0, n_steps=10)
    assert slopes.n_added == 0
    torch.testing.assert_close(update.sigma, torch.full((3,), 0.28))


def test_layers_without_slope_saturate():
    update, _ = fixed_point()
    for k in range(30):
        update.step(torch.zeros(3), 0.0, n_done=k, n_steps=60)
    assert (update.tolerance() == 0.5).all()
    assert (update.sigma <= 0.5).all()


@pytest.mark.parametrize("start", [0.1, -0.1])
def test_gradient_descent_finds_the_minimum(start):
    settings = AgnSettings(trains_weights=True, coefficient=1.0, learning_rate=0.02)
    update = GradientDescent(SHARES, settings, Slopes(3), weights=[torch.nn.Parameter(torch.zeros(1))])
    update.sigma.fill_(start)
    found = descend(update, n_steps=600)
    torch.testing.assert_close(found, minimum(1.0), rtol=0.05, atol=0.0)
    assert torch.equal(update.sigma.sign(), torch.full((3,), start).sign())


def test_gradient_descent_has_two_learning_rates_in_thirds():
    settings = AgnSettings(trains_weights=True, coefficient=0.0, learning_rate=0.1, sigma_learning_rate=0.01)
    weight = torch.nn.Parameter(torch.zeros(1))
    update = GradientDescent(SHARES, settings, Slopes(3), weights=[weight])
    rates = []
    for k in range(9):
        weight.grad = torch.ones(1)
        update.step(torch.zeros(3), 0.0, n_done=k, n_steps=9)
        rates.append([group["lr"] for group in update._optimizer.param_groups])
    assert rates[0] == rates[2] == [0.01, 0.1]
    assert rates[3] == rates[5] == pytest.approx([0.001, 0.01])
    assert rates[6] == rates[8] == pytest.approx([0.0001, 0.001])


def test_slopes_weigh_the_last_half():
    slopes = Slopes(1)
    for k in range(100):
        slopes.add(torch.tensor([0.2 if k < 50 else 0.4]), torch.tensor([0.1]))
    assert 1.7 < slopes.sensitivity().item() < 2.0
    assert Slopes(1).sensitivity().item() > 0

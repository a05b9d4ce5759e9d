import numpy as np
import pytest
from scipy.stats import spearmanr

from dse.errors import ConfigError, ShapeError
from dse.robustness.surrogate import make_surrogate

N_LAYERS, N_MULTIPLIERS, N_IMAGES = 8, 12, 400


@pytest.fixture
def noise():
    """Error variances from 0 (the exact multiplier, last) to 1, different by layer."""
    rng = np.random.default_rng(0)
    ladder = np.append(10.0 ** np.linspace(0, -4, N_MULTIPLIERS - 1), 0.0)
    return ladder * rng.uniform(0.5, 2.0, size=(N_LAYERS, 1))


@pytest.fixture
def truth(noise):
    """A network that behaves as the model says, up to a misfit of 20 % in log D; measured on `N_IMAGES` images."""
    rng = np.random.default_rng(1)
    sensitivity = np.exp(rng.normal(0.0, 1.0, N_LAYERS))

    def losses(assignments, rng=rng):
        total = (sensitivity * noise[np.arange(N_LAYERS), assignments]).sum(axis=1)
        loss = 0.8 * -np.expm1(-((total * np.exp(rng.normal(0, 0.2, len(total)))) ** 1.3))
        return loss, loss + rng.normal(0, np.sqrt((loss + 0.02) / N_IMAGES))

    return losses


def random_assignments(n, seed):
    rng = np.random.default_rng(seed)
    cheapest = rng.integers(0, N_MULTIPLIERS, size=(n, 1))
    return np.minimum(cheapest + rng.integers(0, N_MULTIPLIERS, size=(n, N_LAYERS)), N_MULTIPLIERS - 1)


def surrogate_of(noise, **options):
    return make_surrogate(noise, exact_accuracy=0.9, n_classes=10, n_images=N_IMAGES, **options)


def test_few_measurements_rank_and_calibrate(noise, truth):
    X = random_assignments(40, 2)
    model = surrogate_of(noise).fitted(X, truth(X)[1])
    fresh = random_assignments(500, 3)
    loss, _ = truth(fresh)
    predicted = model.predict(fresh)
    assert spearmanr(predicted.mean, loss)[0] > 0.95
    z = (loss - predicted.mean) / predicted.std
    tells = (loss > 0.002) & (loss < 0.6)  # elsewhere there is nothing to predict
    assert 0.55 < np.mean(np.abs(z[tells]) < 1) < 0.97
    assert np.mean(np.abs(z[tells]) < 2) > 0.88
    assert model.n_measured == 40


def test_exact_design_loses_nothing(noise, truth):
    exact = np.full((1, N_LAYERS), N_MULTIPLIERS - 1)
    X = random_assignments(30, 4)
    for model in (surrogate_of(noise), surrogate_of(noise).fitted(X, truth(X)[1])):
        predicted = model.predict(exact)
        assert predicted.mean[0] == pytest.approx(0, abs=1e-9)
        assert predicted.std[0] < 1e-6


def test_measurements_narrow_the_prediction(noise, truth):
    X = random_assignments(60, 5)
    fresh = random_assignments(50, 6)
    before, after = surrogate_of(noise).predict(fresh), surrogate_of(noise).fitted(X, truth(X)[1]).predict(fresh)
    assert after.std.mean() < before.std.mean() / 2


def test_prior_sensitivities_order_layers_before_anything_is_measured(noise):
    sensitivity = np.linspace(1, 5, N_LAYERS)
    flat = np.ones((N_LAYERS, 2)) * [0.01, 0.0]
    model = make_surrogate(flat, exact_accuracy=0.9, n_classes=10, n_images=100, sensitivity=sensitivity)
    single = np.where(np.eye(N_LAYERS, dtype=bool), 0, 1)
    assert (np.diff(model.predict(single).mean) > 0).all()
    assert model.layer_losses[:, 0] / model.layer_losses[0, 0] == pytest.approx(sensitivity)


def test_jacobian_is_that_of_the_loss(noise):
    model = surrogate_of(noise)
    terms = model._terms(random_assignments(20, 7))
    parameters = np.random.default_rng(8).normal(0, 0.3, N_LAYERS + 2)
    _, jacobian, _ = model._loss(terms, parameters)
    for index in range(len(parameters)):
        step = np.zeros(len(parameters))
        step[index] = 1e-6
        slope = (model._loss(terms, parameters + step)[0] - model._loss(terms, parameters - step)[0]) / 2e-6
        np.testing.assert_allclose(jacobian[:, index], slope, rtol=1e-4, atol=1e-8)


def test_losses_stay_between_nothing_and_guessing(noise, truth):
    X = random_assignments(50, 9)
    model = surrogate_of(noise).fitted(X, truth(X)[1])
    mean = model.predict(random_assignments(300, 10)).mean
    assert mean.min() >= 0
    assert mean.max() <= 0.8 + 1e-12


def test_inputs_are_not_changed(noise, truth):
    X = random_assignments(20, 11)
    losses, kept, first = truth(X)[1], X.copy(), surrogate_of(noise)
    first.fitted(X, losses)
    assert np.array_equal(X, kept)
    assert not first.parameters.any()


def test_refusals(noise):
    with pytest.raises(ConfigError, match="negatives or NaN"):
        surrogate_of(-noise)
    with pytest.raises(ConfigError, match="nothing to lose"):
        make_surrogate(noise, exact_accuracy=0.1, n_classes=10, n_images=100)
    with pytest.raises(ConfigError, match=r"chance is 0.500"):
        make_surrogate(noise, exact_accuracy=0.5, n_classes=10, n_images=100, top=5)
    with pytest.raises(ShapeError, match="positive sensitivities"):
        surrogate_of(noise, sensitivity=np.zeros(N_LAYERS))
    with pytest.raises(ShapeError, match=r"\[n, 8\]"):
        surrogate_of(noise).predict(np.zeros((2, 3), dtype=np.int64))
    X = random_assignments(3, 12)
    for losses in ([0.1, np.nan, 0.2], [0.1, 0.2]):
        with pytest.raises(ShapeError, match="finite losses"):
            surrogate_of(noise).fitted(X, losses)

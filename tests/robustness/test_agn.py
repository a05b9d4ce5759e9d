"""dse.robustness.agn: tolerances mean what they say."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from dse.datasets import Split
from dse.errors import ConfigError, DataError, NetworkError
from dse.networks.convert import quantize_network
from dse.networks.zoo import create_network
from dse.quantization.affine import scheme_for
from dse.robustness.agn import search_key, search_tolerances
from dse.robustness.noise import NoiseSource, frozen_network
from dse.robustness.tolerances import AgnSettings
from dse.testing.tiny import randomize, tiny_network, tiny_split

FROZEN = AgnSettings(steps=60)
TRAINED = AgnSettings(trains_weights=True, epochs=3, batch_size=32, sigma_learning_rate=0.1)


@pytest.fixture(scope="module")
def found(integer, training):
    return search_tolerances(None, integer, training, FROZEN)


def entropy(integer, training, sigmas):
    """Mean over the training images and several draws of noise."""
    noisy = frozen_network(integer, source=NoiseSource(9, torch.device("cpu")), device=torch.device("cpu"))
    noisy.sigmas = [torch.tensor(float(value)) for value in sigmas]
    with torch.no_grad():
        losses = [nn.functional.cross_entropy(noisy(training.images), training.labels).item() for _ in range(8)]
    return np.mean(losses)


def test_tolerances_of_a_trained_network(found, integer, training):
    assert found.layers == tuple(info.name for info in integer.layers)
    assert found.sigma.dtype == found.sensitivity.dtype == np.float64
    assert found.is_saturated.dtype == bool
    assert (found.sigma > 0).all()
    assert (found.sigma <= 0.5).all()
    np.testing.assert_array_equal(found.is_saturated, found.sigma == 0.5)
    assert (found.sensitivity > 0).all()
    assert found.accuracy > 0.98
    assert found.accuracy_with_noise > 0.95
    assert (found.method, found.n_images, found.n_steps, found.weights) == ("frozen", 256, 60, None)


def test_sensitivity_predicts_the_cross_entropy_and_orders_layers(found, integer, training):
    """Noise in one layer at a time."""
    n, sigma = len(found.layers), 0.15
    clean = entropy(integer, training, np.zeros(n))
    rises = np.array([entropy(integer, training, sigma * np.eye(n)[i]) - clean for i in range(n)])
    assert np.argmax(found.sensitivity) == np.argmax(rises)
    assert np.argmin(found.sensitivity) == np.argmin(rises)
    ratio = found.sensitivity * sigma**2 / rises
    assert (ratio > 0.3).all()
    assert (ratio < 4).all()


@pytest.mark.parametrize(("settings", "highest"), [(FROZEN, 50.0), (TRAINED, 5.0)])
def test_more_reward_more_noise(digits, integer, training, settings, highest):
    coefficients = (0.05, 0.5, highest)
    results = [search_tolerances(digits, integer, training, replace(settings, coefficient=c)) for c in coefficients]
    low, middle, high = (result.sigma * result.n_multiplications for result in results)
    assert low.sum() < middle.sum() < high.sum()
    assert results[2].is_saturated.sum() >= 2
    assert results[2].accuracy_with_noise <= results[0].accuracy_with_noise


def test_no_reward_no_noise(integer, training):
    assert (search_tolerances(None, integer, training, replace(FROZEN, coefficient=0.0)).sigma == 0).all()


def test_a_layer_that_feeds_nothing_important_bears_more():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.critical, self.faint, self.linear = nn.Conv2d(2, 4, 3), nn.Conv2d(2, 4, 3), nn.Linear(4, 4)

        def forward(self, x):
            return 50 * self.linear((self.critical(x) + 0.01 * self.faint(x)).relu().mean((2, 3)))

    split = tiny_split(64)
    network = randomize(Branches())
    with torch.no_grad():
        network.linear.bias -= network(split.images).mean(0) / 50  # all classes occur
        labels = network(split.images).argmax(1)
    split = Split.from_arrays(split.images, labels, n_classes=4)
    integer = quantize_network(network, split, scheme=scheme_for(False))
    found = search_tolerances(None, integer, split, replace(FROZEN, coefficient=0.5))
    assert found.layers[:2] == ("critical", "faint")
    assert found.sigma[1] > 2 * found.sigma[0]
    assert found.is_saturated[1]


def test_same_seed_same_tolerances_and_other_seeds_agree(found, integer, training):
    again = search_tolerances(None, integer, training, FROZEN)
    np.testing.assert_array_equal(found.sigma, again.sigma)
    np.testing.assert_array_equal(found.sensitivity, again.sensitivity)
    assert found.key == again.key == search_key(integer, training, FROZEN)
    other = search_tolerances(None, integer, training, replace(FROZEN, seed=1))
    assert other.key != found.key
    assert np.abs(np.log(other.sensitivity / found.sensitivity)).max() < np.log(2)


def test_network_is_not_changed(digits, integer, training):
    before = {name: value.clone() for name, value in digits.state_dict().items()}
    fingerprint = integer.fingerprint()
    for settings in (FROZEN, TRAINED):
        search_tolerances(digits, integer, training, settings)
    assert all(torch.equal(value, before[name]) for name, value in digits.state_dict().items())
    assert integer.fingerprint() == fingerprint
    assert not digits.training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in digits.modules())
    assert all(parameter.grad is None for parameter in digits.parameters())


def test_trained_weights_fit_the_network_and_keep_its_accuracy(digits, integer, training):
    found = search_tolerances(digits, integer, training, TRAINED)
    assert found.accuracy > 0.97
    assert found.method == "trained"
    network = create_network("digits_cnn")
    network.load_state_dict(found.weights)
    assert (network(training.images).argmax(1) == training.labels).float().mean() > 0.97
    changed = [name for name, value in digits.state_dict().items() if not torch.equal(value, found.weights[name])]
    assert any(name.endswith("weight") for name in changed)
    assert any(name.endswith("running_mean") for name in changed)


@pytest.mark.parametrize("settings", [replace(FROZEN, steps=12), TRAINED])
@pytest.mark.parametrize("is_signed", [False, True])
@pytest.mark.parametrize("kind", ["tiny", "linear", "untraced"])
def test_any_network(settings, is_signed, kind):
    class Undecided(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm, self.linear = nn.Conv2d(2, 4, 3, bias=False), nn.BatchNorm2d(4), nn.Linear(144, 4)

        def forward(self, x):
            y = self.norm(self.conv(x))
            return self.linear((y.relu() if y.mean() > -9 else y).flatten(1))

    networks = {
        "tiny": tiny_network,
        "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(128, 8), nn.ReLU(), nn.Linear(8, 4)).eval(),
        "untraced": lambda: randomize(Undecided()),
    }
    split, network = tiny_split(40), networks[kind]()
    integer = quantize_network(network, split, scheme=scheme_for(is_signed), per_channel=is_signed)
    found = search_tolerances(network, integer, split, settings)
    assert np.isfinite(found.sigma).all()
    assert np.isfinite(found.sensitivity).all()
    assert len(found.sigma) == len(integer.layers)


def test_excluded_layers_have_no_noise(digits, training):
    integer = quantize_network(digits, training, scheme=scheme_for(False), exclude=("linear",))
    for settings in (replace(FROZEN, steps=4), replace(TRAINED, epochs=1)):
        assert "linear" not in search_tolerances(digits, integer, training, settings).layers


def test_one_image(integer, training):
    assert search_tolerances(None, integer, training.subset(1), replace(FROZEN, steps=3)).n_images == 1


def test_refusals(digits, integer, training):
    empty = replace(training, stored=training.stored[:0], labels=training.labels[:0])
    with pytest.raises(DataError, match="needs training images, got none: raise training_images"):
        search_tolerances(digits, integer, empty, FROZEN)
    with pytest.raises(DataError, match="label 10 of the training images has no output"):
        search_tolerances(digits, integer, replace(training, labels=training.labels + 1), FROZEN)
    with pytest.raises(ConfigError, match="device 'tpu': expected 'cpu' or 'cuda'"):
        search_tolerances(digits, integer, training, FROZEN, device="tpu")
    with pytest.raises(NetworkError, match="needs the float network"):
        search_tolerances(None, integer, training, TRAINED)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_no_gpu(digits, integer, training):
    with pytest.raises(ConfigError, match="no GPU. Use device 'cpu'"):
        search_tolerances(digits, integer, training, FROZEN, device="cuda")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("settings", [FROZEN, TRAINED])
def test_gpu(digits, integer, training, settings):
    found = search_tolerances(digits, integer, training, settings, device="cuda")
    expected = search_tolerances(digits, integer, training, settings)
    assert np.abs(np.log(found.sensitivity / expected.sensitivity)).max() < np.log(2)

"""dse.robustness.activations: slopes behind the nonlinearity, shares of values."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dse.errors import ConfigError, NetworkError
from dse.networks.activations import PartlyLinear, PiecewiseLinear, approximate_activations
from dse.robustness.activations import characterize_activations, resilient_masks
from dse.robustness.neuron_scores import LayerResilience, Resilience
from dse.testing.tiny import randomize, tiny_split

SPLIT = tiny_split(20)


def network():
    layers = nn.Conv2d(2, 5, 3), nn.Tanh(), nn.Flatten(), nn.Linear(180, 7), nn.Sigmoid(), nn.Linear(7, 4)
    return randomize(nn.Sequential(*layers))


def test_scores_are_those_of_outputs():
    found = characterize_activations(network(), SPLIT, batch_size=6)
    exact = network().requires_grad_(False)
    first = exact[:2](SPLIT.images).requires_grad_()
    second = exact[2:5](first)
    loss = F.cross_entropy(exact[5](second), SPLIT.labels, reduction="sum")
    slopes = torch.autograd.grad(loss, (first, second))
    assert [layer.name for layer in found.layers] == ["1", "4"]
    np.testing.assert_allclose(found.scores[0], slopes[0].abs().mean((0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found.scores[1], slopes[1].abs().mean(0), rtol=1e-5)
    assert [layer.n_positions for layer in found.layers] == [36, 1]


def test_masks_choose_neurons_and_the_network_uses_them():
    exact = network()
    masks = resilient_masks(characterize_activations(exact, SPLIT), 0.5)
    assert masks["1"].sum() == 2
    found = approximate_activations(exact, SPLIT.images, resilient=masks)
    assert isinstance(found[1], PartlyLinear)
    everything = resilient_masks(characterize_activations(exact, SPLIT), 1.0)
    found = approximate_activations(exact, SPLIT.images, resilient=everything)
    assert isinstance(found[1], PiecewiseLinear)


def test_shares_are_of_values():
    first = LayerResilience("a", np.array([1.0, 4.0]), np.ones(2), np.ones((1, 1)), 8)
    second = LayerResilience("b", np.array([2.0, 3.0]), np.ones(2), np.ones((1, 1)), 2)
    found = Resilience((first, second), 1, 0.0, 0.0)
    for share, a, b in ((0.0, [0, 0], [0, 0]), (0.4, [1, 0], [0, 0]), (0.55, [1, 0], [1, 0]), (1.0, [1, 1], [1, 1])):
        masks = resilient_masks(found, share)
        assert (masks["a"].astype(int).tolist(), masks["b"].astype(int).tolist()) == (a, b)
    with pytest.raises(ConfigError, match=r"a share of 1\.5 resilient neurons: expected 0 to 1"):
        resilient_masks(found, 1.5)


def test_activations_run_once():
    shared = nn.Tanh()
    layers = nn.Flatten(), nn.Linear(128, 4), shared, nn.Linear(4, 4), shared
    with pytest.raises(NetworkError, match="run other than once for an image: 2"):
        characterize_activations(randomize(nn.Sequential(*layers)), SPLIT)
    with pytest.raises(NetworkError, match="there are none"):
        characterize_activations(randomize(nn.Sequential(nn.Flatten(), nn.Linear(128, 4))), SPLIT)

"""Errors measured, noise drawn."""

import numpy as np
import pytest
import torch

from dse.recovery.hardening import noise, residual_errors
from dse.recovery.switchable import switchable_network
from dse.recovery.table_layers import LearningNetwork

from .learners import NETWORKS, SPLIT, make_bank

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


def exact_of(bank):
    return switchable_network(bank, np.full((1, bank.network.n_layers), bank.library.exact_index))


@pytest.mark.parametrize("network", [*NETWORKS][:4])
def test_errors_are_those_of_each_layer_on_exact_inputs(network):
    bank = make_bank(NETWORKS[network]())
    rows, exact = np.array([[0, 2, 1, 5][: bank.network.n_layers]]), exact_of(bank)
    rows = np.resize(rows, (1, bank.network.n_layers))
    inputs, outputs = {}, {}
    for index, layer in enumerate(exact.network.integer_layers):
        layer.register_forward_hook(
            lambda _m, x, y, index=index: (inputs.update({index: x[0].clone()}), outputs.update({index: y.clone()}))[:0]
            or None
        )
    exact(SPLIT.images)
    design = switchable_network(bank, rows)
    found = residual_errors(LearningNetwork(bank, rows), exact_of(bank), SPLIT)
    for index, layer in enumerate(design.network.integer_layers):
        error = (layer(inputs[index]) - outputs[index]).detach()
        axes = (0, 2, 3) if error.dim() == 4 else tuple(range(error.dim() - 1))
        torch.testing.assert_close(found[index], error.std(axes, correction=0), rtol=1e-3, atol=1e-6)


def test_exact_designs_have_no_errors_and_points_count_by_their_mean():
    bank = make_bank()
    exact = exact_of(bank)
    row = np.full((1, 4), bank.library.exact_index)
    assert all(float(sigma.max()) == 0 for sigma in residual_errors(LearningNetwork(bank, row), exact, SPLIT))
    rough = np.array([[0, 2, 1, 5]])
    alone = residual_errors(LearningNetwork(bank, rough), exact, SPLIT)
    both = residual_errors(LearningNetwork(bank, np.concatenate([rough, row])), exact, SPLIT)
    for one, mean in zip(alone, both, strict=True):
        torch.testing.assert_close(mean, one / np.sqrt(2))


def test_noise_has_its_size_is_repeatable_and_ends():
    bank = make_bank()
    learner = LearningNetwork(bank, np.full((1, 4), bank.library.exact_index))
    quiet = learner(SPLIT.images)
    sigmas = [torch.linspace(0, 2, info.weight_shape[0]) for info in bank.network.layers]
    none = [torch.zeros(1)] * 4
    drawn = []
    for seed in ((0, 1), (0, 1), (0, 2)):
        with noise(learner, sigmas, seed=seed):
            drawn.append(learner(SPLIT.images).detach())
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    with noise(learner, none, seed=(0,)):
        assert torch.equal(learner(SPLIT.images), quiet)
    assert torch.equal(learner(SPLIT.images), quiet)
    first = learner.layers[0]
    x = torch.rand(200, *SPLIT.shape)
    before = first(x)
    with noise(learner, sigmas, seed=(3,)):
        added = first(x) - before
    torch.testing.assert_close(added.detach().std((0, 2, 3)), sigmas[0], rtol=0.1, atol=1e-6)

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, ShapeError
from dse.networks.convert import quantize_network
from dse.quantization.affine import SCHEMES
from dse.simulation.reference import ReferenceConv
from dse.sparse.pruning import (
    global_masks,
    is_zero,
    layer_mask,
    magnitudes,
    pruned_network,
    pruned_problem,
)
from dse.testing.tiny import tiny_library, tiny_network, tiny_split

SPLIT = tiny_split(12)


@pytest.fixture(scope="module", params=list(SCHEMES))
def network(request):
    """In every scheme; one zero code a channel where the scheme has such."""
    return quantize_network(tiny_network(), SPLIT, scheme=SCHEMES[request.param])


@settings(max_examples=25, deadline=None)
@given(sparsity=st.floats(0, 0.999), index=st.integers(0, 3))
def test_the_smallest_weights_go(network, sparsity, index):
    layer = network.integer_layers[index]
    mask, values = layer_mask(layer, sparsity), magnitudes(layer)
    assert mask.sum() == int(np.floor(sparsity * mask.size + 0.5))
    if mask.any() and not mask.all():
        assert values[mask].max() <= values[~mask].min()
    pruned = pruned_problem(layer.problem, mask)
    assert is_zero(pruned)[torch.from_numpy(mask)].all()
    assert torch.equal(pruned.weight[torch.from_numpy(~mask)], layer.problem.weight[torch.from_numpy(~mask)])


def test_pruned_weights_are_exactly_zero(network):
    """With exact products a pruned layer is the layer with its values, scales apart, set to zero."""
    for layer, codes in zip(network.integer_layers, _codes(network), strict=True):
        mask = layer_mask(layer, 0.6)
        pruned = pruned_problem(layer.problem, mask)
        library = tiny_library(is_signed=pruned.x_dtype == torch.int8)
        sums = ReferenceConv(pruned, torch.tensor(library[library.exact_index].table))(codes).to(torch.float64)
        shape = (-1, 1, 1, 1)
        values = (layer.problem.weight.to(torch.float64) - layer.problem.w_zero_point.view(shape)).masked_fill(
            torch.from_numpy(mask), 0.0
        )
        p = layer.problem
        x = torch.nn.functional.pad(codes.to(torch.float64) - p.x_zero_point, p.padding)
        wanted = torch.nn.functional.conv2d(x, values, stride=p.stride, dilation=p.dilation, groups=p.groups)
        assert torch.equal(sums, wanted)


def _codes(network):
    rng = np.random.default_rng(0)
    for layer in network.integer_layers:
        problem = layer.problem
        shape = (3, problem.weight.shape[1] * problem.groups, 4, 4)
        yield torch.from_numpy(rng.integers(problem.x_low, problem.x_low + 256, shape)).to(problem.x_dtype)


@pytest.mark.parametrize("sparsity", [0.0, 0.25, 0.5])
def test_channels_go_together(network, sparsity):
    for layer in network.integer_layers:
        mask = layer_mask(layer, sparsity, structure="channels").reshape(layer.problem.n_outputs, -1)
        assert (mask.all(axis=1) == mask.any(axis=1)).all()
        assert mask.any(axis=1).sum() == int(np.floor(sparsity * len(mask) + 0.5))
        norms = np.square(magnitudes(layer)).reshape(len(mask), -1).mean(axis=1)
        if mask.any():
            assert norms[mask.any(axis=1)].max() <= norms[~mask.any(axis=1)].min()


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.7, 0.95])
def test_one_rate_for_all_layers(network, sparsity):
    masks = global_masks(network, sparsity)
    sizes = sum(mask.size for mask in masks)
    assert sum(mask.sum() for mask in masks) == int(np.floor(sparsity * sizes + 0.5))
    for layer, mask in zip(network.integer_layers, masks, strict=True):
        values = magnitudes(layer)
        assert not mask.all()
        assert not mask.any() or values[mask].max() <= values[~mask].min()  # in a layer it is its magnitudes that count
    assert not 0 < sparsity < 0.9 or len({round(mask.mean(), 2) for mask in masks}) > 1


def test_scaling_a_layer_changes_no_global_mask(network):
    before = global_masks(network, 0.5)
    scale = network.integer_layers[0].w_scale
    network.integer_layers[0].w_scale = scale * 16
    after = global_masks(network, 0.5)
    network.integer_layers[0].w_scale = scale
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_the_network_itself_keeps_its_weights(network):
    weights = [layer.problem.weight.clone() for layer in network.integer_layers]
    pruned = pruned_network(network, global_masks(network, 0.5))
    assert pruned.fingerprint() != network.fingerprint()
    for layer, weight in zip(network.integer_layers, weights, strict=True):
        assert torch.equal(layer.problem.weight, weight)
    same = pruned_network(network, global_masks(network, 0.0))
    assert same.fingerprint() == network.fingerprint()


def test_what_does_not_fit_is_refused(network):
    layer = network.integer_layers[0]
    for sparsity in (-0.1, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="expected a share from 0"):
            layer_mask(layer, sparsity)
    with pytest.raises(ConfigError, match="'weights' or 'channels'"):
        layer_mask(layer, 0.5, structure="blocks")
    with pytest.raises(ShapeError, match="expected torch.bool"):
        pruned_problem(layer.problem, np.zeros(3, dtype=bool))
    with pytest.raises(ShapeError, match="one a layer"):
        pruned_network(network, [])

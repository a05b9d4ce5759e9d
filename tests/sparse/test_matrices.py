"""Weights of integer networks as matrices, and back."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from dse.errors import NetworkError
from dse.networks.convert import quantize_network
from dse.quantization.affine import scheme_for
from dse.sparse.dcsr import decode
from dse.sparse.matrices import compress, restore, weight_codes, weight_matrix
from dse.testing.tiny import tiny_network, tiny_split


def integer_network(*, is_signed=True, seed=0):
    return quantize_network(tiny_network(seed), tiny_split(), scheme=scheme_for(is_signed))


@pytest.fixture(scope="module")
def network():
    return integer_network()


def test_a_convolution_is_the_product_with_unfolded_codes(network):
    layer = network.integer_layers[0]
    codes = torch.randint(-128, 128, (1, 2, 8, 8), generator=torch.Generator().manual_seed(0))
    columns = F.unfold(codes.double(), 3, padding=1)[0]
    expected = F.conv2d(codes.double(), layer.problem.weight.double(), padding=1)
    found = torch.from_numpy(weight_matrix(layer)).double() @ columns
    assert torch.equal(found, expected.flatten(2)[0])


def test_zero_codes_are_taken_out():
    layer = integer_network(is_signed=False).integer_layers[0]
    problem = layer.problem
    layer.problem = dataclasses.replace(problem, weight=problem.w_zero_point.to(torch.uint8).view(-1, 1, 1, 1).expand(
        problem.weight.shape))  # fmt: skip
    assert not weight_matrix(layer).any()


def test_weights_come_back(network):
    for layer, compressed in zip(network.integer_layers, compress(network), strict=True):
        np.testing.assert_array_equal(decode(compressed.matrix), weight_matrix(layer))
        assert torch.equal(weight_codes(compressed), layer.problem.weight)


def test_restored_into_other_weights(network):
    other = integer_network(seed=1)
    restored = restore(other, compress(network))
    assert restored is not other
    for found, expected, before in zip(
        restored.integer_layers, network.integer_layers, other.integer_layers, strict=True
    ):
        assert torch.equal(found.problem.weight, expected.problem.weight)
        assert not torch.equal(before.problem.weight, expected.problem.weight)
        assert torch.equal(found.w_scale, expected.w_scale)
        assert torch.equal(found.bias, expected.bias)


def test_restored_network_is_the_same(network):
    assert restore(network, compress(network)).fingerprint() == network.fingerprint()


def test_asymmetric_codes_beyond_int8():
    with pytest.raises(NetworkError, match=r"layer 'conv1': values span -139 to 141.*symmetrically"):
        compress(integer_network(is_signed=False))


def test_layers_of_another_network(network):
    layers = compress(network)
    with pytest.raises(NetworkError, match="of another network"):
        restore(network, layers[:-1])
    turned = dataclasses.replace(layers[0], weight_shape=(6, 3, 3, 2))
    with pytest.raises(NetworkError, match=r"'conv1' has weights int8 \[6, 3, 3, 2\]"):
        restore(network, [turned, *layers[1:]])


def test_zero_codes_of_another_layer(network):
    layer = compress(network)[0]
    with pytest.raises(NetworkError, match="do not belong together"):
        weight_codes(dataclasses.replace(layer, w_zero_point=np.full(6, 200)))

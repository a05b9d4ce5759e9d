"""benchmarks/sparse_sizes.py: pruned networks and matrices of every kind."""

import numpy as np

from dse.testing.tiny import tiny_network


def test_the_smallest_weights_of_each_layer_are_zero(script):
    network = tiny_network()
    weight, pruned = network.conv1.weight, script.pruned(network, 0.75).conv1.weight
    is_zero = pruned == 0
    assert int(is_zero.sum()) == 81
    assert weight[is_zero].abs().max() <= weight[~is_zero].abs().min()
    assert (weight != 0).all()


def test_matrices_of_every_kind(script):
    rng = np.random.default_rng(0)
    found = {kind: script.random_matrix(kind, rng) for kind in script.KINDS}
    assert found["one column"].shape[1] == 1
    assert found["4096 columns"].shape[1] == found["gaps"].shape[1] == 4096
    assert {matrix.dtype for matrix in found.values()} == {np.dtype(np.int8)}

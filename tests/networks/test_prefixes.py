import dataclasses
import gc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dse.networks.prefixes import count_segments, shared_segments, walk_prefixes
from dse.networks.segments import SegmentedNetwork, count_bytes
from dse.testing.tiny import tiny_network, tiny_split

from .programs import Operators, Program, integer, steps

IMAGES = tiny_split(6, seed=3).images


def _population(seed, n, n_layers, n_multipliers):
    """Sorted and distinct, int64 [<= n, n_layers]."""
    rng = np.random.default_rng(seed)
    return np.unique(rng.integers(0, n_multipliers, (n, n_layers)), axis=0)


def _walk(network, assignments, use, **options):
    segmented = SegmentedNetwork(network)
    return list(walk_prefixes(segmented, assignments, IMAGES, use_operators=use, **options))


def _n_prefixes(assignments):
    return sum(len(np.unique(assignments[:, :length], axis=0)) for length in range(1, assignments.shape[1] + 1))


@settings(max_examples=40, deadline=None)
@given(steps, st.booleans(), st.integers(0, 99), st.integers(1, 12), st.sampled_from([0, 3000, 10**9]))
def test_same_bits_as_one_by_one(program, is_traceable, seed, n, kept_bytes):
    network = integer(Program(program, is_traceable=is_traceable))
    assignments, use = _population(seed, n, network.n_layers, 3), Operators(network)
    expected = [use.whole(assignment, IMAGES) for assignment in assignments]
    logits = _walk(network, assignments, use, kept_bytes=kept_bytes)
    assert len(logits) == len(assignments)
    assert all(torch.equal(a, b) for a, b in zip(logits, expected, strict=True))


@pytest.mark.parametrize(("n", "n_multipliers"), [(1, 2), (16, 2), (200, 6), (40, 3)])
def test_every_prefix_is_computed_once(n, n_multipliers):
    network = integer(tiny_network())
    assignments, use = _population(0, n, 4, n_multipliers), Operators(network)
    _walk(network, assignments, use)
    assert len(use.calls) == _n_prefixes(assignments) == count_segments(assignments, [1, 2, 3, 4])


def test_nothing_is_shared_without_memory_or_a_trace():
    network = integer(tiny_network())
    assignments, use = _population(0, 20, 4, 3), Operators(network)
    _walk(network, assignments, use, kept_bytes=0)
    assert len(use.calls) == assignments.size
    network = integer(Program([], is_traceable=False))
    assignments, use = _population(0, 20, 2, 5), Operators(network)
    _walk(network, assignments, use)
    assert len(use.calls) == assignments.size == 2 * count_segments(assignments, [2])


def test_a_layer_that_is_called_again():
    network = integer(Program([("layer", 0, 0), ("layer", 1, 0), ("layer", 0, 0), ("add", 0, 1)]))
    assignments, use = np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]]), Operators(network)
    expected = [use.whole(assignment, IMAGES) for assignment in assignments]
    use.calls.clear()
    logits = _walk(network, assignments, use)
    assert all(torch.equal(a, b) for a, b in zip(logits, expected, strict=True))
    # twice in the first segment, once more in the second
    assert [use.calls.count((0, m)) for m in (0, 1)] == [2 + 2, 2 + 1]


def _held(network, assignments, kept_bytes):
    """Bytes of all states alive at the call of each segment, the one that it is given included."""
    segmented, alive, held = SegmentedNetwork(network), [], []

    def count():
        return count_bytes([[tensor] for tensor in (ref() for ref in alive) if tensor is not None])

    def watched(segment):
        def compute(*state):
            held.append(count())
            state = segment.compute(*state)
            alive.extend(weakref.ref(value) for value in state)
            return state

        return dataclasses.replace(segment, compute=compute)

    segmented.segments = tuple(watched(segment) for segment in segmented.segments)
    gc.disable()  # nothing may depend on it
    try:
        walk = walk_prefixes(segmented, assignments, IMAGES, use_operators=Operators(network), kept_bytes=kept_bytes)
        assert sum(1 for _ in walk) == len(assignments)
    finally:
        gc.enable()
    assert count() == 0
    return held


@pytest.mark.parametrize("kept_bytes", [0, 3500, 7000, 10**9])
def test_memory_of_kept_states(kept_bytes):
    layers = [nn.Conv2d(2, 2, 3, padding=1) for _ in range(5)]
    network = integer(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    assignments = _population(1, 60, network.n_layers, 3)
    held = _held(network, assignments, kept_bytes)
    value, logits = IMAGES.nbytes, 6 * 2 * 4  # between two layers there is one value
    assert max(held) <= min(kept_bytes, 4 * value) + value + logits
    assert max(held) >= min(kept_bytes // value, 3) * value + value
    assert count_segments(assignments, [1, 2, 3, 4, 5]) <= len(held) <= assignments.size


def test_a_state_goes_with_the_last_that_needs_it():
    network, logits = integer(tiny_network()), 6 * 4 * 4
    whole = _held(network, np.array([[0, 0, 0, 0]]), 10**9)
    both = _held(network, np.array([[0, 0, 0, 0], [0, 1, 0, 0]]), 10**9)
    assert both[:2] == whole[:2]
    kept = 6 * 6 * 8 * 8 * 4  # after the first layer, for the second assignment
    assert both[2:4] == [n + kept for n in whole[2:4]]
    assert both[4:] == [n + logits for n in whole[1:]]


def test_deeper_states_are_left_out_first():
    network = integer(tiny_network())
    assignments = np.array([[0, 0, 0, m] for m in range(5)] + [[0, 0, 1, 0]])
    n_calls = []
    for kept_bytes in (0, 6 * 6 * 64 * 4 + 6 * 6 * 16 * 4, 10**9):
        use = Operators(network)
        _walk(network, assignments, use, kept_bytes=kept_bytes)
        n_calls.append(len(use.calls))
    # all six by themselves; from layer 2 on; from layer 3 on, and once from layer 2 on
    assert n_calls[0] == 24
    assert n_calls[2] == 3 + 5 + 2
    assert n_calls[2] <= n_calls[1] < n_calls[0]


def test_operators_are_asked_for_where_they_run():
    network = integer(tiny_network())
    use, asked = Operators(network), []

    def note(assignment, layers):
        asked.append((assignment.tolist(), layers))
        use(assignment, layers)

    _walk(network, np.array([[0, 0, 0, 0], [0, 0, 0, 1], [0, 2, 0, 0]]), note)
    assert asked == [([0, 0, 0, 0], (0, 1, 2, 3)), ([0, 0, 0, 1], (3,)), ([0, 2, 0, 0], (1, 2, 3))]


def test_no_assignments():
    network = integer(tiny_network())
    assert _walk(network, np.empty((0, 4), dtype=np.int64), Operators(network)) == []


@given(st.integers(0, 99), st.integers(1, 30), st.integers(1, 4), st.lists(st.booleans(), min_size=5, max_size=5))
def test_shared_segments(seed, n, n_multipliers, ends):
    assignments = _population(seed, n, 6, n_multipliers)
    stops = [*(i + 1 for i, end in enumerate(ends) if end), 6]
    shared = shared_segments(assignments, stops)
    assert shared[0] == 0
    for row in range(1, len(assignments)):
        same = [np.array_equal(assignments[row, :stop], assignments[row - 1, :stop]) for stop in stops]
        assert shared[row] == sum(same)

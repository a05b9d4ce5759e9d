"""dse.search.subsets: the optimum by listing, clusters with repair, and what may be left out."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError
from dse.search.operating_points import Matching, cheapest_members
from dse.search.subsets import best_subsets, kmeans_subset, n_subsets, useful_multipliers, with_exact

SCALES = (0.3, 1.0, 2.0)


def total(matching, subset, scales=SCALES):
    """Energy of all points by loops; inf where a layer has no member that fits."""
    energy = 0.0
    for scale in scales:
        for layer, weight in enumerate(matching.weights):
            fits = [m for m in subset if matching.residual_std[layer, m] <= scale * matching.tolerance[layer]]
            energy += weight * min((matching.energy_rel[m] for m in fits), default=np.inf)
    return energy


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 3), n_library=st.integers(3, 7))
def test_the_first_subset_is_the_optimum(make_matching, seed, n, n_library):
    matching = make_matching(4, n_library, seed)
    found = best_subsets(matching.costs(SCALES), useful_multipliers(matching), n, n_best=5)
    best = min(total(matching, subset) for subset in combinations(range(n_library), n))
    sums = [total(matching, subset) for subset in found]
    assert sums[0] == pytest.approx(best)
    assert (np.diff(sums) >= -1e-12).all()
    assert np.isfinite(sums).all()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 4), n_library=st.integers(4, 9))
def test_clusters_are_repaired(make_matching, seed, n, n_library):
    matching = make_matching(5, n_library, seed)
    subset = kmeans_subset(matching, SCALES, n, seed=seed)
    assert len(subset) <= n
    assert np.isfinite(total(matching, subset))
    points = cheapest_members(matching, subset, SCALES)
    ratio = matching.ratio[np.arange(5), points] / np.array(SCALES)[:, None]
    assert (ratio <= 1).all()
    assert (np.diff(matching.energy(points)) <= 1e-12).all()
    np.testing.assert_array_equal(kmeans_subset(matching, SCALES, n, seed=seed), subset)


def test_enumeration_is_never_worse_than_clusters(make_matching):
    for seed in range(5):
        matching = make_matching(8, 10, seed)
        best = best_subsets(matching.costs(SCALES), np.arange(10), 3)[0]
        assert total(matching, best) <= total(matching, kmeans_subset(matching, SCALES, 3)) + 1e-12


def test_one_cluster_and_equal_layers():
    matching = Matching(np.tile([2.0, 1.0, 0.0], (3, 1)), np.ones(3), np.array([0.3, 0.6, 1.0]), np.ones(3), 2)
    assert kmeans_subset(matching, (1.0, 2.0), 3).tolist() == [0, 1]
    assert kmeans_subset(matching, (0.5, 0.9), 1).tolist() == [2]


def test_layers_that_tolerate_nothing_are_clustered(make_matching):
    matching = make_matching(4, 5, 3)
    tolerance = np.where(np.arange(4) == 1, 0.0, matching.tolerance)
    other = Matching(matching.residual_std, tolerance, matching.energy_rel, matching.n_multiplications, 4)
    assert 4 in kmeans_subset(other, SCALES, 3)


def test_exact_takes_a_free_place_or_the_one_that_costs_least(make_matching):
    matching = make_matching(5, 6, 2)
    costs = matching.costs(SCALES)
    assert with_exact(costs, [1, 2], 3, exact=5) == [1, 2, 5]
    assert with_exact(costs, [1, 5], 2, exact=5) == [1, 5]
    replaced = with_exact(costs, [0, 1, 2], 3, exact=5)
    assert total(matching, replaced) == pytest.approx(
        min(total(matching, s) for s in ([1, 2, 5], [0, 2, 5], [0, 1, 5]))
    )


def test_what_another_one_replaces_is_left_out():
    errors = np.array([[3.0, 3.0, 2.0, 1.0, 0.0], [3.0, 3.0, 4.0, 1.0, 0.0]])
    matching = Matching(errors, np.ones(2), np.array([0.2, 0.3, 0.4, 0.5, 1.0]), np.ones(2), 4)
    assert useful_multipliers(matching).tolist() == [0, 2, 3, 4]
    copies = Matching(errors[:, [0, 0, 4]], np.ones(2), np.array([0.2, 0.2, 1.0]), np.ones(2), 2)
    assert useful_multipliers(copies).tolist() == [0, 2]
    assert n_subsets(copies, 3) == 1
    assert best_subsets(copies.costs((5.0,)), [0, 2], 3).tolist() == [[0, 2]]


def test_too_many_subsets_name_the_other_methods(make_matching):
    matching = make_matching(2, 60, 0)
    with pytest.raises(ConfigError, match=r"60 multipliers have 487,635 subsets of 4.*--method search"):
        best_subsets(matching.costs(SCALES), np.arange(60), 4)

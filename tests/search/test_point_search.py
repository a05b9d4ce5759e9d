"""dse.search.point_search: canonical genomes, children over few multipliers, and the best combination."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, ShapeError
from dse.search.operating_points import LEAST_GAP
from dse.search.point_search import PointCrossover, PointMutation, PointSpace, best_combination

SPACE = PointSpace(4, 6, n_chosen=3, n_points=2)


def genomes(seed, n=6, space=SPACE):
    rng = np.random.default_rng(seed)
    return rng.integers(space.lower, space.upper, size=(n, space.n_genes), endpoint=True)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_canonical_genomes_are_one_for_each_set_of_points(seed):
    X = genomes(seed)
    before = X.copy()
    canonical = SPACE.canonicalize(X)
    np.testing.assert_array_equal(SPACE.decode(canonical), SPACE.decode(X))
    np.testing.assert_array_equal(SPACE.canonicalize(canonical), canonical)
    np.testing.assert_array_equal(SPACE.encode(SPACE.decode(X)), canonical)
    renamed = X.copy()
    order = np.random.default_rng(seed).permutation(3)
    renamed[:, :3] = X[:, :3][:, order]
    renamed[:, 3:] = np.argsort(order)[X[:, 3:]]
    np.testing.assert_array_equal(SPACE.canonicalize(renamed), canonical)
    np.testing.assert_array_equal(X, before)


def test_shapes_and_segments():
    assert SPACE.decode(genomes(0)).shape == (6, 2, 4)
    assert (SPACE.n_genes, SPACE.n_layers, SPACE.n_points) == (11, 4, 2)
    assert SPACE.segments == (slice(0, 3), slice(3, 7), slice(7, 11))
    tiny = PointSpace(1, 2, n_chosen=2, n_points=2)
    assert sum(len(batch) for batch in tiny.enumerate()) == tiny.n_designs == 4
    with pytest.raises(ShapeError, match=r"expected \(n, 2, 4\)"):
        SPACE.encode(np.zeros((1, 4, 2), dtype=np.int64))
    with pytest.raises(ConfigError, match="uses 4 multipliers: expected at most 3"):
        SPACE.encode(np.array([[[0, 1, 2, 3], [0, 0, 0, 0]]]))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_children_mix_the_points_of_their_parents(seed):
    rng = np.random.default_rng(seed)
    parents = np.stack([SPACE.canonicalize(genomes(seed, 5)), SPACE.canonicalize(genomes(seed + 1, 5))])
    crossover = PointCrossover(SPACE, np.linspace(0.1, 1, 6))
    children = crossover._do(None, parents, random_state=rng)
    for mating in range(5):
        pair = SPACE.decode(parents[:, mating])
        together = set(np.unique(pair).tolist())
        for child in SPACE.decode(children[:, mating]):
            used = set(np.unique(child).tolist())
            assert len(used) <= 3
            assert used <= together
            if len(together) <= 3:
                assert ((child == pair[0]) | (child == pair[1])).all()


def test_parents_with_the_same_multipliers_exchange_whole_points():
    first, second = np.array([[0, 1, 2, 0], [0, 0, 0, 0]]), np.array([[2, 2, 2, 2], [1, 1, 1, 0]])
    parents = np.stack([SPACE.encode(np.repeat(p[None], 40, axis=0)) for p in (first, second)])
    children = SPACE.decode(
        PointCrossover(SPACE, np.linspace(0.1, 1, 6))._do(None, parents, random_state=np.random.default_rng(0))[0]
    )
    whole = [tuple(map(tuple, child.tolist())) for child in children]
    mixed = {
        tuple(map(tuple, (a.tolist(), b.tolist()))) for a, b in product((first[0], second[0]), (first[1], second[1]))
    }
    assert mixed <= set(whole)
    assert sum(child in mixed for child in whole) > 20


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_mutations_stay_within_bounds_and_change_one_point_or_a_multiplier(make_matching, seed):
    matching = make_matching(4, 6, seed)
    growth, rng = (matching.residual_std / matching.tolerance[:, None]) ** 2, np.random.default_rng(seed)
    mutation = PointMutation(SPACE, matching, growth)
    X = SPACE.canonicalize(genomes(seed))
    before = X.copy()
    for genome in X:
        child = mutation.mutated(genome, rng)
        assert ((child >= SPACE.lower) & (child <= SPACE.upper)).all()
        changed = [segment for segment in SPACE.segments if (child[segment] != genome[segment]).any()]
        assert len(changed) <= 1
    np.testing.assert_array_equal(X, before)
    assert mutation._do(None, X, random_state=rng).shape == X.shape


def test_layers_are_lowered_where_that_saves_most_for_its_growth(make_matching):
    matching = make_matching(4, 6, 0)
    growth = np.ones((4, 6)) * np.arange(6)[::-1]
    growth[2] *= 1e-6
    mutation = PointMutation(SPACE, matching, growth)
    genome, rng = SPACE.encode(np.array([[[3, 3, 3, 3], [1, 1, 1, 5]]]))[0], np.random.default_rng(0)
    lowered = np.zeros(4)
    for _ in range(300):
        child = genome.copy()
        mutation._step(child, SPACE.blocks[0], rng, direction=-1)
        lowered += SPACE.decode(child[None])[0, 0] == 1
    assert lowered[2] > 0.6 * lowered.sum()


def by_listing(assignments, energy, loss, limits, subsets):
    best = np.inf
    for subset in subsets:
        rows = [i for i, a in enumerate(assignments) if set(a.tolist()) <= set(subset)]
        for chosen in product(rows, repeat=len(limits)):
            fits = all(loss[i] <= limit for i, limit in zip(chosen, limits, strict=True))
            apart = all(energy[a] - energy[b] >= LEAST_GAP - 1e-12 for a, b in zip(chosen, chosen[1:], strict=False))
            if fits and apart:
                best = min(best, energy[list(chosen)].sum())
    return best


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_best_combination_is_that_of_a_listing(make_matching, seed):
    rng, matching = np.random.default_rng(seed), make_matching(3, 4, seed)
    assignments = np.unique(rng.integers(0, 4, (12, 3)), axis=0)
    energy, loss = matching.energy(assignments), rng.random(len(assignments)) * 0.6
    subsets, limits = list(combinations(range(4), 2)) + [(0, 1, 3)], [0.2, 0.4]
    rows = best_combination(assignments, energy, loss, limits=limits, subsets=subsets, n_multipliers=4)
    expected = by_listing(assignments, energy, loss, limits, subsets)
    if np.isfinite(expected):
        assert energy[rows].sum() == pytest.approx(expected)
        assert (np.diff(energy[rows]) < 0).all()
    if (rows >= 0).all():
        assert (loss[rows] <= limits).all()
        assert (np.diff(energy[rows]) <= 0).all()
        assert any(set(assignments[rows].ravel()) <= set(subset) for subset in subsets)


def test_points_may_tie_where_nothing_else_was_measured():
    assignments, energy = np.array([[0, 0]]), np.array([0.5])
    arguments = {"limits": [0.1, 0.2], "subsets": [(0,)], "n_multipliers": 2}
    assert best_combination(assignments, energy, np.array([0.1]), **arguments).tolist() == [0, 0]
    assert best_combination(assignments, energy, np.array([0.15]), **arguments).tolist() == [-1, -1]

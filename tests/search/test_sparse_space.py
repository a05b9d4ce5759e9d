import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.cost.sparse_choices import SparseChoices
from dse.errors import ShapeError
from dse.search.nsga2 import NSGA2Search
from dse.search.sparse_space import SparseSpace
from dse.testing.fakes import fake_library

CHOICES = SparseChoices(fake_library(), [50, 80], zero_weights="skipped")


@given(seed=st.integers(0, 10_000), n_layers=st.integers(1, 6))
def test_genomes_and_assignments_say_the_same(seed, n_layers):
    space, rng = SparseSpace(n_layers, CHOICES.position), np.random.default_rng(seed)
    X = rng.integers(space.lower, space.upper, size=(7, space.n_genes), endpoint=True)
    assignments = space.decode(X).assignments
    assert np.array_equal(CHOICES.multiplier[assignments], X[:, :n_layers])
    assert np.array_equal(CHOICES.level[assignments], X[:, n_layers:])
    assert np.array_equal(space.encode(assignments), X)
    assert np.array_equal(space.canonicalize(X), X)
    assert space.is_representable(assignments).all()


def test_sizes():
    space = SparseSpace(4, CHOICES.position)
    assert (space.n_genes, space.n_multipliers, space.n_designs) == (8, 15, 15**4)
    assert space.upper.tolist() == [4] * 4 + [2] * 4
    assert space.segments == (slice(0, 4), slice(4, 8))


def test_all_designs_are_listed_once():
    space = SparseSpace(2, CHOICES.position)
    X = np.concatenate(list(space.enumerate()))
    assert len(np.unique(space.decode(X).assignments, axis=0)) == len(X) == space.n_designs


def test_multipliers_and_levels_cross_and_mutate_apart():
    """Children of two parents mix their multipliers with the other's levels."""
    space = SparseSpace(6, CHOICES.position)
    low, high = np.zeros((1, 12), dtype=np.int64), space.upper[None]
    search = NSGA2Search(
        space, population_size=40, n_generations=2, seed=0, initial=np.concatenate([low, high]), n_objectives=3,
        mutation_probability=0.0,
    )  # fmt: skip
    X = search.ask()
    rng = np.random.default_rng(0)
    F = rng.random((len(X), 3))
    F[:2] = 0.0
    search.tell(X, F)
    children = search.ask()
    of_high = children == space.upper
    assert (of_high[:, :6].mean(axis=1) != of_high[:, 6:].mean(axis=1)).any()


def test_what_does_not_fit_is_refused():
    for wrong in (np.arange(6), np.zeros((2, 3)), np.arange(1, 7).reshape(2, 3)):
        with pytest.raises(ShapeError, match="each choice once"):
            SparseSpace(2, wrong)
    space = SparseSpace(2, CHOICES.position)
    with pytest.raises(ShapeError, match="gene 2"):
        space.decode([[0, 0, 3, 0]])
    with pytest.raises(ShapeError, match="expected integers"):
        space.decode([[0, 0]])

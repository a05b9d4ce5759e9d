import numpy as np
import pytest
from pymoo.core.population import Population
from pymoo.core.problem import Problem

from dse.search.operators import CanonicalRepair, HistoryElimination, ResetAndStep, SeededSampling, SegmentCrossover
from dse.search.seeding import fresh_designs, initial_designs, uniform_assignments
from dse.search.space import FreeSpace, TiledSpace, row_keys

SPACES = [FreeSpace(8, 6), TiledSpace(8, 6, 3), TiledSpace(8, 6, 3, merge_equal=False)]


def problem_of(space):
    return Problem(n_var=space.n_genes, n_obj=2, xl=space.lower, xu=space.upper, vtype=int)


def parents_of(space, n=20):
    return fresh_designs(space, 2 * n, rng=np.random.default_rng(1), seen=()).reshape(2, n, -1)


@pytest.mark.parametrize("space", SPACES)
def test_operators_stay_integer_and_in_bounds(space):
    rng = np.random.default_rng(0)
    parents = parents_of(space)
    children = SegmentCrossover(space)._do(problem_of(space), parents, random_state=rng)
    mutants = ResetAndStep(space, probability=0.5)._do(problem_of(space), children[0], random_state=rng)
    for X in (*children, mutants, CanonicalRepair(space)._do(problem_of(space), mutants)):
        assert X.dtype == np.int64
        assert ((space.lower <= X) & (space.upper >= X)).all()


@pytest.mark.parametrize("space", SPACES)
def test_crossover_takes_genes_from_parents_only(space):
    parents = parents_of(space)
    before = parents.copy()
    children = SegmentCrossover(space)._do(problem_of(space), parents, random_state=np.random.default_rng(0))
    np.testing.assert_array_equal(parents, before)
    used = [set(space.decode(p).assignments.ravel()) for p in parents.swapaxes(0, 1)]
    if isinstance(space, FreeSpace):
        np.testing.assert_array_equal(np.sort(children, axis=0), np.sort(parents, axis=0))
        assert (children != parents).any()
    for mating, multipliers in enumerate(used):
        tiles = set(parents[:, mating, space.segments[0]].ravel())
        assert set(space.decode(children[:, mating]).assignments.ravel()) <= multipliers | tiles


def test_uniform_tiled_parents_have_mixed_children():
    space = TiledSpace(8, 6, 2)
    parents = np.stack([space.encode(np.full((30, 8), m)) for m in (1, 4)])
    children = SegmentCrossover(space)._do(problem_of(space), parents, random_state=np.random.default_rng(0))
    assignments = space.decode(children.reshape(-1, space.n_genes)).assignments
    assert set(assignments.ravel()) == {1, 4}
    assert (assignments.min(axis=1) != assignments.max(axis=1)).mean() > 0.5


def test_mutation_resets_and_steps():
    space = FreeSpace(4, 100)
    X = np.full((2000, 4), 50)
    mutants = ResetAndStep(space, probability=1.0)._do(problem_of(space), X, random_state=np.random.default_rng(0))
    changes = mutants - X
    assert (changes != 0).all()
    assert 0.45 < (np.abs(changes) == 1).mean() < 0.57
    assert len(np.unique(mutants)) == 99


def test_default_mutation_changes_one_gene_on_average():
    space = FreeSpace(20, 10)
    X = np.full((4000, 20), 5)
    mutants = ResetAndStep(space)._do(problem_of(space), X, random_state=np.random.default_rng(0))
    assert (mutants != X).sum(axis=1).mean() == pytest.approx(1.0, abs=0.05)


def test_mutation_with_one_multiplier_changes_nothing():
    X = np.zeros((5, 3), dtype=np.int64)
    mutants = ResetAndStep(FreeSpace(3, 1), probability=1.0)._do(None, X, random_state=np.random.default_rng(0))
    assert not mutants.any()


@pytest.mark.parametrize("n_samples", [3, 30])
def test_sampling_keeps_the_initial_designs_and_fills_up(n_samples):
    space = FreeSpace(8, 6)
    initial = initial_designs(space, {"uniform": uniform_assignments(8, 6)}).genomes
    population = SeededSampling(space, initial=initial).do(
        problem_of(space), n_samples, random_state=np.random.default_rng(0)
    )
    X = population.get("X")
    np.testing.assert_array_equal(X[: len(initial)], initial)
    assert len(X) == len(set(row_keys(X))) == max(n_samples, len(initial))


def test_elimination_knows_the_history():
    elimination = HistoryElimination()
    elimination.seen.update(row_keys(np.array([[1, 1]])))
    population = Population.new("X", np.array([[1, 1], [2, 2], [2, 2], [3, 3], [4, 4]]))
    others = Population.new("X", np.array([[3, 3]]))
    kept, index_kept, index_dropped = elimination.do(population, others, return_indices=True)
    assert kept.get("X").tolist() == [[2, 2], [4, 4]]
    assert (index_kept, index_dropped) == ([1, 4], [0, 2, 3])
    assert len(elimination.do(Population.create())) == 0

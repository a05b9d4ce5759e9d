import numpy as np
import pytest

from dse.errors import ConfigError
from dse.pareto import hypervolume
from dse.search.baselines import ExhaustiveSearch, GreedyBaseline, RandomSearch, UniformBaseline
from dse.search.space import FreeSpace, TiledSpace, row_keys


@pytest.fixture
def space(toy):
    return FreeSpace(toy.n_layers, toy.n_multipliers)


def test_random_search_is_unique_and_counts(space, toy, explore):
    initial = [[5] * 5, [0] * 5, [5] * 5]
    optimizer = RandomSearch(space, n_evaluations=105, batch_size=20, seed=0, initial=initial)
    history = explore(optimizer, space, toy)
    assert [len(batch) for batch in history.batches] == [20] * 5 + [5]
    assert len(set(row_keys(history.X))) == 105
    assert history.X[:2].tolist() == initial[:2]
    assert optimizer.finish_reason == "all 105 evaluations done"


def test_random_search_repeats_for_a_seed(space, toy, explore):
    runs = [
        explore(RandomSearch(space, n_evaluations=40, batch_size=20, seed=seed), space, toy).X for seed in (0, 0, 1)
    ]
    np.testing.assert_array_equal(runs[0], runs[1])
    assert not np.array_equal(runs[0], runs[2])


def test_random_search_exhausts_a_small_space(make_toy, explore):
    space, toy = TiledSpace(3, 3, 2), make_toy(3, 3)
    optimizer = RandomSearch(space, n_evaluations=1000, batch_size=8, seed=0)
    assert len(explore(optimizer, space, toy).X) == space.n_designs
    assert "exhausted" in optimizer.finish_reason


def test_uniform_baseline(toy, explore):
    space = TiledSpace(toy.n_layers, toy.n_multipliers, 2)
    history = explore(UniformBaseline(space), space, toy)
    assert len(history.batches) == 1
    np.testing.assert_array_equal(space.decode(history.X).assignments, np.repeat(np.arange(6)[:, None], 5, axis=1))


@pytest.mark.parametrize("n_tiles", [None, 2])
def test_exhaustive_search_asks_every_design_once(n_tiles, toy, explore):
    space = FreeSpace(5, 6) if n_tiles is None else TiledSpace(5, 6, n_tiles)
    optimizer = ExhaustiveSearch(space, batch_size=500)
    history = explore(optimizer, space, toy)
    assert len(set(row_keys(history.X))) == len(history.X) == space.n_designs
    assert max(map(len, history.batches)) <= 500
    assert optimizer.finish_reason == f"all {space.n_designs} designs done"


def test_exhaustive_search_refuses_large_spaces():
    with pytest.raises(ConfigError, match=r"has about 10\^78 designs: expected at most 100,000"):
        ExhaustiveSearch(FreeSpace(50, 37))
    with pytest.raises(ConfigError, match=r"has 7,776 designs: expected at most 7,775"):
        ExhaustiveSearch(FreeSpace(5, 6), max_designs=7775)


def greedy_path(history):
    """Designs that cost less than all before."""
    return history.F[np.r_[True, history.F[1:, 0] < np.minimum.accumulate(history.F[:, 0])[:-1]]]


def test_greedy_starts_exact_and_goes_down_to_the_cheapest(space, toy, explore):
    optimizer = GreedyBaseline(space, exact_index=toy.exact_index)
    history = explore(optimizer, space, toy)
    assert history.batches[0].tolist() == [[5] * 5]
    assert history.F[:, 0].min() == pytest.approx(toy.energy_rel[0])
    assert len(set(row_keys(history.X))) == len(history.X)
    assert optimizer.finish_reason.startswith("no step left")


def test_greedy_is_near_the_front_of_a_separable_problem(space, toy, explore):
    best = hypervolume(explore(ExhaustiveSearch(space), space, toy).F, [1.1, 1.0])
    history = explore(GreedyBaseline(space, exact_index=5, n_candidates=5), space, toy)
    assert hypervolume(history.F, [1.1, 1.0]) > 0.97 * best
    assert len(history.X) < space.n_designs / 5


def test_greedy_stops_at_the_floor(space, toy, explore):
    history = explore(GreedyBaseline(space, exact_index=5), space, toy, floor=0.05)
    taken = history.batches[1:]
    everything = explore(GreedyBaseline(space, exact_index=5), space, toy)
    assert len(taken) < len(everything.batches)
    start = GreedyBaseline(space, exact_index=5)
    X = start.ask()
    start.tell(X, [[1.0, 0.3]], [0.25])
    assert start.ask() is None
    assert "below the accuracy floor" in start.finish_reason


def test_greedy_keeps_to_its_budget(space, toy, explore):
    optimizer = GreedyBaseline(space, exact_index=5, n_evaluations=30)
    assert len(explore(optimizer, space, toy).X) == 30
    assert optimizer.finish_reason == "all 30 evaluations done"


def test_greedy_moves_between_tiles(toy, explore):
    space = TiledSpace(5, 6, 2)
    history = explore(GreedyBaseline(space, exact_index=5), space, toy)
    assignments = space.decode(history.X).assignments
    assert history.F[:, 0].min() == pytest.approx(toy.energy_rel[0])
    assert (assignments.min(axis=1) != assignments.max(axis=1)).any()


def test_greedy_passes_by_failed_steps(space, toy):
    optimizer = GreedyBaseline(space, exact_index=5)
    while (X := optimizer.ask()) is not None:
        failed = (X == 2).any(axis=1)
        optimizer.tell(X, np.where(failed[:, None], np.nan, toy.measure(space, X)), failed=failed)
    assert optimizer.generation > 5
    assert optimizer.finish_reason


@pytest.mark.parametrize("name", ["n_evaluations", "batch_size"])
def test_numbers_must_be_positive(space, name):
    with pytest.raises(ConfigError, match=f"{name} is 0: expected a number above 0"):
        RandomSearch(space, **({"n_evaluations": 5, "batch_size": 5, "seed": 0} | {name: 0}))


def test_greedy_counts_memory_as_it_counts_energy():
    """Two steps save the same energy at the same loss; one saves memory as well."""
    space = FreeSpace(2, 2)
    search = GreedyBaseline(space, exact_index=1)
    F = {(1, 1): [1.0, 0.0, 1.0], (0, 1): [0.8, 0.01, 1.0], (1, 0): [0.8, 0.01, 0.5], (0, 0): [0.6, 0.5, 0.5]}
    asked = []
    while (X := search.ask()) is not None:
        asked.append([tuple(row) for row in X.tolist()])
        search.tell(X, np.array([F[row] for row in asked[-1]]))
    assert asked[:2] == [[(1, 1)], [(0, 0), (0, 1), (1, 0)]]
    assert tuple(search._current.tolist()) == (0, 0)
    assert search._score(np.array(F[1, 1]), np.array(F[1, 0])) == pytest.approx(70)
    assert search._score(np.array(F[1, 1]), np.array(F[0, 1])) == pytest.approx(20)

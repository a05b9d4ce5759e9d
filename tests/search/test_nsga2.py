import numpy as np
import pytest

from dse.cost.accelerators import count_distinct
from dse.errors import ConfigError, RunError
from dse.pareto import hypervolume, igd_plus, nondominated
from dse.search.matching import matched_assignments
from dse.search.nsga2 import NSGA2Search
from dse.search.seeding import initial_designs, uniform_assignments
from dse.search.space import FreeSpace, TiledSpace, row_keys

REFERENCE = [1.1, 1.0]


def search(space, **changes):
    return NSGA2Search(space, **({"population_size": 20, "n_generations": 25, "seed": 1} | changes))


def spaces(toy):
    return [
        FreeSpace(toy.n_layers, toy.n_multipliers),
        TiledSpace(toy.n_layers, toy.n_multipliers, 3),
        TiledSpace(toy.n_layers, toy.n_multipliers, 3, merge_equal=False),
    ]


def start(space, exact_index, matched=()):
    """Genomes of the exact design, matched ones and all uniform ones."""
    groups = {
        "exact": np.full((1, space.n_layers), exact_index),
        "matched": np.array(matched, dtype=np.int64).reshape(-1, space.n_layers),
        "uniform": uniform_assignments(space.n_layers, space.n_multipliers),
    }
    return initial_designs(space, groups).genomes


@pytest.mark.parametrize("which", [0, 1, 2])
def test_converges_to_the_listed_front(which, toy, explore):
    space = spaces(toy)[which]
    F_all = toy.measure(space, np.concatenate(list(space.enumerate())))
    front = F_all[nondominated(F_all, keep_equal=False)]
    history = explore(search(space, initial=start(space, toy.exact_index)), space, toy)
    assert len(history.X) < space.n_designs
    assert hypervolume(history.F, REFERENCE) > 0.98 * hypervolume(front, REFERENCE)
    assert igd_plus(history.F, front) < 0.02


def test_beats_random_and_gains_from_matched_designs(make_toy, explore):
    toy = make_toy(16, 20)
    space = FreeSpace(16, 20)
    matched = matched_assignments(toy.loss, toy.energy_rel, n_multiplications=toy.n_multiplications, n_designs=10)
    with_prior = explore(search(space, initial=start(space, 19, matched)), space, toy)
    without = explore(search(space), space, toy)
    first = without.batches[0]
    assert hypervolume(without.F, REFERENCE) > 1.1 * hypervolume(toy.measure(space, first), REFERENCE)
    assert hypervolume(with_prior.F, REFERENCE) > hypervolume(without.F, REFERENCE)


def test_equal_seeds_give_equal_runs(toy, explore):
    for space in spaces(toy):
        first, second, other = (explore(search(space, seed=seed), space, toy) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first.X, second.X)
        assert not np.array_equal(first.X, other.X)


def test_global_random_state_is_neither_used_nor_changed(toy, explore):
    space = spaces(toy)[0]
    np.random.seed(0)
    first = explore(search(space), space, toy)
    state = np.random.get_state()[1]
    np.random.seed(0)
    np.testing.assert_array_equal(state, np.random.get_state()[1])
    np.random.seed(99)
    np.testing.assert_array_equal(explore(search(space), space, toy).X, first.X)


def test_no_design_is_asked_twice(toy, explore):
    for space in spaces(toy):
        history = explore(search(space), space, toy)
        assert len(set(row_keys(history.X))) == len(history.X) == 20 * 25


def test_batches_are_canonical(toy, explore):
    for space in spaces(toy):
        X = explore(search(space), space, toy).X
        np.testing.assert_array_equal(space.canonicalize(X), X)


def test_tiles_are_respected(toy, explore):
    space = spaces(toy)[1]
    assert count_distinct(space.decode(explore(search(space), space, toy).X).assignments).max() <= 3


def test_initial_designs_are_in_generation_0(toy):
    for space in spaces(toy):
        initial = start(space, toy.exact_index)
        batch = search(space, initial=np.concatenate([initial, initial])).ask()
        np.testing.assert_array_equal(batch[: len(initial)], initial)
        assert len(batch) == 20


def test_many_initial_designs_enlarge_generation_0_only(toy, explore):
    space = spaces(toy)[0]
    history = explore(search(space, population_size=4, n_generations=3, initial=start(space, 5)), space, toy)
    assert [len(batch) for batch in history.batches] == [6, 4, 4]


def test_finishes_after_its_generations(toy, explore):
    space = spaces(toy)[0]
    optimizer = search(space, n_generations=3)
    assert len(explore(optimizer, space, toy).batches) == 3
    assert optimizer.generation == 3
    assert optimizer.finish_reason == "all 3 generations done"


@pytest.mark.parametrize("space", [FreeSpace(2, 3), TiledSpace(3, 4, 2), TiledSpace(3, 2, 2, merge_equal=False)])
def test_an_exhausted_space_is_searched_whole_and_said(space, make_toy, explore):
    toy = make_toy(space.n_layers, space.n_multipliers)
    optimizer = search(space, population_size=6, n_generations=100)
    history = explore(optimizer, space, toy)
    assert len(set(row_keys(history.X))) == len(history.X) == space.n_designs
    assert "exhausted" in optimizer.finish_reason


def test_a_floor_draws_the_search_to_feasible_designs(make_toy, explore):
    toy = make_toy(12, 10)
    space = FreeSpace(12, 10)
    free, bound = (explore(search(space), space, toy, floor=floor) for floor in (None, 0.1))
    assert (bound.F[-200:, 1] <= 0.1).mean() > (free.F[-200:, 1] <= 0.1).mean()
    feasible = [history.F[history.F[:, 1] <= 0.1] for history in (free, bound)]
    assert hypervolume(feasible[1], REFERENCE) > hypervolume(feasible[0], REFERENCE)


def test_failed_evaluations_do_not_stop_or_lead_the_search(toy):
    space = spaces(toy)[0]
    optimizer = search(space)
    final = None
    while (X := optimizer.ask()) is not None:
        F = toy.measure(space, X)
        failed = X[:, 0] == 0
        F[failed] = np.nan
        optimizer.tell(X, F, failed=failed)
        final = failed
    assert optimizer.generation == 25
    assert final.mean() < 0.2


def test_a_batch_that_fails_whole_is_survived(toy):
    space = spaces(toy)[0]
    optimizer = search(space)
    X = optimizer.ask()
    optimizer.tell(X, np.full((len(X), 2), np.nan), failed=np.ones(len(X), dtype=bool))
    assert len(optimizer.ask()) == 20


def test_nan_is_refused_and_can_be_told_again(toy):
    space = spaces(toy)[0]
    optimizer = search(space)
    X = optimizer.ask()
    F = toy.measure(space, X)
    with pytest.raises(RunError, match="row 0 has F"):
        optimizer.tell(X, np.where(np.arange(len(X))[:, None] == 0, np.nan, F))
    np.testing.assert_array_equal(optimizer.ask(), X)
    optimizer.tell(X, F)
    assert optimizer.generation == 1


def test_changing_what_was_asked_changes_nothing(toy):
    optimizer = search(spaces(toy)[0])
    X = optimizer.ask()
    X[:] = 0
    assert optimizer.ask().any()


def test_bad_sizes_are_named(toy):
    with pytest.raises(ConfigError, match="population_size is 1"):
        search(spaces(toy)[0], population_size=1)
    with pytest.raises(ConfigError, match="n_generations is 0"):
        search(spaces(toy)[0], n_generations=0)

import pytest

from dse.errors import ConfigError
from dse.search.baselines import ExhaustiveSearch, GreedyBaseline, RandomSearch, UniformBaseline
from dse.search.methods import METHODS, make_search
from dse.search.nsga2 import NSGA2Search
from dse.search.space import FreeSpace

CLASSES = (NSGA2Search, RandomSearch, UniformBaseline, GreedyBaseline, ExhaustiveSearch)


@pytest.mark.parametrize(("method", "expected"), list(zip(METHODS, CLASSES, strict=True)))
def test_every_method_runs_under_one_protocol(method, expected, toy, explore):
    space = FreeSpace(toy.n_layers, toy.n_multipliers)
    optimizer = make_search(method, space, exact_index=5, population_size=10, n_generations=3, seed=2)
    assert isinstance(optimizer, expected)
    assert (optimizer.generation, optimizer.finish_reason) == (0, None)
    history = explore(optimizer, space, toy)
    assert optimizer.generation == len(history.batches)


def test_budgets(toy, explore):
    space = FreeSpace(toy.n_layers, toy.n_multipliers)
    settings = {"exact_index": 5, "population_size": 10, "n_generations": 3}
    assert len(explore(make_search("random", space, **settings), space, toy).X) == 30
    assert len(explore(make_search("random", space, **settings, n_evaluations=12), space, toy).X) == 12
    assert len(explore(make_search("greedy", space, **settings, n_evaluations=12), space, toy).X) == 12


def test_unknown_method():
    with pytest.raises(ConfigError, match="unknown search method 'nsga': did you mean 'nsga2'"):
        make_search("nsga", FreeSpace(2, 2), exact_index=1)

"""dse.search.point_optimization: never worse than its seeds, deterministic, ended by its budget."""

from contextlib import suppress
from functools import partial

import numpy as np
import pytest

from dse.errors import ShapeError
from dse.search.operating_points import cheapest_members
from dse.search.point_optimization import POPULATION_SIZE, PointOptimization
from dse.search.subsets import best_subsets

SCALES = (0.3, 1.0, 2.0)


class Measured:
    """Losses that grow with predicted growth, but not as predicted; remembers everything."""

    def __init__(self, growth, *, budget=10**9):
        self.true = growth * np.random.default_rng(7).lognormal(0, 0.5, growth.shape)
        self.known, self.budget = {}, budget

    def __call__(self, assignments):
        for row in map(tuple, assignments.tolist()):
            if row not in self.known:
                if len(self.known) >= self.budget:
                    raise TimeoutError
                self.known[row] = 0.9 * (1 - np.exp(-self.true[np.arange(len(row)), row].sum()))
        return np.array([self.known[tuple(row)] for row in assignments.tolist()])

    @property
    def everything(self):
        return np.array(list(self.known)), np.array(list(self.known.values()))


def refit(growth, assignments, losses):
    """One factor for all: the order of layers stays."""
    predicted = growth[np.arange(growth.shape[0]), assignments].sum(axis=1)
    return growth * (losses.sum() / max(predicted.sum(), 1e-9))


@pytest.fixture(scope="module")
def matching(make_matching):
    return make_matching(12, 10, 3)


@pytest.fixture(scope="module")
def growth(matching):
    return 0.01 * (matching.residual_std / matching.tolerance[:, None]) ** 2


@pytest.fixture(scope="module")
def seeds(matching):
    subset = best_subsets(matching.costs(SCALES), np.arange(10), 3)[0]
    return [cheapest_members(matching, subset, SCALES)]


def optimize(matching, growth, seeds, *, budget=10**9, n_generations=15, seed=0, n=3):
    measure = Measured(growth, budget=budget)
    limits = np.maximum.accumulate(measure(np.array(seeds[0]))) * 1.5 + 0.005
    search = PointOptimization(
        matching, growth, measure, limits=limits, n_multipliers=n, seed=seed, refit=partial(refit, growth)
    )
    stages = []
    with suppress(TimeoutError):
        search.run(seeds, n_generations=n_generations, on_stage=lambda stage, detail="": stages.append((stage, detail)))
    search.remember(*measure.everything)
    return search.best(), limits, measure, stages


def test_a_search_saves_energy_within_the_limits_of_its_seeds(matching, growth, seeds):
    found, limits, measure, stages = optimize(matching, growth, seeds)
    assert matching.energy(found).mean() < matching.energy(seeds[0]).mean() - 0.01
    assert (measure(found) <= limits).all()
    assert (np.diff(matching.energy(found)) < 0).all()
    assert len(np.unique(found)) <= 3
    assert [stage for stage, _ in stages[2:4]] == ["trading energy against sensitivities", "searching"]
    assert stages[-1][1].startswith("generation 15, ")


@pytest.mark.parametrize("budget", [1, 3, 5, 40, 120])
def test_it_is_never_worse_than_its_seeds(matching, growth, seeds, budget):
    found, limits, measure, _ = optimize(matching, growth, seeds, budget=max(budget, 3))
    assert len(measure.known) <= max(budget, 3)
    assert matching.energy(found).mean() <= matching.energy(seeds[0]).mean() + 1e-12
    assert (measure(found) <= limits).all()


def test_equal_seeds_of_randomness_ask_the_same(matching, growth, seeds):
    runs = [optimize(matching, growth, seeds, n_generations=4, seed=s) for s in (1, 1, 2)]
    asked = [list(measure.known) for _, _, measure, _ in runs]
    assert asked[0] == asked[1]
    assert asked[0] != asked[2]
    assert len(asked[0]) > POPULATION_SIZE


def test_more_multipliers_than_genes(make_matching):
    matching = make_matching(1, 6, 0)
    growth = matching.residual_std**2
    points = np.array([[5], [0]])
    found, *_ = optimize(matching, growth, [points], n=5, n_generations=3)
    assert found.shape == (2, 1)


def test_seeds_must_keep_the_limits(matching, growth, seeds):
    measure = Measured(growth)
    search = PointOptimization(matching, growth, measure, limits=[-1, -1, -1], n_multipliers=3, seed=0)
    search.remember(seeds[0], measure(seeds[0]))
    with pytest.raises(ShapeError, match="no seed keeps the limits"):
        search.best()

from dataclasses import dataclass

import numpy as np
import pytest

from dse.pareto import hypervolume
from dse.search.matching import layer_energies
from dse.search.nsga2 import NSGA2Search
from dse.search.screening import Screen
from dse.search.seeding import without_known
from dse.search.space import FreeSpace, row_keys

N_LAYERS, N_MULTIPLIERS = 6, 5
ENERGIES = np.array([0.2, 0.4, 0.6, 0.8, 1.0])
LOSSES = np.array([0.16, 0.08, 0.04, 0.01, 0.0])
WEIGHTS = np.array([1.0, 2.0, 3.0, 1.0, 2.0, 3.0])


@dataclass(frozen=True)
class Prediction:
    mean: np.ndarray
    std: np.ndarray


class KnowingModel:
    """Knows the losses; `std` says how sure it claims to be."""

    def __init__(self, std=1e-4):
        self.std = std
        self.layer_losses = np.tile(LOSSES, (N_LAYERS, 1))
        self.fits = []

    def predict(self, assignments):
        mean = loss_of(assignments)
        return Prediction(mean, np.full(len(mean), self.std))

    def fitted(self, assignments, losses):
        self.fits.append((assignments, losses))
        return self


def loss_of(assignments):
    return LOSSES[assignments].sum(axis=1)


def energy_of(designs):
    return ENERGIES[designs.assignments] @ WEIGHTS / WEIGHTS.sum()


def costs_of(designs):
    return energy_of(designs)[:, None]


def make_screen(model=None, **options):
    space = FreeSpace(N_LAYERS, N_MULTIPLIERS)
    defaults = {"costs": costs_of, "layer_costs": (layer_energies(ENERGIES, WEIGHTS),), "exact_loss": 0.1}
    return space, Screen(space, model or KnowingModel(), **defaults | options)


def told(X):
    space = FreeSpace(N_LAYERS, N_MULTIPLIERS)
    return np.column_stack([energy_of(space.decode(X)), 0.1 + loss_of(X)])


def random_designs(n, seed=0):
    return np.unique(np.random.default_rng(seed).integers(0, N_MULTIPLIERS, size=(n, N_LAYERS)), axis=0)


def test_dominated_designs_are_ruled_out():
    space, screen = make_screen()
    X = random_designs(300)
    screen.learn(X, told(X), np.zeros(len(X), dtype=bool))
    worse = X[:50].copy()
    worse[:, 0] = 0  # cheap in a layer that hardly counts
    worse = without_known(worse, set(row_keys(X)))
    chosen = screen.choose(worse, 50)
    F, front = told(worse), told(X)
    for row in set(range(len(worse))) - set(chosen.tolist()):
        optimistic = F[row, 1] - 2e-4
        assert ((front[:, 0] <= F[row, 0]) & (front[:, 1] <= optimistic + 1e-9)).any() or row not in chosen
    for row in chosen:
        assert not ((front[:, 0] <= F[row, 0]) & (front[:, 1] < F[row, 1] - 1e-3)).any()


def test_an_unsure_model_rules_out_less():
    X, pool = random_designs(200, 1), random_designs(200, 2)
    counts = []
    for std in (1e-4, 0.05, 0.5):
        _, screen = make_screen(KnowingModel(std))
        screen.learn(X, told(X), np.zeros(len(X), dtype=bool))
        counts.append(len(screen.choose(without_known(pool, set(row_keys(X))), 200)))
    assert counts[0] < counts[1] < counts[2]


def test_at_least_some_are_chosen_where_all_are_ruled_out():
    _, screen = make_screen()
    X = random_designs(2000, 3)
    screen.learn(X, told(X), np.zeros(len(X), dtype=bool))
    worst = np.array([[4, 4, 4, 4, 4, 0], [0, 0, 0, 0, 0, 4]])
    assert len(screen.choose(worst, 2)) == 0
    assert sorted(screen.choose(worst, 2, n_least=2)) == [0, 1]


def test_losses_beyond_the_limit_are_not_wanted():
    _, screen = make_screen(loss_limit=0.1)
    X = random_designs(100, 4)
    chosen = screen.choose(X, 100)
    assert len(chosen)
    assert (loss_of(X[chosen]) <= 0.1 + 3e-4).all()


def test_proposals_are_the_best_trade_offs():
    space, screen = make_screen()
    X = screen.propose()
    F, everything = told(X), told(random_designs(3000, 5))
    assert len(X) > 10
    for energy, loss in F:
        assert not ((everything[:, 0] < energy - 1e-9) & (everything[:, 1] < loss - 1e-9)).any()


def test_failed_designs_teach_nothing_and_are_remembered():
    model = KnowingModel()
    _, screen = make_screen(model)
    X = random_designs(10, 6)
    failed = np.zeros(len(X), dtype=bool)
    failed[:4] = True
    F = told(X)
    F[:4] = 7.0
    screen.learn(X, F, failed)
    assert len(model.fits[0][0]) == len(X) - 4
    assert np.isnan(screen.checked[0].measured[:4]).all()
    np.testing.assert_allclose(screen.checked[0].measured[4:], loss_of(X[4:]), atol=1e-12)


def test_a_screened_search_needs_fewer_evaluations():
    space = FreeSpace(N_LAYERS, N_MULTIPLIERS)
    exact = np.full((1, N_LAYERS), N_MULTIPLIERS - 1)

    def volume(screen, budget):
        optimizer = NSGA2Search(space, population_size=10, n_generations=40, seed=0, initial=exact, screen=screen)
        seen = np.empty((0, 2))
        while (X := optimizer.ask()) is not None and len(seen) < budget:
            optimizer.tell(X, told(X))
            seen = np.vstack([seen, told(X)])
        return hypervolume(seen[:budget], (1.1, 1.0))

    assert volume(make_screen()[1], 60) > volume(None, 200)


def test_designs_are_chosen_for_memory_too():
    """What is simulated adds far more to the hypervolume of all three objectives than proposals do on average."""
    memory = np.array([1.0, 0.9, 0.5, 0.3, 0.1])
    layer_memory = np.tile(memory / N_LAYERS, (N_LAYERS, 1))

    def costs(designs):
        rows = designs.assignments
        return np.column_stack([energy_of(designs), layer_memory[np.arange(N_LAYERS), rows].sum(axis=1)])

    layer_costs = (layer_energies(ENERGIES, WEIGHTS), layer_memory)
    space, screen = make_screen(costs=costs, layer_costs=layer_costs)
    X = random_designs(60)
    F = np.insert(costs(space.decode(X)), 1, 0.1 + loss_of(X), axis=1)
    screen.learn(X, F, np.zeros(len(X), dtype=bool))
    proposed = screen.propose()
    sizes = costs(space.decode(proposed))
    assert sizes[:, 0].min() == pytest.approx(0.2)
    assert sizes[:, 1].min() == pytest.approx(0.1)
    fresh = without_known(random_designs(400, 3), set(row_keys(X)))
    chosen = screen.choose(fresh, 20)
    G = np.insert(costs(space.decode(fresh)), 1, 0.1 + loss_of(fresh), axis=1)
    reference = (1.1, 1.0, 1.1)
    gains = [hypervolume(np.vstack([F, row]), reference) - hypervolume(F, reference) for row in G]
    assert np.mean(np.array(gains)[chosen]) > 3 * np.mean(gains)

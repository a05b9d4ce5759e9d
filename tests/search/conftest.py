"""A separable toy problem whose whole front is known by listing, and a loop that runs an optimizer on it."""

from dataclasses import dataclass

import numpy as np
import pytest

from dse.testing.fakes import fake_matching


@dataclass(frozen=True)
class Toy:
    """Energy and accuracy loss add up over layers; the last multiplier is exact."""

    energy_rel: np.ndarray
    loss: np.ndarray
    n_multiplications: np.ndarray

    @property
    def n_layers(self):
        return self.loss.shape[0]

    @property
    def n_multipliers(self):
        return self.loss.shape[1]

    @property
    def exact_index(self):
        return self.n_multipliers - 1

    def measure(self, space, X):
        assignments = space.decode(X).assignments
        weights = self.n_multiplications / self.n_multiplications.sum()
        loss = self.loss[np.arange(self.n_layers), assignments].sum(axis=1)
        return np.stack([self.energy_rel[assignments] @ weights, np.minimum(loss, 0.9)], axis=1)


@dataclass(frozen=True)
class History:
    batches: list
    X: np.ndarray
    F: np.ndarray


@pytest.fixture(scope="session")
def make_toy():
    def make(n_layers, n_multipliers, seed=0):
        rng = np.random.default_rng(seed)
        energy_rel = np.append(np.sort(rng.uniform(0.1, 0.95, n_multipliers - 1)), 1.0)
        loss = (1 - energy_rel) ** 2 * rng.lognormal(0, 1, (n_layers, n_multipliers)) * 0.3
        return Toy(energy_rel, loss, rng.integers(1, 20, n_layers).astype(float))

    return make


@pytest.fixture(scope="session")
def toy(make_toy):
    return make_toy(5, 6)


@pytest.fixture(scope="session")
def explore():
    """`explore(optimizer, space, toy, floor=None)` asks and tells to the end; returns everything told."""

    def run(optimizer, space, toy, *, floor=None):
        batches, figures = [], []
        while (X := optimizer.ask()) is not None:
            assert X.dtype == np.int64
            assert optimizer.generation == len(batches)
            F = toy.measure(space, X)
            optimizer.tell(X, F, None if floor is None else F[:, 1] - floor)
            batches.append(X)
            figures.append(F)
        assert optimizer.ask() is None
        assert optimizer.finish_reason
        return History(batches, np.concatenate(batches), np.concatenate(figures))

    return run


@pytest.fixture(scope="session")
def make_matching():
    """`make(n_layers, n_multipliers, seed)`, see `fake_matching`."""
    return fake_matching

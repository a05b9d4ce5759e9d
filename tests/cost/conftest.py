"""A library and layers with only what costs need."""

from dataclasses import dataclass

import numpy as np
import pytest

from dse.multipliers.multiplier import Cost


@dataclass(frozen=True)
class PricedMultiplier:
    name: str
    cost: Cost | None


class PricedLibrary:
    """Multipliers with a cost and no table, in the order given."""

    def __init__(self, values, *, unit="mW", clock_mhz=None, exact_index=-1):
        clocks = clock_mhz if isinstance(clock_mhz, list) else [clock_mhz] * len(values)
        self._multipliers = [
            PricedMultiplier(f"m{i}", Cost(value, unit, technology="45nm", source="test", clock_mhz=clock))
            for i, (value, clock) in enumerate(zip(values, clocks, strict=True))
        ]
        self.exact_index = exact_index % len(values)
        self.energy_rel = np.array(values) / values[exact_index]

    def __getitem__(self, index):
        return self._multipliers[index]

    def __len__(self):
        return len(self._multipliers)


@dataclass(frozen=True)
class CountedLayer:
    name: str
    n_multiplications: int


@pytest.fixture(scope="session")
def make_library():
    """Library of given costs: `make_library(values, unit="mW", clock_mhz=None)`."""
    return PricedLibrary


@pytest.fixture(scope="session")
def make_layers():
    """Layers of given numbers of multiplications, named l0, l1, ..."""
    return lambda counts: [CountedLayer(f"l{i}", n) for i, n in enumerate(counts)]


@pytest.fixture
def library():
    return PricedLibrary([0.1, 0.2, 0.3, 0.391])


@pytest.fixture
def layers():
    return [CountedLayer("conv1", 1000), CountedLayer("conv2", 3000), CountedLayer("fc", 500)]

"""Small libraries made by hand."""

import numpy as np
import pytest

from dse.multipliers.multiplier import Cost, Multiplier, exact_table


@pytest.fixture
def make():
    """`make(name, offset, value)`: the exact table plus an offset, at a power of `value` mW (None: no cost)."""

    def build(name, offset=0, value=1.0, *, technology="45 nm", unit="mW", is_signed=False, clock_mhz=None):
        table = np.full((256, 256), offset) if name.startswith("const") else exact_table(is_signed) + offset
        cost = None if value is None else Cost(value, unit, technology, "test", clock_mhz=clock_mhz)
        return Multiplier(name, table, is_signed, cost)

    return build

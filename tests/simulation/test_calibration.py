"""Speeds that are measured make sense."""

from dataclasses import asdict

import pytest

from dse.simulation.calibration import measure_speeds
from dse.simulation.native_library import load


@pytest.fixture
def library():
    found = load()
    if found is None:
        pytest.skip("no native library here")
    return found


def test_measured_speeds_are_plausible(library):
    speeds = asdict(measure_speeds(library))
    assert all(value >= 0 for value in speeds.values())
    assert 1e-12 < speeds["row_s"] < 1e-8
    assert speeds["row_s"] < speeds["direct_s"] < 1e-6

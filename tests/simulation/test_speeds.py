"""Speeds are measured once, kept, and fixed on demand."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from dse.errors import ConfigError
from dse.simulation import speeds
from dse.simulation.native_library import LEVELS, load
from dse.simulation.speeds import FIXED, load_speeds


@pytest.fixture
def library():
    found = load()
    if found is None:
        pytest.skip("no native library here")
    return found


def test_every_level_has_fixed_speeds():
    assert set(FIXED) == set(LEVELS)
    for level, fixed in FIXED.items():
        values = asdict(fixed)
        assert all(value > 0 for value in values.values())
        assert np.isinf(values["permute_s"]) == (level != "avx512-vbmi")


def test_speeds_are_measured_once_and_kept(library, monkeypatch, tmp_path):
    calls = []

    def measure(library):
        calls.append(library)
        return FIXED[library.isa_name]

    monkeypatch.setenv("DSE_KERNELS", "measured")
    monkeypatch.setenv("DSE_CACHE", str(tmp_path))
    monkeypatch.setattr("dse.simulation.speeds.measure_speeds", measure)
    speeds._measured.cache_clear()
    try:
        assert load_speeds(library) == FIXED[library.isa_name]
        speeds._measured.cache_clear()
        assert load_speeds(library) == FIXED[library.isa_name]
        assert len(calls) == 1
        (path,) = (tmp_path / "speeds").iterdir()
        path.write_text(json.dumps({"product_s": 1}))
        speeds._measured.cache_clear()
        load_speeds(library)
        assert len(calls) == 2  # a damaged file is measured again
    finally:
        speeds._measured.cache_clear()




def test_refuses_an_unknown_choice(library, monkeypatch):
    monkeypatch.setenv("DSE_KERNELS", "fastest")
    with pytest.raises(ConfigError, match="DSE_KERNELS=fastest.*measured"):
        load_speeds(library)

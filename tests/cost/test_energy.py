import numpy as np
import pytest

from dse.cost.energy import (
    DEFAULT_CLOCK_MHZ,
    check_assignments,
    common_clock_mhz,
    energy_per_multiplication_pj,
    relative_energy,
)
from dse.errors import ConfigError, MultiplierError, ShapeError


def test_one_milliwatt_at_one_gigahertz_is_one_picojoule(make_library):
    assert energy_per_multiplication_pj(make_library([1.0]), clock_mhz=1000.0).tolist() == [1.0]
    assert energy_per_multiplication_pj(make_library([1.0]), clock_mhz=100.0).tolist() == [10.0]


def test_default_clock_is_used_where_none_is_stored(make_library):
    assert common_clock_mhz(make_library([1.0, 2.0])) == DEFAULT_CLOCK_MHZ
    assert common_clock_mhz(make_library([1.0, 2.0], clock_mhz=[500.0, None])) == 500.0


def test_energy_is_not_a_number_for_gate_counts(make_library):
    energy = energy_per_multiplication_pj(make_library([300.0, 400.0], unit="gates"))
    assert energy.shape == (2,)
    assert np.isnan(energy).all()


def test_mixed_clocks_are_an_error(make_library):
    with pytest.raises(MultiplierError, match=r"different clocks \(100, 500 MHz\)"):
        energy_per_multiplication_pj(make_library([1.0, 2.0], clock_mhz=[100.0, 500.0]))
    with pytest.raises(MultiplierError, match="different clocks"):
        energy_per_multiplication_pj(make_library([1.0], clock_mhz=100.0), clock_mhz=200.0)


def test_clock_must_be_positive(make_library):
    with pytest.raises(ConfigError, match="clock_mhz is 0"):
        common_clock_mhz(make_library([1.0]), clock_mhz=0)


def test_relative_energy_equals_the_formula():
    rng = np.random.default_rng(0)
    counts, powers = rng.integers(1, 1000, 5), rng.random(7)
    assignments = rng.integers(0, 7, (20, 5))
    expected = [
        sum(counts[layer] * powers[m] for layer, m in enumerate(row)) / (powers[6] * counts.sum())
        for row in assignments
    ]
    energy = relative_energy(assignments, n_multiplications=counts, energy_rel=powers / powers[6])
    assert energy.dtype == np.float64
    np.testing.assert_allclose(energy, expected)


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (np.zeros((2, 4), dtype=int), r"expected integers \(n, 3\)"),
        (np.zeros(3, dtype=int), r"expected integers \(n, 3\)"),
        (np.zeros((2, 3)), "type float64"),
        (np.full((1, 3), 5), "expected 0 to 4"),
        (np.full((1, 3), -1), "expected 0 to 4"),
    ],
)
def test_bad_assignments_are_named(assignments, message):
    with pytest.raises(ShapeError, match=message):
        check_assignments(assignments, n_layers=3, n_multipliers=5)


def test_no_assignments_are_fine():
    assert check_assignments(np.empty((0, 3), dtype=np.int32), n_layers=3, n_multipliers=5).dtype == np.int64

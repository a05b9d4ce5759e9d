import numpy as np
import pytest

from dse.errors import ConfigError
from dse.objectives import ACCURACY, ENERGY_REL, Objective


def test_minimized_values_are_copied_unchanged():
    values = np.array([0.5, 1.0])
    column = ENERGY_REL.to_minimize(values)
    assert column.tolist() == [0.5, 1.0]
    column[0] = 7.0
    assert values.tolist() == [0.5, 1.0]


def test_accuracy_becomes_loss_and_comes_back():
    loss = ACCURACY.to_minimize([0.92, 1.0, 0.1])
    np.testing.assert_allclose(loss, [0.08, 0.0, 0.9])
    np.testing.assert_allclose(ACCURACY.from_minimize(loss), [0.92, 1.0, 0.1])


def test_maximized_without_ideal_is_negated():
    throughput = Objective("throughput", "1/s", "maximize")
    assert throughput.to_minimize(3.0) == -3.0


def test_better_is_smaller_in_both_directions():
    assert ACCURACY.to_minimize(0.9) < ACCURACY.to_minimize(0.8)
    assert ENERGY_REL.to_minimize(0.5) < ENERGY_REL.to_minimize(0.6)


def test_nan_and_shape_are_kept():
    column = ACCURACY.to_minimize(np.array([[np.nan, 1], [0, 1]], dtype=np.float32))
    assert column.dtype == np.float64
    assert column.shape == (2, 2)
    assert np.isnan(column[0, 0])


def test_unknown_direction_is_an_error():
    with pytest.raises(ConfigError, match="`accuracy` has direction 'up'"):
        Objective("accuracy", "1", "up")

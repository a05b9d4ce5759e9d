"""dse.robustness.tolerances: settings are checked, tolerances survive a text file."""

import numpy as np
import pytest

from dse.errors import ConfigError, RunError
from dse.robustness.tolerances import AgnSettings, Tolerances
from dse.testing.tiny import tiny_tolerances


def test_json_keeps_every_bit():
    found = tiny_tolerances(weights={"a": 1})
    again = Tolerances.from_json(found.to_json())
    for name, value in vars(found).items():
        if name == "weights":
            assert again.weights is None
        elif isinstance(value, np.ndarray):
            assert getattr(again, name).dtype == value.dtype
            np.testing.assert_array_equal(getattr(again, name), value)
        else:
            assert getattr(again, name) == value
    assert again.to_json() == found.to_json()


@pytest.mark.parametrize("text", ["", "{}", "[]", "nonsense", '{"layers": ["a"]}'])
def test_other_text_is_refused(text):
    with pytest.raises(RunError, match="not the text of tolerances"):
        Tolerances.from_json(text)


def test_huge_numbers_are_refused():
    first = '"n_multiplications": [\n  '
    text = tiny_tolerances().to_json().replace(first, first + 30 * "9")
    assert text.count(30 * "9") == 1
    with pytest.raises(RunError, match="not the text of tolerances"):
        Tolerances.from_json(text)


def test_lengths_must_agree():
    text = tiny_tolerances().to_json().replace('"layer0",', "")
    with pytest.raises(RunError, match="lengths differ"):
        Tolerances.from_json(text)


def test_defaults_of_the_variants():
    frozen, trained = AgnSettings(), AgnSettings(trains_weights=True)
    assert (frozen.method, frozen.epochs, frozen.sigma_learning_rate) == ("frozen", None, None)
    assert (trained.method, trained.steps) == ("trained", None)
    assert trained.sigma_learning_rate == trained.learning_rate
    assert AgnSettings(steps=7).steps == 7
    assert (frozen.coefficient, frozen.sigma_init, frozen.sigma_max) == (0.2, 0.1, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coefficient": -1.0}, "coefficient = -1.0: expected 0 or a positive number"),
        ({"sigma_max": 0.0}, "sigma_max = 0.0: expected a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate = nan"),
        ({"steps": 0}, "steps = 0"),
        ({"epochs": 3}, "epochs has no effect on frozen weights"),
        ({"sigma_learning_rate": 0.1}, "sigma_learning_rate has no effect on frozen weights"),
        ({"trains_weights": True, "steps": 3}, "steps has no effect on trained weights"),
    ],
)
def test_settings_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        AgnSettings(**options)

"""dse.robustness.tolerances: settings are checked, tolerances survive a text file."""

from dataclasses import replace

import numpy as np
import pytest

from dse.errors import ConfigError, RunError
from dse.robustness.tolerances import AgnSettings, Tolerances


def make(n_layers=3, **changes):
    rng = np.random.default_rng(0)
    sigma = rng.random(n_layers) / 3
    found = Tolerances(
        layers=tuple(f"layer{i}" for i in range(n_layers)),
        n_multiplications=np.arange(1, n_layers + 1, dtype=np.int64) * 1000,
        sigma=sigma,
        is_saturated=sigma > 0.2,
        sensitivity=rng.random(n_layers) ** 9,
        coefficient=0.1 + 0.2,
        accuracy=1 / 3,
        accuracy_with_noise=0.25,
        n_images=7,
        n_steps=3,
        time_s=0.1,
        method="frozen",
        key="a" * 64,
    )
    return replace(found, **changes)


def test_json_keeps_every_bit():
    found = make(weights={"a": 1})
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


def test_lengths_must_agree():
    text = make().to_json().replace('"layer0",', "")
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

"""benchmarks/collect_operating_points.py: volumes, and what is taken from the unrestricted front."""

import pandas as pd
import pytest


def test_volume_is_the_dominated_share(script):
    assert script.volume([0.5], [0.0], 0.1) == pytest.approx(0.5)
    assert script.volume([0.5], [-0.01], 0.1) == pytest.approx(0.5)  # better than exact counts as exact
    assert script.volume([0.6, 0.2], [0.02, 0.05], 0.1) == pytest.approx(0.4 * 0.8 + 0.4 * 0.5)
    assert script.volume([0.5], [0.2], 0.1) == 0.0  # the exact network alone saves nothing


def test_as_many_points_of_the_front_as_a_set_has(script):
    front = pd.DataFrame({"energy_rel": [0.2, 0.5, 0.9], "lost": [0.08, 0.01, 0.0]})
    assert script.best_of_front(front, 1, 0.1) == pytest.approx(0.5 * 0.9)
    assert script.best_of_front(front, 3, 0.1) == script.volume(front["energy_rel"], front["lost"], 0.1)

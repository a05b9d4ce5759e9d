"""dse.reporting.terminal.tolerances: sweeps of tolerances."""

import numpy as np
import pytest

from dse.reporting.terminal.tolerances import SweepWatch, tolerances_summary
from dse.runs.tolerance_sweep import SweepStart
from dse.testing.tiny import tiny_tolerances


def test_sweep_prints_some_lines_where_there_is_no_terminal(capsys):
    with SweepWatch() as watch:
        watch.on_start(SweepStart("runs/x", "net", "data", "frozen", 5, 64, 2, 1))
        for k in range(1, 101):
            watch.on_step(0.2, k, 100, 0.5)
        watch.on_coefficient(tiny_tolerances())
    out, err = capsys.readouterr()
    assert out == ""
    assert "net on data: 5 layers, frozen weights, 64 training images, 2 coefficients, 1 of them finished" in err
    assert err.count("coefficient 0.2: step") == 4
    assert "coefficient 0.3: done in 0 s" in err


def test_summary_of_tolerances():
    row = tolerances_summary([tiny_tolerances(sigma=np.array([0.2, 0.1, 0.5]))]).iloc[0]
    assert row["mean sigma"] == pytest.approx((0.2 + 2 * 0.1 + 3 * 0.5) / 6)
    assert (row["smallest"], row["at its layer"], row["saturated layers"]) == (0.1, "layer1", 1)
    assert (row["accuracy with noise %"], row["accuracy %"]) == ("25.00", "33.33")

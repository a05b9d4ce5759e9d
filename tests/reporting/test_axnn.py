"""dse.reporting.axnn: attempts and bounds in a picture."""

from types import SimpleNamespace

import pandas as pd

from dse.reporting.axnn import axnn, axnn_data, axnn_png

FOUND = SimpleNamespace(
    attempts=pd.DataFrame({"energy_rel": [0.8, 0.5], "accuracy": [0.95, 0.4], "is_accepted": [True, False]}),
    bounds=pd.DataFrame(
        {"bound_pct": [0.5, 7.5], "energy_rel": [0.8, 0.7], "accuracy": [0.94, 0.9], "accuracy_exact": [0.96, 0.96]}
    ),
)


def test_what_is_drawn():
    data = axnn_data(FOUND, title="net, data")
    assert data.accuracy_exact == 96
    ax = axnn(data)
    assert ax.get_title() == "net, data"
    assert {text.get_text() for text in ax.texts} == {"0.5 %", "7.5 %"}
    low, high = ax.get_ylim()
    assert 40 < low < 96 - 7.5
    assert 96 < high < 100
    assert axnn_png(data).startswith(b"\x89PNG")


def test_bounds_at_one_place_have_one_label():
    bounds = FOUND.bounds.assign(energy_rel=0.7, accuracy=0.9)
    ax = axnn(axnn_data(SimpleNamespace(attempts=FOUND.attempts, bounds=bounds), title=""))
    assert [text.get_text() for text in ax.texts] == ["0.5, 7.5 %"]


def test_no_attempt_was_kept():
    attempts = FOUND.attempts.assign(is_accepted=False)
    assert axnn_png(axnn_data(SimpleNamespace(attempts=attempts, bounds=FOUND.bounds), title="")).startswith(b"\x89PNG")

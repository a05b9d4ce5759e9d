"""dse.reporting.static: a picture is made without touching matplotlib's global state."""

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from dse.reporting.data import FrontData
from dse.reporting.static import front, front_png


@pytest.fixture
def data():
    lost = np.array([8.0, 1.0, 0.0])
    return FrontData(
        title="net",
        energy_saved_pct=np.array([60.0, 30.0, 0.0]),
        accuracy_lost_points=lost,
        lost_low=lost - 1,
        lost_high=lost + 1,
        is_exact=np.array([False, False, True]),
        dominated_saved_pct=np.array([20.0, 40.0]),
        dominated_lost_points=np.array([3.0, 90.0]),
        n_images_report=100,
    )


def test_png(data):
    had = "matplotlib.pyplot" in sys.modules
    assert front_png(data).startswith(b"\x89PNG")
    assert ("matplotlib.pyplot" in sys.modules) == had


def test_axes_show_the_front_and_cut_collapsed_designs(data):
    ax = front(data)
    bottom, top = ax.get_ylim()
    assert bottom > top
    assert 9 < bottom < 30
    assert "saved" in ax.get_xlabel()
    assert len(ax.get_legend().get_texts()) == 3


def test_draws_where_it_is_told(data):
    ax = Figure().add_subplot()
    assert front(data, ax) is ax

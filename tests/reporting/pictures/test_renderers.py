"""dse.reporting.pictures: pictures are made without touching matplotlib's global state."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from dse.reporting.data import FinetunedData, FrontData, PointsData, PredictionData, ToleranceData
from dse.reporting.pictures.finetuned import finetuned, finetuned_png
from dse.reporting.pictures.front import front, front_png
from dse.reporting.pictures.points import points, points_png
from dse.reporting.pictures.predictions import predictions, predictions_png
from dse.reporting.pictures.tolerances import tolerances, tolerances_png


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
        other_saved_pct=np.array([20.0, 40.0]),
        other_lost_points=np.array([3.0, 90.0]),
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


@pytest.fixture
def tolerance_data():
    return ToleranceData(
        title="net",
        layers=("a", "b", "c"),
        coefficients=np.array([0.1, 1.0]),
        sigma=np.array([[0.1, 0.2, 0.0], [0.3, 0.5, 0.1]]),
        is_saturated=np.array([[False, False, False], [False, True, False]]),
        accuracy_lost_points=np.array([0.5, 3.25]),
    )


def test_tolerances_have_a_panel_a_coefficient_and_hatched_bars(tolerance_data):
    assert tolerances_png(tolerance_data).startswith(b"\x89PNG")
    panels = tolerances(tolerance_data).axes
    assert [panel.get_title(loc="left") for panel in panels] == [
        "coefficient 0.1, 0.50 points lost under noise", "coefficient 1, 3.25 points lost under noise",
    ]  # fmt: skip
    bars = {round(bar.get_x() + bar.get_width() / 2): bar for bar in panels[1].patches}
    assert [bars[i].get_height() for i in range(3)] == [0.3, 0.5, 0.1]
    assert [bool(bars[i].get_hatch()) for i in range(3)] == [False, True, False]
    assert [label.get_text() for label in panels[1].get_xticklabels()] == ["a", "b", "c"]


def test_predictions_are_drawn_with_their_figures():
    points = np.array([0.0, 1.0, 5.0, 30.0])
    data = PredictionData("net", points, points / 4, points + 1, points == 0, 0.98, 0.9, 100)
    ax = predictions(data)
    assert "0.980" in ax.get_title()
    assert "90 %" in ax.get_title()
    assert ax.get_xlim()[1] > 30
    assert predictions_png(data).startswith(b"\x89PNG")
    nothing = PredictionData("net", points[:0], points[:0], points[:0], points[:0] == 0, np.nan, np.nan, 100)
    assert predictions_png(nothing).startswith(b"\x89PNG")


@pytest.fixture
def points_data(data):
    lost = np.array([0.5, 12.0])
    return PointsData(
        title="net",
        names=("a", "b"),
        front=data,
        energy_saved_pct=np.array([25.0, 58.0]),
        accuracy_lost_points=lost,
        lost_low=lost - 1,
        lost_high=lost + 1,
        price_pct=np.array([1.0, np.nan]),
    )


def test_operating_points_lie_on_the_front_with_their_numbers(points_data):
    assert points_png(points_data).startswith(b"\x89PNG")
    ax = points(points_data)
    assert [text.get_text() for text in ax.texts] == ["0", "1"]
    assert len(ax.get_legend().get_texts()) == 4
    assert "2 multipliers: a, b" in ax.get_title()
    bottom, top = ax.get_ylim()
    assert bottom > 13 > -0.5 > top


def test_operating_points_of_a_run_without_a_front(points_data):
    ax = points(replace(points_data, front=None))
    assert "the run has no front yet" in ax.get_title()
    assert len(ax.get_legend().get_texts()) == 1
    bottom, top = ax.get_ylim()
    assert bottom > top
    where = Figure().add_subplot()
    assert points(points_data, where) is where


def test_fine_tuned_points_are_at_the_end_of_arrows():
    before, after = np.array([8.0, 1.0]), np.array([2.0, 1.5])
    data = FinetunedData("net", np.array([60.0, 30.0]), before, after, after - 1, after + 1, 450)
    assert finetuned_png(data).startswith(b"\x89PNG")
    ax = finetuned(data)
    arrows = [(text.xyann, text.xy) for text in ax.texts]
    assert arrows == [((60.0, 8.0), (60.0, 2.0)), ((30.0, 1.0), (30.0, 1.5))]
    bottom, top = ax.get_ylim()
    assert bottom > top
    assert "450 images" in ax.get_ylabel()
    assert len(ax.get_legend().get_texts()) == 3
    where = Figure().add_subplot()
    assert finetuned(data, where) is where


def test_collapsed_points_of_a_front_are_cut_off(data):
    lost = np.array([88.0, 1.0, 0.0])
    collapsed = replace(data, accuracy_lost_points=lost, lost_low=lost - 1, lost_high=lost + 1)
    assert 15 <= front(collapsed).get_ylim()[0] < 17


def test_a_front_of_the_exact_network_alone_has_one_entry(data):
    alone = {name: getattr(data, name)[2:] for name in FRONT_COLUMNS}
    ax = front(replace(data, **alone, other_saved_pct=np.empty(0), other_lost_points=np.empty(0)))
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["exact network, report images, 95 % interval"]


FRONT_COLUMNS = ("energy_saved_pct", "accuracy_lost_points", "lost_low", "lost_high", "is_exact")


def test_small_tolerances_are_seen_beside_large_ones(tolerance_data):
    assert tolerances(tolerance_data).axes[0].get_yscale() == "linear"
    wide = replace(tolerance_data, sigma=np.array([[0.001, 0.2, 0.0], [0.3, 0.5, 0.1]]))
    for panel in tolerances(wide).axes:
        assert panel.get_yscale() == "symlog"
        bottom, top = panel.transData.transform([[0, 0], [0, 0.001]])[:, 1]
        assert top - bottom > 0.05 * panel.bbox.height
    long = replace(tolerance_data, layers=("a", "b", "n" * 300))
    assert tolerances(long).get_figheight() > tolerances(tolerance_data).get_figheight()


def test_predictions_that_nothing_is_known_of_say_so():
    points = np.array([0.0, 1.0])
    few = PredictionData("net", points, points, points, points >= 0, np.nan, np.nan, 100)
    ax = predictions(few)
    assert ax.get_title() == "net\ntoo few designs to judge by"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["before anything was measured"]

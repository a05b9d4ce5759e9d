"""dse.reporting.pictures.front: several fronts over each other."""

import numpy as np
import pytest

from dse.reporting.data import FrontData
from dse.reporting.pictures.front import FrontsPicture, LabeledFront, front_table, fronts, fronts_table


def front_of(saved, lost):
    saved, lost = np.array(saved, float), np.array(lost, float)
    nothing = np.empty(0)
    return FrontData("net", saved, lost, lost - 1, lost + 1, saved == 0, nothing, nothing, 100)


@pytest.fixture
def picture():
    first, second = front_of([60, 30, 10, 0], [8, 1, 2, 0]), front_of([90, 0], [80, 0])
    return FrontsPicture(
        "net", (LabeledFront("a", 0, first), LabeledFront("a", 0, second), LabeledFront("b", 1, second))
    )


def test_groups_look_alike_and_are_named_once(picture):
    ax = fronts(picture)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a (2 runs)", "b"]
    colors = [line.get_color() for line in ax.lines if len(line.get_xdata()) > 0]
    assert len(set(colors[:4])) == 1
    assert colors[4] != colors[0]


def test_collapsed_networks_are_cut_off(picture):
    assert fronts(picture).get_ylim()[0] == 10
    assert fronts(picture).yaxis_inverted()


def test_the_line_joins_what_is_not_beaten(picture):
    line = next(line for line in fronts(picture).lines if len(line.get_xdata()) > 4)
    places = {(float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)}
    assert {(60, 8), (30, 1), (0, 0)} <= places
    assert (10, 2) not in places


def test_tables(picture):
    assert len(front_table(picture.fronts[0].front)) == 4
    table = fronts_table(picture)
    assert table["front"].tolist() == [0] * 4 + [1] * 2 + [2] * 2
    assert table["group"].tolist() == ["a"] * 6 + ["b"] * 2

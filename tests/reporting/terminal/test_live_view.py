"""dse.reporting.terminal.live_view: a search as lines of text."""

import time
from dataclasses import replace

import numpy as np
import pytest

from dse.reporting.terminal.live_view import (
    ASCII,
    AXIS_WIDTH,
    DEEPEST_POINTS,
    MIN_HEIGHT,
    MIN_WIDTH,
    UNICODE,
    LiveData,
    designs_data,
    live_lines,
    lost_limits,
    plot_lines,
    saved_limits,
    sparkline,
)
from dse.runs.loop import Progress

F = np.array([[1.0, 0.05], [0.5, 0.06], [0.7, 0.08], [0.3, 0.15], [np.nan, np.nan], [0.2, 0.9]])


def data_of(F, **changes):
    saved, lost, is_front, is_exact = designs_data(Progress(F=F))
    data = LiveData("net on data", "searching", saved, lost, is_front, is_exact, np.array([0.5, 0.7, 0.8]))
    return replace(data, **changes)


@pytest.fixture
def data():
    numbers = {"n_gen": 3, "n_generations": 10, "n_eval": 1234, "n_images": 56789, "rate_images_s": 4321.0}
    return data_of(F, **numbers, n_left=7, time_s=75.0, left_s=30.0, best_saved_pct=50.0, floor_pct=94.0)


def test_designs():
    saved, lost, is_front, is_exact = designs_data(Progress(F=F))
    np.testing.assert_allclose(saved, [0, 50, 30, 70, 80])
    np.testing.assert_allclose(lost, [0, 1, 3, 10, 85])
    assert is_front.tolist() == [True, True, False, True, True]
    assert is_exact.tolist() == [True, False, False, False, False]
    assert [len(each) for each in designs_data(Progress())] == [0, 0, 0, 0]


def test_a_third_objective_counts_for_the_front():
    memory = np.array([1.0, 1.0, 0.5, 1.0, 1.0, 1.0])
    assert designs_data(Progress(F=np.column_stack([F, memory])))[2].tolist() == [True] * 5


@pytest.mark.parametrize("glyphs", [UNICODE, ASCII])
@pytest.mark.parametrize(("width", "height"), [(MIN_WIDTH, MIN_HEIGHT), (80, 24), (200, 60)])
def test_lines_fit(data, width, height, glyphs):
    for each in (data, data_of(np.empty((0, 2)), hypervolume=np.empty(0)), data_of(F[:1])):
        lines = live_lines(each, width=width, height=height, glyphs=glyphs)
        assert len(lines) == height
        assert max(map(len, lines)) <= width
        assert glyphs is UNICODE or "".join(lines).isascii()


def test_the_head_tells_where_the_search_stands(data):
    assert live_lines(data, width=100, height=20)[:5] == [
        "net on data",
        "searching: generation 3/10, 1,234 evaluations, 7 to do",
        "56,789 images simulated, 4,321 a second; 1 min 15 s so far, about 30 s left",
        "hypervolume 0.8000 ▁▆█",
        "energy saved at accuracy 94.0 %: 50.0 %",
    ]
    unknown = replace(data, n_generations=None, n_evaluations=2000, rate_images_s=np.nan, left_s=None, n_left=0)
    assert live_lines(unknown, width=100, height=20)[1:3] == [
        "searching: generation 3, 1,234/2,000 evaluations",
        "56,789 images simulated; 1 min 15 s so far",
    ]
    assert live_lines(replace(data, best_saved_pct=np.nan), width=100, height=20)[4].endswith(": none yet")


def test_places_on_the_plot(data):
    lines = plot_lines(data, width=AXIS_WIDTH + 1 + 81, height=3 + 26)
    rows = [line[AXIS_WIDTH:].ljust(81) for line in lines[1:-2]]
    bottom = lost_limits(data)[1]
    assert (saved_limits(data), bottom) == ((0.0, 80.0), DEEPEST_POINTS)
    found = {(r, c): cell for r, row in enumerate(rows) for c, cell in enumerate(row) if cell != " "}
    expected = {(0, 0): "◆", (1, 50): "●", (3, 30): "·", (10, 70): "●"}  # 1 % a column; the deepest is not drawn
    assert found == {(round(points * 25 / bottom), saved): glyph for (points, saved), glyph in expected.items()}
    assert lines[-1].split() == [str(n) for n in range(0, 81, 10)]
    assert [line.split("│")[0].strip() for line in lines[1:6]] == ["0.0", "", "", "", "2.4"]


def test_the_legend_counts(data):
    assert live_lines(data, width=80, height=20)[-1] == "● front 4  · dominated 1 (1 below)  ◆ exact network"


def test_limits():
    assert lost_limits(data_of(F[:1])) == (0.0, 1.0)
    better = np.array([[1.0, 0.05], [0.5, 0.03]])
    np.testing.assert_allclose(lost_limits(data_of(better)), (-2.0, 0.0), atol=1e-12)
    dearer = np.array([[1.0, 0.05], [1.05, 0.03]])
    assert saved_limits(data_of(dearer)) == (-10.0, 10.0)


def test_sparkline():
    assert sparkline([], width=5) == ""
    assert sparkline([2.0, 2.0], width=5) == "▁▁"
    assert sparkline(np.arange(100), width=5) == "▁▃▅▆█"
    assert sparkline([0, 1], width=5, glyphs=ASCII) == "_@"


def test_ten_thousand_designs_are_drawn_at_once():
    rng = np.random.default_rng(0)
    data = data_of(rng.random((10_000, 2)), hypervolume=rng.random(500))
    begin = time.perf_counter()
    live_lines(data, width=120, height=40)
    assert time.perf_counter() - begin < 0.5

"""dse.reporting.terminal.operating_points: what people see while operating points are chosen, and afterwards."""

import io
import json
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

from dse.config import parse_config
from dse.reporting.terminal import live_line, operating_points
from dse.reporting.terminal.operating_points import PointsWatch, points_summary, print_points, start_lines
from dse.runs.operating_points import PointsStart, choose_operating_points
from dse.runs.point_set import PointSettings
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes

START = PointsStart(
    path="points", run="run", network="net", dataset="data", method="search", n_multipliers=3, n_points=2, n_layers=4,
    n_library=5, n_images_search=200, n_images_report=100, n_journaled=7, jobs=2, threads=1, notes=("a note",),
)  # fmt: skip


@pytest.fixture
def points(monkeypatch, tmp_path):
    use_fakes(monkeypatch, FakeEvaluator())
    explored = run(parse_config("[search]\npopulation_size = 6\ngenerations = 2"), tmp_path)
    return choose_operating_points(explored.path, PointSettings(3, 2, "enumerate", max_loss=(3.0, 20.0)))


def test_start_says_what_where_and_how_much_is_known():
    lines = start_lines(START)
    assert lines[0] == "directory points"
    assert "2 operating points over 3 of 5 multipliers by search: net on data, 4 layers, 200 search" in lines[1]
    assert lines[1].endswith("100 report images of run, 2 jobs x 1 threads")
    assert lines[2:] == ["a note", "continuing: 7 evaluations are in the journal"]
    assert len(start_lines(replace(START, n_journaled=0, notes=()))) == 2


def test_without_a_terminal_there_is_a_line_a_stage(capsys, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(live_line.time, "monotonic", lambda: clock[0])
    with PointsWatch() as watch:
        watch.on_start(START)
        watch.on_learning(1, 30)
        watch.on_learning(2, 30)
        for number in range(3):
            watch.on_stage("searching", f"generation {number}")
            watch.on_evaluation(5)
        clock[0] = 100.0
        watch.on_evaluation(4)
        watch.on_stage("searching", "generation 3")
        watch.on_stage("measuring")
    out, err = capsys.readouterr()
    assert out == ""
    learning, *searching, measuring = err.splitlines()[4:]
    assert (learning, measuring) == ("learning tolerances in 30 steps", "measuring")
    assert searching == ["searching: generation 0", "searching: generation 2, 4 to simulate"]


def test_at_a_terminal_there_is_a_live_line(monkeypatch):
    console = Console(file=io.StringIO(), force_terminal=True, width=150)
    monkeypatch.setattr(operating_points, "make_console", lambda *, to_stderr: console)
    with PointsWatch() as watch:
        watch.on_start(START)
        watch.on_learning(1, 30)
        watch.on_stage("searching", "generation 1")
        watch.on_evaluation(9)
        watch._line._bar.refresh()
    assert "searching: generation 1, 9 to simulate" in console.file.getvalue()


def test_points_are_printed_as_asked(points, capsys):
    print_points(points, "table")
    out, err = capsys.readouterr()
    assert f"2 points over {', '.join(points.multipliers)}" in out
    assert "operating_points.csv, drawn in operating_points.png" in err
    print_points(points, "csv")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(capsys.readouterr().out)), points.table)
    print_points(points, "json")
    assert [row["point"] for row in json.loads(capsys.readouterr().out)] == [0, 1]


def test_summary_has_the_price_of_sharing(points):
    summary = points_summary(points)
    assert summary["point"].tolist() == [0, 1]
    assert (summary["front saves more %"] != "").any()
    failed = replace(points, table=points.table.assign(accuracy=[float("nan"), points.table["accuracy"][1]]))
    assert points_summary(failed)["front saves more %"].tolist()[0] == ""
    (points.run_path / "front.csv").unlink()
    assert points_summary(points)["front saves more %"].tolist() == ["", ""]

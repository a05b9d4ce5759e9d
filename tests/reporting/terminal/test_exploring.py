"""dse.reporting.terminal.exploring: lines of progress."""

from dataclasses import replace

import pytest

from dse.reporting.terminal.exploring import Watch, progress_text, seconds_left
from dse.runs.loop import Progress, Start

START = Start("runs/x", "net", "data", 5, 1000, 30, 10, 10, n_generations=10, n_evaluations=None, n_journaled=7,
              jobs=1, threads=2)  # fmt: skip


def test_progress_tells_all_that_matters():
    progress = Progress(n_gen=5, n_eval=40, hypervolume=0.7, best_energy_rel=0.6, accuracy_floor=0.9, time_s=30.0)
    text = progress_text(progress, START)
    assert text == (
        "generation 5/10, 40 evaluations, hypervolume 0.7000, energy saved at accuracy 90.0 %: 40.0 %, about 30 s left"
    )


@pytest.mark.parametrize(("n_gen", "expected"), [(0, None), (1, 90.0), (10, 0.0)])
def test_time_left(n_gen, expected):
    assert seconds_left(Progress(n_gen=n_gen, time_s=10.0), START) == expected


def test_time_left_of_a_budget_counts_images():
    start = replace(START, n_generations=None, n_evaluations=40)
    assert seconds_left(Progress(n_eval=35, n_images=100, time_s=10.0), start) == 30.0


def test_watch_prints_lines_where_there_is_no_terminal(capsys):
    with Watch() as watch:
        watch.on_start(START)
        watch.on_generation(Progress(n_gen=1, time_s=1.0))
        watch.on_evaluation(Progress(phase="report"))
        watch.on_evaluation(Progress(phase="report"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "continuing: 7 evaluations" in err
    assert err.count("measuring the front") == 1
    assert "\r" not in err

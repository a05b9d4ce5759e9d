"""dse.reporting.terminal: lines of progress, and tables."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dse.reporting.terminal import (
    PLAIN_WIDTH,
    SweepWatch,
    Watch,
    count_names,
    print_table,
    progress_text,
    seconds_left,
    tolerances_summary,
)
from dse.runs.loop import Progress, Start
from dse.runs.tolerance_sweep import SweepStart
from dse.testing.tiny import tiny_tolerances

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


def test_names_are_counted():
    assert count_names("a;b;b") == "b (2), a (1)"


def test_piped_tables_hold_everything(capsys):
    table = pd.DataFrame({"name": ["x" * 300], "value": [1 / 3]})
    print_table(table, "csv")
    assert "x" * 300 + ",0.3333333333333333" in capsys.readouterr().out
    print_table(table, "json")
    assert '"value": 0.333333333333333' in capsys.readouterr().out
    print_table(table, "table")
    assert max(map(len, capsys.readouterr().out.splitlines())) <= PLAIN_WIDTH


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

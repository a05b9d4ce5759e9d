"""dse.reporting.terminal: lines of progress, and tables."""

from dataclasses import replace

import pandas as pd
import pytest

from dse.reporting.terminal import PLAIN_WIDTH, Watch, count_names, print_table, progress_text, seconds_left
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

"""dse.reporting.terminal.finetuning: progress and tables of fine-tuning."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from dse.reporting.terminal import finetuning
from dse.reporting.terminal.finetuning import FinetuneWatch, finetuned_summary, print_finetuned, start_lines
from dse.reporting.terminal.live_line import LiveLine
from dse.runs.finetuned import FinetunedPoints, FinetuneOptions
from dse.runs.finetuning import FinetuneStart

START = FinetuneStart("run/finetuned", "run", "net", "data", 5, 900, 400, 450, 3, 1, 2, 4)

TABLE = pd.DataFrame(
    {
        "name": ["point_3", "row_0"],
        "point": pd.array([3, None], dtype="Int64"),
        "energy_saved_pct": [60.123, 30.0],
        "accuracy_untuned": [0.91, 0.95],
        "accuracy": [0.955, 0.96],
        "accuracy_low": [0.94, 0.95],
        "accuracy_high": [0.965, 0.97],
        "accuracy_exact": [0.96, 0.96],
        "best_epoch": [2, 0],
        "epochs": [3, 3],
        "assignment": ["a;b;b", "a;a;a"],
    }
)


def test_start_says_what_and_on_how_many_images():
    lines = start_lines(START)
    assert lines == [
        "directory run/finetuned",
        "net on data: 5 layers, 900 training, 400 validation and 450 report images of run, 2 epochs, 4 threads",
        "3 to fine-tune, 1 of them finished",
    ]
    assert start_lines(replace(START, n_finished=0))[-1] == "3 to fine-tune"
    assert start_lines(replace(START, device="cuda:1"))[1].endswith("2 epochs, 4 threads on cuda:1")


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(finetuning.time, "monotonic", lambda: now[0])
    return now


def test_progress_and_time_left(clock):
    texts, console = [], Console(file=io.StringIO(), width=150)
    line = LiveLine(console)
    line.update = lambda text, **_: texts.append(text)
    watch = FinetuneWatch(line)
    watch.on_start(START)
    watch.on_job("point_1", 1)
    watch.on_epoch(0, (0.5,))
    watch.on_step(1, 10, 2.5)
    assert texts[-1] == "point_1: epoch 1 of 2, loss 2.5000, step 1 of 10, 50.00 % of validation images"
    for k in range(2, 11):
        clock[0] += 2
        watch.on_step(k, 10, 1.5)
    assert texts[-1].startswith("point_1: about 20 s left, epoch 2 of 2, loss 1.5000, step 10 of 10")
    watch.on_result("point_1", 0.5, 0.75, 20.0)
    watch.on_job("points", 0)
    watch.on_epoch(3, (0.25, 0.5))
    clock[0] += 1000
    watch.on_step(6, 10, 1.0)  # continued after 5 steps
    assert texts[-1].startswith("points: about 8 s left")
    assert texts[-1].endswith("25.00, 50.00 % of validation images")
    printed = console.file.getvalue()
    assert "point_1: 50.00 % of validation images before learning" in printed
    assert "points: 25.00, 50.00 % of validation images after epoch 3" in printed
    assert "point_1: 50.00 to 75.00 % of the report images in 20 s" in printed


def test_summary():
    summary = finetuned_summary(TABLE)
    assert summary["point"].tolist() == ["3", "row_0"]
    assert summary["untuned %"].tolist() == ["91.00", "95.00"]
    assert summary["lost untuned (points)"].tolist() == ["5.00", "1.00"]
    assert summary["lost tuned"].tolist() == ["0.50", "0.00"]
    assert summary["best epoch"].tolist() == ["2 of 3", "0 of 3"]
    assert summary["multipliers (layers)"].tolist() == ["b (2), a (1)", "a (3)"]
    assert "private parameters %" not in summary
    assert finetuned_summary(TABLE.assign(overhead_pct=2.75))["private parameters %"].tolist() == ["2.75", "2.75"]


def test_printed_as_asked(capsys):
    found = FinetunedPoints(Path("run/finetuned"), Path("run"), FinetuneOptions(), TABLE)
    print_finetuned(found, "table")
    out, err = capsys.readouterr()
    assert "2 fine-tuned points" in out
    assert "finetuned.csv, drawn in finetuned.png" in err
    print_finetuned(found, "csv")
    assert pd.read_csv(io.StringIO(capsys.readouterr().out))["accuracy"].tolist() == [0.955, 0.96]
    print_finetuned(found, "json")
    assert [row["point"] for row in json.loads(capsys.readouterr().out)] == [3, None]

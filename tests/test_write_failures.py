"""Every write of every command may fail: one line that says so, and the repeated command loses nothing."""

import os
import sys
from pathlib import Path

import pandas as pd
import pytest

from dse import cli
from dse.recovery import finetuning
from dse.robustness import learning
from dse.runs.journal import read_journal
from dse.testing.fakes import FakeEvaluator, use_fakes
from dse.testing.faults import KINDS, Died, Faults

EXPLORE = ["explore", "--population-size", "8", "--generations", "3", "--out", "one"]
POINTS = ["operating-points", "one", "--multipliers", "3", "--points", "2", "--scales", "0.5,3"]
RUN = [
    "explore", "--population-size", "4", "--generations", "1", "--images", "40", "--report-images", "40", "--plain",
    "--threads", "1", "--calibration-images", "32", "--out", "one",
]  # fmt: skip
TUNE = [
    "finetune", "one", "--points", "0", "--epochs", "1", "--batch-size", "16", "--training-images", "32",
    "--validation-images", "20", "--no-reconstruction",
]  # fmt: skip
TOLERANCES = [
    "tolerances", "--method", "trained", "--coefficients", "0.1,0.3", "--epochs", "1", "--batch-size", "16",
    "--training-images", "64", "--calibration-images", "64", "--out", "one",
]  # fmt: skip
AXNN = [
    "axnn", "--bounds", "50", "--levels", "4", "--group-share", "1", "--smallest-share", "0.6", "--epochs", "1",
    "--training-images", "32", "--validation-images", "20", "--report-images", "20", "--calibration-images", "32",
    "--threads", "1", "--out", "one",
]  # fmt: skip


@pytest.fixture(autouse=True)
def quick_pictures(monkeypatch):
    from dse.reporting.pictures import finetuned, front, points, predictions, tolerances

    for module in (finetuned, front, points, predictions, tolerances):
        monkeypatch.setattr(module, f"{module.__name__.rpartition('.')[2]}_png", lambda *_, **__: b"picture")


@pytest.fixture
def dse(monkeypatch, capsys, tmp_path):
    """Runs a command in a folder of its own, with or without a fault; returns exit code and errors."""

    def call(folder, *arguments, faults=None):
        (tmp_path / folder).mkdir(exist_ok=True)
        monkeypatch.chdir(tmp_path / folder)
        monkeypatch.setattr(sys, "argv", ["dse", *arguments])
        faults = faults or Faults(Path("one"))
        with pytest.raises((SystemExit, Died)) as ended, faults.happening():
            cli.main()
        code = -9 if ended.type is Died else ended.value.code
        return code, [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")], faults

    return call


def n_journaled():
    return {path: len(read_journal(path)) for path in Path("one").rglob("*.jsonl")}


def measured_twice():
    """What was measured again, although a journal had it."""
    twice = []
    for path in Path("one").rglob("*.jsonl"):
        keys = [(*e.key, e.n_images) for e in read_journal(path) if e.state != "raced"]
        twice += [key for key in keys if keys.count(key) > 1]
    return twice


def fails_and_continues(dse, folder, command, results, *, at, kind):
    """One fault, then the command again; both are compared with the folder `whole`."""
    code, errors, faults = dse(folder, *command, faults=Faults(Path("one"), at, kind))
    if faults.failed:
        assert (code, len(errors)) == ((-9, 0) if kind == "torn" else (2, 1)), (faults.failed, errors)
    before = n_journaled()
    code, errors, _ = dse(folder, *command)
    assert (code, errors) == (0, []), faults.failed
    assert all(len(read_journal(path)) >= n for path, n in before.items())
    assert not measured_twice()
    for name in results:
        same = (Path("one") / name).read_bytes() == (Path("../whole/one") / name).read_bytes()
        assert same, f"{name} after {faults.failed}"


def places(n_operations, n_cases):
    return [round(i * (n_operations - 1) / max(n_cases - 1, 1)) for i in range(n_cases)]


@pytest.mark.parametrize("kind", KINDS)
def test_explore_and_operating_points(dse, monkeypatch, kind):
    use_fakes(monkeypatch, FakeEvaluator())
    _, _, clean = dse("whole", *EXPLORE)
    _, _, clean_points = dse("whole", *POINTS)
    for at in places(clean.n_done, 6):
        folder = f"{kind}{at}"
        fails_and_continues(dse, folder, EXPLORE, ["front.csv", "evaluations.jsonl"], at=at, kind=kind)
    (table,) = (path.relative_to("../whole/one") for path in Path("../whole/one").rglob("operating_points.csv"))
    for at in places(clean_points.n_done, 2):
        folder = f"points{kind}{at}"
        dse(folder, *EXPLORE)
        fails_and_continues(dse, folder, POINTS, [table], at=at, kind=kind)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["full", "permission"])
def test_finetune(dse, monkeypatch, kind):
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    dse("whole", *RUN)
    _, _, clean = dse("whole", *TUNE)
    for at in places(clean.n_done, 4):
        dse(f"{kind}{at}", *RUN)
        fails_and_continues(dse, f"{kind}{at}", TUNE, ["finetuned/point_0.npz"], at=at, kind=kind)


@pytest.mark.parametrize("kind", ["full", "device"])
def test_tolerances(dse, monkeypatch, kind):
    monkeypatch.setattr(learning, "CHECKPOINT_STEPS", 1)
    _, _, clean = dse("whole", *TOLERANCES)
    for at in places(clean.n_done, 3):
        fails_and_continues(dse, f"{kind}{at}", TOLERANCES, ["tolerances.csv"], at=at, kind=kind)


@pytest.mark.slow
def test_axnn(dse):
    _, _, clean = dse("whole", *AXNN)
    for at in places(clean.n_done, 4):
        fails_and_continues(dse, f"at{at}", AXNN, ["neurons.csv", "bound_50.npz"], at=at, kind="full")


@pytest.mark.slow
def test_sweep(dse, monkeypatch, tmp_path):
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    sweep = ["sweep", "../sweep.toml", "--out", "one"]
    (tmp_path / "sweep.toml").write_text(
        "[search]\npopulation_size = 4\ngenerations = 1\ninitial = 'random'\nsurrogate = false\n"
        "[data]\nimages = 20\nreport_images = 20\n[execution]\nthreads = 1\n[sweep]\nsearch.seed = [0]\n"
    )
    code, errors, clean = dse("whole", *sweep)
    assert (code, errors) == (0, [])
    for at in places(clean.n_done, 3):
        fails_and_continues(dse, f"at{at}", sweep, ["seed_0/front.csv"], at=at, kind="full")
    assert list(pd.read_csv("one/sweep.csv")["name"]) == ["seed_0"]

"""dse compare: what people and programs read."""

import io
import json
from functools import partial

import pandas as pd
import pytest

from dse.config import parse_config
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes
from tests.runs.conftest import written_front


@pytest.fixture
def command(dse, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    use_fakes(monkeypatch, FakeEvaluator())
    for name, generations in (("long", 4), ("short", 1)):
        for seed in (0, 1):
            plain = "initial = 'random'\nsurrogate = false\nracing = false"
            text = f"[search]\npopulation_size = 6\nseed = {seed}\ngenerations = {generations}\n{plain}"
            run(parse_config(text), tmp_path / name / f"s{seed}")
    return partial(dse, "compare")


def test_tables_for_people(command):
    code, out, err = command("long", "short", "--losses", "1,3")
    assert code == 0
    assert "median (quartiles) of 4 runs" in out
    assert "saved % at 1 point " in out
    assert "saved % at 3 points" in out
    assert "too few seeds" in out
    assert "which saves more energy at which loss (0 to 10 points)" in out
    assert "the smallest possible p is 0.33" in err
    assert command("long", "short", "--baseline", "short")[0] == 0
    assert "on the 200 report images, of which one is 0.5 points" in err
    assert "settings that differ: long: generations 4; short: generations 1" in err


def test_one_run_has_no_quartiles(command):
    code, out, _ = command("long/s0")
    assert code == 0
    assert "figures of 1 run" in out
    assert "(" not in out.splitlines()[4]
    assert "which saves" not in out


def test_programs_read_csv_and_json(command):
    code, out, _ = command("long", "short", "--format", "csv")
    assert code == 0
    assert pd.read_csv(io.StringIO(out))["n_runs"].tolist() == [2, 2]
    _, out, _ = command("long", "short", "--format", "csv", "--table", "ahead")
    assert {"loss_from", "loss_to", "ahead"} <= set(pd.read_csv(io.StringIO(out)).columns)
    _, out, _ = command("long", "short", "--format", "json")
    tables = json.loads(out)
    assert set(tables) == {"groups", "runs", "tests", "ahead", "standings", "notes"}
    assert len(tables["runs"]) == 4


def test_three_objectives(command, tmp_path):
    columns = {"energy_rel": [0.5, 1.0], "accuracy": [0.9, 0.9], "memory_rel": [0.8, 1.0]}
    for seed in (0, 1):
        written_front(tmp_path / "three" / f"{seed}", columns)
    code, out, err = command("three", "--losses", "1", "--format", "csv", "--table", "runs")
    table = pd.read_csv(io.StringIO(out))
    assert table["memory_saved_at_1_pct"].tolist() == pytest.approx([20, 20])
    code, out, err = command("three", "--losses", "1")
    told = " ".join(out.replace("┃", " ").split())
    assert code == 0
    assert "energy saved" in told
    assert "memory saved" in told
    assert "hypervolume: volume that a front dominates up to energy 1.1 (exact = 1), a share of 1 of the images" in err
    assert "memory 1.1 (int8 without pruning = 1)" in err
    assert "may be those of different points" in err
    code, out, err = command("three", "long")
    assert "memory saved" not in out
    assert "memory is an objective of 2 of 4 runs" in err
    code, out, err = command.func("collect", "three")
    assert (code, "memory saved" in out) == (0, True)
    assert "hypervolume: of energy, accuracy and memory" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("absent",), "error: absent is not a directory"),
        (("long", "--losses", "a"), "error: --losses a: expected numbers"),
        (("long", "--losses", "1,1"), "error: losses [1.0, 1.0]: expected different"),
    ],
)
def test_errors_are_lines(command, arguments, message):
    code, out, err = command(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)

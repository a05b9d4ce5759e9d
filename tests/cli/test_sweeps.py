"""dse.cli.sweeps and dse.api.sweeps: many runs from a file to tables and a picture."""

import io
import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import dse
from dse.api import sweeps as api_sweeps
from dse.runs import sweep_execution
from dse.runs.runner import run
from dse.runs.store import RunDirectory, RunLock
from dse.runs.sweep_folder import SweepFolder
from dse.runs.sweep_plan import parse_plan
from dse.testing.fakes import FakeEvaluator, use_fakes

SWEEP = """
[search]
population_size = 8
generations = 2
[sweep]
search.seed = [0, 1]
search.method = ["nsga2", "random"]
"""
TOUCH = "import os, sys; os.makedirs(sys.argv[1]); open(sys.argv[1] + '/front.csv', 'w').write('point')"
FAIL = "import sys; sys.exit('error: no such network')"


@pytest.fixture
def command(dse, monkeypatch, tmp_path):
    """Runs the command in `tmp_path`; returns exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "seeds.toml").write_text(SWEEP)
    return dse


@pytest.fixture
def stand_in(monkeypatch):
    """Makes every run execute some Python instead."""

    def make(code):
        def explore_command(folder, name):
            return [sys.executable, "-S", "-E", "-c", code, str(folder.run(name).path)]

        monkeypatch.setattr(sweep_execution.run_locally, "__kwdefaults__", dict(
            sweep_execution.run_locally.__kwdefaults__, command=explore_command))  # fmt: skip

    return make


def test_a_sweep_its_failures_and_its_continuation(command, stand_in):
    stand_in(FAIL)
    code, out, err = command("sweep", "seeds.toml", "--jobs", "2")
    assert code == 1
    assert "4 runs: 4 failed" in out
    assert "method_nsga2-seed_1 failed: no such network" in err
    stand_in(TOUCH)
    code, out, err = command("sweep", "seeds.toml", "--format", "json")
    assert code == 0
    assert [row["state"] for row in json.loads(out)] == ["finished"] * 4
    assert "4 runs, 0 of them finished" in err
    code, _, err = command("sweep", "seeds.toml")
    assert (code, err.splitlines()[0]) == (0, "4 runs, 4 of them finished")


def test_dry_runs_leave_no_trace(command, tmp_path):
    pytest.importorskip("submitit")
    code, out, _ = command("sweep", "seeds.toml", "--dry-run")
    assert (code, out.count("-m dse explore runs/seeds/run_files/")) == (0, 4)
    code, out, _ = command("sweep", "seeds.toml", "--dry-run", "--cluster", "slurm", "--partition", "long")
    assert code == 0
    assert "#SBATCH --array=0-3%4\n" in out
    assert "#SBATCH --partition=long\n" in out
    assert "method_random-seed_1" in out
    code, out, _ = command("sweep", "seeds.toml", "--dry-run", "--cluster", "slurm", "--format", "csv")
    assert pd.read_csv(io.StringIO(out))["task"].tolist() == [0, 1, 2, 3]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["none.toml"], "cannot read sweep file none.toml"),
        (["seeds.toml", "--jobs", "0"], "jobs is 0"),
        (["seeds.toml", "--jobs", "0", "--dry-run"], "jobs is 0"),
        (["seeds.toml", "--jobs", "2", "--cluster", "slurm"], "--jobs 2 is for runs on this machine"),
        (["seeds.toml", "--jobs", "2", "--cluster", "slurm", "--dry-run"], "--jobs 2 is for runs on this machine"),
        (["seeds.toml", "--memory", "2GB"], "--memory is for clusters: add --cluster slurm"),
        (["seeds.toml", "--cluster", "pbs"], "--cluster pbs: expected slurm"),
        (["seeds.toml", "--cluster", "slurm", "--walltime", "soon"], "walltime 'soon'"),
        (["seeds.toml", "--out", "seeds.toml"], "is the sweep file itself"),
        (["seeds.toml", "--out", "."], "is not empty and holds no run"),
        (["seeds.toml", "--out", ".", "--dry-run"], "is not empty and holds no run"),
    ],
)
def test_refusals_are_one_line(command, options, message):
    code, out, err = command("sweep", *options)
    assert (code, out) == (2, "")
    assert message in err
    assert err.splitlines()[-1].startswith("error: ")


def test_a_second_sweep_on_a_directory_is_refused_naming_the_first(command, tmp_path):
    with RunLock(RunDirectory(tmp_path / "runs" / "seeds")):
        code, _, err = command("sweep", "seeds.toml")
    assert code == 2
    assert f"in use by process {os.getpid()}" in err


def test_an_interrupt_says_so(command, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(api_sweeps, "sweep", interrupted)
    code, _, err = command("sweep", "seeds.toml")
    assert code == 130
    assert "everything measured is kept" in err


@pytest.fixture
def finished(tmp_path, monkeypatch):
    """A sweep on fakes whose last run has not begun."""
    use_fakes(monkeypatch, FakeEvaluator())
    folder, plan = SweepFolder(tmp_path / "runs" / "seeds"), parse_plan(SWEEP)
    with RunLock(RunDirectory(folder.path)):
        folder.claim(plan)
    for each in plan.runs[:-1]:
        run(each.config, folder.run(each.name).path)
    return folder.path


def test_status(command, finished):
    code, out, _ = command("status", "runs/seeds")
    assert code == 0
    assert "4 runs: 3 finished, 1 waiting" in out
    code, out, _ = command("status", "runs/seeds", "--format", "csv")
    read = pd.read_csv(io.StringIO(out), keep_default_na=False)
    assert read["state"].tolist() == ["finished"] * 3 + ["waiting"]
    assert dse.status(finished)["hypervolume"].notna().tolist() == [True] * 3 + [False]
    code, _, err = command("status", "none")
    assert (code, err.startswith("error: none is not a directory")) == (2, True)


def test_collect(command, finished, tmp_path):
    code, out, err = command("collect", "runs/seeds")
    assert code == 0
    assert "median (quartiles) of 3 runs" in out
    assert "1 run is not finished" in err
    for name in ("collected.csv", "statistics.csv", "attainment.csv"):
        assert len(pd.read_csv(finished / name))
    assert (finished / "attainment.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = command("collect", "runs/seeds", "--out", "else")
    assert "see `dse status runs/seeds`" in err
    assert "all points in else/collected.csv" in err
    code, out, _ = command("collect", "runs/seeds", "--format", "csv", "--out", "else")
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(out)), pd.read_csv(tmp_path / "else" / "statistics.csv"))
    found = dse.collect(finished)
    assert found.groups == ("method",)
    assert len(found.fronts) == len(pd.read_csv(finished / "collected.csv"))


REAL = """
[data]
images = 100
report_images = 100
[search]
population_size = 6
generations = 2
initial = "random"
surrogate = false
[sweep]
search.seed = [0, 1]
"""


@pytest.mark.slow
def test_a_real_sweep_that_is_killed_goes_on(command, tmp_path):
    (tmp_path / "real.toml").write_text(REAL)
    arguments = [sys.executable, "-m", "dse", "sweep", "real.toml"]
    killed = subprocess.Popen(arguments, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    journal = tmp_path / "runs" / "real" / "seed_0" / "evaluations.jsonl"
    limit = time.monotonic() + 120
    while not journal.exists() or journal.stat().st_size == 0:
        assert time.monotonic() < limit
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    code, out, err = command("sweep", "real.toml")
    assert code == 0, err
    assert "2 runs: 2 finished" in out
    front = tmp_path / "runs" / "real" / "seed_0" / "front.csv"
    before = front.stat().st_mtime_ns
    (tmp_path / "real.toml").write_text(REAL.replace("[0, 1]", "[0, 1, 2]"))
    table = dse.sweep("real.toml", jobs=2)
    assert table["state"].tolist() == ["finished"] * 3
    assert front.stat().st_mtime_ns == before
    assert dse.collect("runs/real").statistics["n_runs"].tolist() == [3]
    code, out, _ = command("show", "runs/real/seed_2")
    assert code == 0

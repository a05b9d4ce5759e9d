"""dse.runs.sweep_execution: processes that end well, fail, are killed, or are there already."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from dse.errors import ConfigError
from dse.runs import sweep_execution
from dse.runs.store import RunDirectory, RunLock
from dse.runs.sweep_execution import SilentRuns, cpus_of, explore_command, run_locally
from dse.runs.sweep_folder import SweepFolder
from dse.runs.sweep_plan import parse_plan

DO = "import os, sys, time, signal\nout = sys.argv[1]\nos.makedirs(out, exist_ok=True)\n"
FINISH = DO + "open(out + '/front.csv', 'w').write('point')\n"
FAIL = DO + "print('loading')\nprint('error: no such network\\nbye')\nsys.exit(2)"
SILENT = DO + "sys.exit(3)"
DIE = DO + "print('half way', flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
STOP = DO + "open(out + '/resolved.toml', 'w')\nsys.exit(130)"
SLEEP = DO + "open(out + '/resolved.toml', 'w')\nprint('sleeping', flush=True)\ntime.sleep(600)"
STUBBORN = DO + "signal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen(out + '/started', 'w')\ntime.sleep(600)"


@pytest.fixture
def folder(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    with RunLock(RunDirectory(folder.path)):
        folder.claim(parse_plan("[sweep]\nsearch.seed = [0, 1, 2]"))
    return folder


NAMES = ["seed_0", "seed_1", "seed_2"]


def doing(*codes):
    """A command that does something else in each run."""
    by_name = dict(zip(NAMES, codes, strict=False))
    return lambda folder, name: [sys.executable, "-S", "-E", "-c", by_name[name], str(folder.run(name).path)]


class Log(SilentRuns):
    def __init__(self):
        self.events = []
        self.most = self.now = 0

    def on_start(self, n_runs, n_finished):
        self.events.append(("start", n_runs, n_finished))

    def on_run(self, name):
        self.now += 1
        self.most = max(self.most, self.now)
        self.events.append(("run", name))

    def on_elsewhere(self, name, holder):
        self.events.append(("elsewhere", name))

    def on_outcome(self, name, outcome):
        self.now -= 1
        self.events.append((outcome.state, name, outcome.message))


def test_one_after_another(folder):
    log = Log()
    run_locally(folder, NAMES, command=doing(FINISH, FINISH, FINISH), observer=log)
    assert log.most == 1
    assert [event[:2] for event in log.events[1:]] == [(e, n) for n in NAMES for e in ("run", "finished")]
    again = Log()
    run_locally(folder, NAMES, command=doing(FAIL, FAIL, FAIL), observer=again)
    assert again.events == [("start", 3, 3)]


def test_locks_of_waiting_runs_are_looked_at_where_one_could_begin(folder, monkeypatch):
    monkeypatch.setattr(sweep_execution, "POLL_S", 0.001)
    looked = []
    monkeypatch.setattr(sweep_execution, "lock_holder", lambda path: looked.append(path.name))
    run_locally(folder, NAMES, command=doing(FINISH, FINISH, FINISH))
    assert looked == [*NAMES, *NAMES[1:], *NAMES[2:]]


def test_a_run_that_fails_does_not_stop_the_others_and_is_tried_again(folder):
    log = Log()
    run_locally(folder, NAMES, jobs=2, command=doing(FAIL, DIE, FINISH), observer=log)
    assert [folder.state(name) for name in NAMES] == ["failed", "failed", "finished"]
    ended = {name: message for state, name, *message in log.events[1:] if state == "failed"}
    assert ended["seed_0"] == ["no such network"]
    assert ended["seed_1"] == ["killed by signal 9 (Killed) after: half way"]
    run_locally(folder, NAMES, command=doing(SILENT, STOP))
    assert folder.read_outcome("seed_0").message == "exit code 3, nothing printed"  # not the error of before
    assert folder.state("seed_1") == "interrupted"
    assert folder.log("seed_0").read_text().count("== ") == 2
    run_locally(folder, NAMES, command=doing(FINISH, FINISH))
    assert {folder.state(name) for name in NAMES} == {"finished"}


def interrupt_soon(folder, name, file="resolved.toml"):
    def wait():
        limit = time.monotonic() + 120
        while not (folder.run(name).path / file).exists() and time.monotonic() < limit:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_an_interrupt_ends_all_processes(folder):
    thread = interrupt_soon(folder, "seed_1")
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_locally(folder, NAMES, jobs=2, command=doing(SLEEP, SLEEP, FINISH))
    thread.join()
    assert time.monotonic() - begin < 300
    assert folder.state("seed_1") == "interrupted"
    assert folder.state("seed_2") == "waiting"


def test_what_does_not_end_is_killed(folder, monkeypatch):
    monkeypatch.setattr(sweep_execution, "PATIENCE_S", 0.3)
    thread = interrupt_soon(folder, "seed_0", "started")
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_locally(folder, ["seed_0"], command=doing(STUBBORN))
    thread.join()
    assert time.monotonic() - begin < 300


HOLD = """
import sys, time
from pathlib import Path
from dse.runs.store import RunDirectory, RunLock
path = Path(sys.argv[1])
with RunLock(RunDirectory(path)):
    print("held", flush=True)
    sys.stdin.readline()
    if sys.argv[2] == "finish":
        (path / "front.csv").write_text("point")
"""


@pytest.mark.parametrize(("end", "last"), [("finish", ("finished", "seed_0", "")), ("die", ("finished", "seed_0", ""))])
def test_a_run_left_over_from_a_killed_sweep_is_waited_for(folder, end, last):
    arguments = [sys.executable, "-c", HOLD, str(folder.run("seed_0").path), end]
    holder = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline() == "held\n"

    class Release(Log):
        def on_elsewhere(self, name, holder_text):
            super().on_elsewhere(name, holder_text)
            assert f"process {holder.pid}" in holder_text
            holder.stdin.write("\n")
            holder.stdin.flush()

    log = Release()
    run_locally(folder, ["seed_0"], command=doing(FINISH), observer=log)
    holder.communicate()
    assert log.events[1] == ("elsewhere", "seed_0")
    assert (("run", "seed_0") in log.events) == (end == "die")
    assert log.events[-1] == last


def test_jobs_below_one_are_refused(folder):
    with pytest.raises(ConfigError, match="jobs is 0"):
        run_locally(folder, NAMES, jobs=0)


def test_the_command_is_the_ordinary_one(folder):
    command = explore_command(folder, "seed_0")
    assert command[1:4] == ["-m", "dse", "explore"]
    assert command[4:] == [str(folder.run_file("seed_0")), "--out", str(folder.run("seed_0").path)]


@pytest.mark.parametrize(("n_slots", "expected"), [(2, [[0, 1], [2, 3]]), (3, [[0], [1], [2]]), (1, [[]])])
def test_slots_share_the_cores(monkeypatch, n_slots, expected):
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2, 3})
    assert [cpus_of(slot, n_slots) for slot in range(n_slots)] == expected
    assert cpus_of(5, 6) == [1]

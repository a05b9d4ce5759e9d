"""dse.runs.sweep_task: one run as a job, and the signals of a batch system."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dse.runs.store import RunDirectory, RunLock
from dse.runs.sweep_folder import SweepFolder
from dse.runs.sweep_plan import parse_plan

RUN = """
import os, signal, sys, time
out = sys.argv[1]
os.makedirs(out)
def stop(number, frame):
    open(out + "/told", "a").write(str(number) + " ")
    time.sleep(0.3)
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
open(out + "/resolved.toml", "w")
if sys.argv[2] == "sleep":
    time.sleep(600)
elif sys.argv[2] == "finish":
    open(out + "/front.csv", "w").write("point")
else:
    sys.exit("error: no such network")
"""

TASK = """
import sys
from pathlib import Path
from dse.runs import sweep_task
from dse.runs.sweep_folder import SweepFolder
sweep_task.SHARED_S = float(sys.argv[4])
def command(folder, name):
    return [sys.executable, "-S", "-E", "-c", sys.argv[2], str(folder.run(name).path), sys.argv[3]]
sys.exit(sweep_task.do_run(SweepFolder(Path(sys.argv[1])), "seed_0", command))
"""


@pytest.fixture
def folder(tmp_path):
    folder = SweepFolder(tmp_path / "sweep")
    with RunLock(RunDirectory(folder.path)):
        folder.claim(parse_plan("[sweep]\nsearch.seed = [0]"))
    return folder


def start(folder, what, shared_s=0.1):
    arguments = [sys.executable, "-c", TASK, str(folder.path), RUN, what, str(shared_s)]
    return subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True)


def wait_for(path):
    limit = time.monotonic() + 120
    while not path.exists():
        assert time.monotonic() < limit
        time.sleep(0.02)


@pytest.mark.parametrize(("what", "code", "state"), [("finish", 0, "finished"), ("fail", 1, "failed")])
def test_a_job_does_its_run(folder, what, code, state):
    task = start(folder, what)
    _, told = task.communicate()
    assert task.returncode == code
    assert told.startswith(f"seed_0: {state}")
    assert folder.state("seed_0") == state
    if what == "finish":
        again = start(folder, "fail")
        assert again.communicate()[1] == ""
        assert again.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_ends_the_run_and_is_no_failure(folder, number):
    task = start(folder, "sleep")
    wait_for(folder.run("seed_0").resolved)
    task.send_signal(number)
    assert task.wait(120) == 0
    task.stderr.close()
    assert folder.state("seed_0") == "interrupted"
    assert (folder.run("seed_0").path / "told").read_text() == f"{signal.SIGTERM:d} "


def test_a_signal_to_all_processes_is_not_repeated(folder):
    task = start(folder, "sleep", shared_s=300)
    wait_for(folder.run("seed_0").resolved)
    (child,) = map(int, Path(f"/proc/{task.pid}/task/{task.pid}/children").read_text().split())
    os.kill(child, signal.SIGUSR2)  # which the run ignores
    os.kill(child, signal.SIGTERM)
    task.send_signal(signal.SIGTERM)
    assert task.wait(120) == 0
    task.stderr.close()
    assert (folder.run("seed_0").path / "told").read_text() == f"{signal.SIGTERM:d} "


def test_a_run_ends_with_its_job(folder):
    task = start(folder, "sleep")
    wait_for(folder.run("seed_0").resolved)
    task.kill()
    task.wait()
    wait_for(folder.run("seed_0").path / "told")
    task.stderr.close()


def test_a_run_in_use_is_left_alone(folder):
    with RunLock(folder.run("seed_0")):
        task = start(folder, "fail")
        _, told = task.communicate()
    assert task.returncode == 3
    assert f"going on in process {os.getpid()}" in told
    assert folder.read_outcome("seed_0") is None


EARLY = """
import os, signal, subprocess, sys
from pathlib import Path
from dse.runs import sweep_task
from dse.runs.sweep_folder import SweepFolder
start = subprocess.Popen.__init__
def told_meanwhile(*arguments, **options):
    start(*arguments, **options)
    os.kill(os.getpid(), signal.SIGUSR2)
subprocess.Popen.__init__ = told_meanwhile
sweep_task.SHARED_S = 0.1
def command(folder, name):
    return ["sleep", "600"]
sys.exit(sweep_task.do_run(SweepFolder(Path(sys.argv[1])), "seed_0", command))
"""


def test_a_signal_at_the_very_start_is_heard(folder):
    task = subprocess.Popen([sys.executable, "-c", EARLY, str(folder.path)], stderr=subprocess.PIPE, text=True)
    try:
        assert task.wait(120) == 0
        assert task.stderr.read().startswith("seed_0: interrupted")
    finally:
        task.kill()
        task.wait()
        task.stderr.close()

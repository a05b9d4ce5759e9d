"""A search killed with SIGKILL ends with the front of an uninterrupted one; see benchmarks/reliability.py."""

import random
import signal
import subprocess
import sys
import time

import pytest

from dse.runs.journal import read_journal

SEARCH = """
import sys, time
from dataclasses import dataclass
from pathlib import Path
from dse.config import parse_config
from dse.runs import preparation
from dse.runs.journal import read_journal
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, fake_library, fake_load

@dataclass(frozen=True)
class Slow(FakeEvaluator):
    def correct(self, assignments, start, stop):
        time.sleep(0.01 * len(assignments))
        if len(read_journal(Path(sys.argv[1], "evaluations.jsonl"))) >= int(sys.argv[2]):
            time.sleep(600)  # whoever is to kill it is late
        return super().correct(assignments, start, stop)

preparation.read_library = lambda config: fake_library()
preparation._load = lambda config, inputs, library: fake_load(Slow())
run(parse_config("[search]\\npopulation_size = 12\\ngenerations = 10"), sys.argv[1])
"""


def start(path, n_most=1_000_000):
    """A search that waits to be killed when so many evaluations are in its journal."""
    return subprocess.Popen([sys.executable, "-c", SEARCH, str(path), str(n_most)])


def n_journaled(path):
    return len(read_journal(path / "evaluations.jsonl"))


@pytest.mark.slow
def test_killed_three_times(tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert start(whole).wait() == 0
    rng = random.Random(0)
    for _ in range(3):
        target = n_journaled(parts) + rng.randint(3, 25)
        process = start(parts, target + 5)
        while process.poll() is None and n_journaled(parts) < target:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (parts / "front.csv").exists()
    assert start(parts).wait() == 0
    assert (parts / "front.csv").read_bytes() == (whole / "front.csv").read_bytes()
    measured = [e for e in read_journal(parts / "evaluations.jsonl") if e.state != "raced"]
    keys = [(*e.key, e.n_images) for e in measured]
    assert len(keys) == len(set(keys))

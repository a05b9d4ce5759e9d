"""The GPU benchmark: what can be tried without a GPU."""

import importlib
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_gpu.py"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("bench_gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_says_that_there_is_no_gpu(tmp_path):
    done = subprocess.run([sys.executable, str(SCRIPT), "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "finds no CUDA device" in done.stderr
    assert not list(tmp_path.iterdir())


def test_page(bench):
    def row(table, sums):
        return bench.Timing(table, 3, 0.5, 2.0, 100.0, sums, 1.0, 2.0, 10.0, sums / 10, 0.9)

    frame = pd.DataFrame([row("exact", 1000.0), row("a", 120.0), row("b", 140.0)])
    lines = bench.summary(frame, "exact")
    assert "median over tables: **13.0** (target: at least 10)" in lines[0]
    page = bench.report(frame, lines, heading="a card")
    assert "| a | 3 | 0.5 | 2 | 100 | 120 |" in page
    assert "a card" in page
    assert page.endswith("exit code is 1.\n")


def test_rate_counts_all_layers(bench, monkeypatch):
    layers = object.__new__(bench.Layers)
    layers.problems, layers.codes, layers.n_multiplications = [1, 2], [None, None], 3 * 10**9
    monkeypatch.setattr(bench, "_median_seconds", lambda conv, codes, repeats: conv)
    assert layers.rate(lambda problem: float(problem), 3) == 1.0

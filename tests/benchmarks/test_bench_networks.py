"""The benchmark by network, batch and level runs and writes its table."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from dse.simulation import native_library

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_networks.py"
OPTIONS = ["--networks", "resnet20", "--batches", "1", "3", "--pairs", "1", "--threads", "1"]


def run_script(*arguments):
    command = [sys.executable, str(SCRIPT), *OPTIONS, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def test_writes_table_of_every_level(shared_data, tmp_path):
    if native_library.load() is None:
        pytest.skip("no native library here")
    result = run_script("--levels", "portable", "--data", str(shared_data), "--out", str(tmp_path))
    assert result.returncode == 0, result.stderr
    frame = pd.read_csv(tmp_path / "networks.csv")
    assert frame.level.unique().tolist() == ["portable"]
    assert frame.batch.value_counts().to_dict() == {1: 4, 3: 4}
    assert (frame[["g_lookups_per_s", "ratio_to_exact"]] > 0).all().all()
    assert "| resnet20 | portable | worst |" in (tmp_path / "networks.md").read_text()


def test_refuses_an_unknown_level():
    result = run_script("--levels", "avx1024")
    assert result.returncode == 2
    assert "avx1024: expected best, portable" in result.stderr

"""The speed benchmark runs and writes its table."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

from dse.simulation import native_library

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_simulation.py"


def test_writes_table_and_summary(shared_data, tmp_path):
    options = ["--images", "4", "--repeats", "1", "--threads", "1", "--tables", "mul8u_125K,mul8u_1JFF", "--no-memory"]
    options += ["--levels", "portable" if native_library.load() else "off", "--level-images", "2"]
    command = [sys.executable, str(SCRIPT), *options, "--data", str(shared_data), "--out", str(tmp_path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    frame = pd.read_csv(tmp_path / "simulation.csv")
    assert frame.table.tolist() == ["mul8u_125K", "mul8u_1JFF"]
    assert (frame[["s_per_1000", "ratio_to_exact", "g_lookups_per_s", "speed_up"]] > 0).all().all()
    assert native_library.load() is None or (frame.portable > 0).all()
    assert "G multiplications/s" in (tmp_path / "simulation.md").read_text()

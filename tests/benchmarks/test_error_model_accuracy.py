"""The benchmark of the error model runs and writes its table, page and picture."""

import subprocess
import sys
from pathlib import Path

import pandas as pd

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "error_model_accuracy.py"


def test_writes_table_page_and_picture(shared_data, tmp_path):
    out = tmp_path / "error_model"
    options = ["--images", "16", "--tables", "mul8u_125K,mul8u_1JFF", "--out", str(out)]
    subprocess.run(
        [sys.executable, str(SCRIPT), str(shared_data), *options], check=True, capture_output=True, timeout=300
    )
    frame = pd.read_csv(out.with_suffix(".csv"))
    assert len(frame) == 20 * 2 * 4 * 2  # layers, tables, models, sets of images
    exact = frame[frame.multiplier == "mul8u_1JFF"]
    assert (exact[["predicted_std", "measured_std", "predicted_mean", "measured_mean"]] == 0).all().all()
    two_way = frame[(frame.multiplier == "mul8u_125K") & (frame.model == "two-way") & (frame.images == "same")]
    assert (two_way.predicted_std / two_way.measured_std - 1).abs().median() < 0.1
    assert "20 of them without error" in out.with_suffix(".md").read_text()
    assert out.with_suffix(".png").stat().st_size > 10_000

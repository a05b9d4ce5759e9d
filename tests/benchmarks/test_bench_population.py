"""The benchmark of populations runs on a journal and writes its tables."""

import importlib.util
import json
import sys
from pathlib import Path

import pandas as pd

import dse

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "bench_population.py"
OPTIONS = ["--images", "20", "--size", "6", "--threads", "1", "--repeats", "1"]


def run_script(monkeypatch, *arguments):
    """In this process: importing torch anew takes longer than all the rest."""
    spec = importlib.util.spec_from_file_location(SCRIPT.stem, SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, SCRIPT.stem, module)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *map(str, arguments), *OPTIONS])
    spec.loader.exec_module(module)
    module.main()


def test_writes_tables_and_summary(tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    dse.explore(
        population_size=8, generations=2, initial="uniform", surrogate=False, racing=False, images=20,
        confirm_images=20, report_images=20, threads=1, out=run,
    )  # fmt: skip
    run_script(monkeypatch, "--run", run, "--no-scaling", "--multipliers", 2, "--out", tmp_path)
    frame = pd.read_csv(tmp_path / "population.csv")
    assert frame.population.tolist() == ["last 6 designs", "sensitivity sweep"]
    n_layers = frame.layers_one_by_one[0] // 6
    assert frame.designs.tolist() == [6, 1 + 2 * n_layers]
    assert frame.layers_together[1] == n_layers + 2 * n_layers * (n_layers + 1) // 2
    assert (frame.layers_together <= frame.layers_one_by_one).all()
    assert (frame[["designs_per_s_one_by_one", "designs_per_s_together", "speed_up"]] > 0).all().all()
    assert "designs a second together" in (tmp_path / "population.md").read_text()
    capsys.readouterr()
    run_script(monkeypatch, "--run", run, "--point")
    n_images, n_designs, n_layers_run, time_s, peak_mib = json.loads(capsys.readouterr().out)
    assert (n_images, n_designs) == (20, 6)
    assert 0 < n_layers_run <= 6 * n_layers
    assert time_s > 0
    assert peak_mib > 50

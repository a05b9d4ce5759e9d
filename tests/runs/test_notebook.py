"""dse.runs.notebook: runs, points and collections as notebooks show them."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import dse
from dse.runs.finetuned import FinetunedPoints, FinetuneOptions
from dse.runs.notebook import MOST_OTHERS
from dse.runs.run_collection import Collection

ASSETS = Path(__file__).resolve().parents[1] / "assets"


@pytest.mark.parametrize("name", ["run_format_1", "run_format_2"])
def test_run(name):
    run = dse.open_run(ASSETS / name)
    text = run._repr_html_()
    n_approximate = int((~run.front["is_exact"]).sum())
    assert text.count("<title>point ") == n_approximate
    assert text.count("<title>the exact network") == 1
    assert text.count("<tr>") == len(run.front)  # and a row of names, with a style
    assert "digits_cnn" in text
    assert len(text) < 30_000


def test_unfinished_run(tmp_path):
    for name in ("resolved.toml", "manifest.json", "evaluations.jsonl"):
        (tmp_path / name).write_bytes((ASSETS / "run_format_2" / name).read_bytes())
    assert "unfinished, 20 evaluations so far" in dse.open_run(tmp_path)._repr_html_()
    (tmp_path / "manifest.json").unlink()
    assert "unfinished, 0 evaluations" in dse.open_run(tmp_path)._repr_html_()


def test_pictures_of_large_runs_stay_small():
    run = dse.open_run(ASSETS / "run_format_2")
    many = pd.concat([run.evaluations] * 500, ignore_index=True)
    run.__dict__["evaluations"] = many  # where cached_property keeps it
    assert len(run.others) > MOST_OTHERS
    assert run._repr_html_().count('r="1.8"') <= MOST_OTHERS + 1


def test_failed_exact_network():
    run = dse.open_run(ASSETS / "run_format_1")
    run.__dict__["front"] = run.front.assign(state="failed")
    assert "<svg" not in run._repr_html_()


def test_finetuned():
    table = pd.DataFrame(
        {
            "name": ["point_1", "point_2"], "energy_saved_pct": [50.0, 60.0], "accuracy_untuned": [0.9, 0.8],
            "accuracy": [0.95, 0.93], "accuracy_exact": 0.96, "best_epoch": [1, 2],
        }
    )  # fmt: skip
    text = FinetunedPoints(Path("x"), Path("run"), FinetuneOptions(), table)._repr_html_()
    assert text.count("<title>") == 4
    assert "2 fine-tuned points" in text


def test_collection():
    runs = pd.DataFrame({"run": ["a", "b"], "seed": [0, 1], "hypervolume": [0.5, 0.6]})
    statistics = pd.DataFrame({"n_runs": [2], "hypervolume_median": [0.55]})
    found = Collection(("seed",), (), runs, runs, statistics, statistics, n_unfinished=1)
    text = found._repr_html_()
    assert "0.55" in text
    assert "2 runs, 1 unfinished left out" in text


def test_points(tmp_path):
    from dse.runs.point_set import PointSet

    table = pd.DataFrame(
        {
            "point": [0, 1], "energy_saved_pct": [20.0, 40.0], "accuracy": [0.9, np.nan], "accuracy_low": [0.8, np.nan],
            "accuracy_high": [0.95, np.nan], "accuracy_exact": 0.91, "n_multipliers": [1, 2],
            "assignment": ["a;a", "a;b"],
        }
    )  # fmt: skip
    config = dse.open_run(ASSETS / "run_format_1").config
    points = PointSet(tmp_path, tmp_path, config, "kmeans", ("a", "b"), table, (("a", "a"), ("a", "b")), {})
    assert points._repr_html_().count("<title>operating point") == 1
    assert "a (1), b (1)" in points._repr_html_()
    without = PointSet(tmp_path, tmp_path, config, "kmeans", ("a", "b"), table[1:], (("a", "b"),), {})
    assert "<svg" not in without._repr_html_()

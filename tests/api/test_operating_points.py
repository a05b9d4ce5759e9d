"""dse.operating_points: objects, names, the default run."""

import numpy as np
import pytest

import dse
from dse.api.operating_points import default_run
from dse.config import RunConfig, default_run_name
from dse.datasets import load_splits
from dse.errors import ConfigError, RunError
from dse.networks.zoo import create_network
from dse.testing.fakes import FakeEvaluator, use_fakes
from dse.testing.tiny import tiny_library

OPTIONS = {"multipliers": 3, "points": 2, "max_loss": (3, 20)}


@pytest.fixture
def fakes(monkeypatch, tmp_path):
    use_fakes(monkeypatch, FakeEvaluator())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_points_of_a_run_or_its_path(fakes):
    run = dse.explore(population_size=6, generations=2, out="one")
    points = dse.operating_points(run, **OPTIONS)
    assert points.path == run.path / "operating_points" / "enumerate_n3_m2"
    assert (points.path / "operating_points.png").read_bytes().startswith(b"\x89PNG")
    again = dse.operating_points("one", **OPTIONS)
    assert again.table.equals(points.table)
    assert dse.open_points(points.path).assignments == points.assignments
    assert dse.operating_points("one", **OPTIONS, method="kmeans", out="points").method == "kmeans"


def test_measured_elsewhere_points_are_the_same(fakes):
    run = dse.explore(population_size=6, generations=2, out="one", jobs=2, workers_backend="threading")
    points = dse.operating_points(run, **OPTIONS, out="here")
    there = dse.operating_points(run, **OPTIONS, out="there", jobs=3, threads=2)
    assert there.table.equals(points.table)
    with pytest.raises(ConfigError, match="partition is for workers that are started on a batch system"):
        dse.operating_points(run, **OPTIONS, out="queue", partition="short")
    with pytest.raises(ConfigError, match=r"\[execution\] jobs = 0: expected greater than"):
        dse.operating_points(run, **OPTIONS, out="nobody", jobs=0)
    assert not (fakes / "nobody").exists()


def test_the_default_run_is_explored_where_it_is_absent(fakes):
    points = dse.operating_points(**OPTIONS, method="kmeans")
    path = fakes / "runs" / default_run_name(RunConfig())
    assert points.run_path.resolve() == path
    before = (path / "front.csv").stat().st_mtime_ns
    assert default_run().resolve() == path
    assert (path / "front.csv").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"multipliers": 9}, "9 multipliers were asked for, the library has 5"),
        ({"points": 3}, "--max-loss 3,20 has 2 numbers: expected 3"),
        ({"method": "all"}, "unknown method 'all'"),
    ],
)
def test_errors_come_before_anything_is_measured(fakes, options, message):
    run = dse.explore(population_size=6, generations=2, out="one")
    with pytest.raises(ConfigError, match=message):
        dse.operating_points(run, **OPTIONS | options)
    assert not (run.path / "operating_points").exists()


def test_objects_of_a_run_are_given_again(tmp_path):
    splits = load_splits("digits", n_calibration=48, n_search=100, n_report=60)
    objects = {"network": create_network("digits_cnn"), "dataset": splits, "library": tiny_library()}
    run = dse.explore(**objects, population_size=4, generations=1, threads=1, initial="uniform", out=tmp_path / "run")
    settings = {"multipliers": 3, "points": 2, "max_loss": (1, 10), "evaluations": 30}
    found = {m: dse.operating_points(run, **objects, **settings, method=m) for m in ("enumerate", "search")}
    energy = {method: points.table["energy_rel"].mean() for method, points in found.items()}
    assert energy["search"] <= energy["enumerate"] + 1e-9
    for points in found.values():
        assert (np.diff(points.table["energy_rel"]) < 0).all()
    assert (found["search"].path / "tolerances.csv").exists()
    other = {**objects, "dataset": load_splits("digits", n_calibration=40, n_search=100, n_report=60)}
    with pytest.raises(RunError, match="has changed: calibration images"):
        dse.operating_points(run, **other, **settings, method="kmeans")
    with pytest.raises(ConfigError, match=r"objects as network and dataset and library: use dse.operating_points\("):
        dse.operating_points(run, **settings, method="kmeans")

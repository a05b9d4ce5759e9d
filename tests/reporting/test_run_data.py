"""dse.reporting.run_data: what a run says about its search, layers, energy and library."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import dse
from dse.config import parse_config
from dse.errors import RunError
from dse.reporting.data import front_data
from dse.reporting.run_data import (
    energy_share_data,
    layers_data,
    library_data,
    progress_data,
    run_tolerances,
)
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes

PLAIN = "initial = 'random'\nsurrogate = false\nracing = false"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_fakes(monkeypatch, FakeEvaluator())
        return run(
            parse_config(f"[search]\npopulation_size = 8\ngenerations = 4\n{PLAIN}"), tmp_path_factory.mktemp("r")
        )


def edited(finished, tmp_path, *, manifest=None, drop=(), without_front=False, **tables):
    """A copy of a run with another manifest, or without some of its files."""
    path = tmp_path / "copy"
    path.mkdir()
    for file in finished.path.iterdir():
        if file.name not in drop and not (without_front and file.name == "front.csv"):
            (path / file.name).write_bytes(file.read_bytes())
    if manifest is not None:
        record = json.loads((path / "manifest.json").read_text())
        manifest(record)
        (path / "manifest.json").write_text(json.dumps(record))
    for name, text in tables.items():
        (path / f"{name}.csv").write_text(text)
    return dse.open_run(path)


def test_progress_is_that_of_the_generations(finished):
    data = progress_data(finished)
    assert data.title == "digits_cnn, digits, accelerator free"
    assert len(data.n_evaluations) == 4
    assert data.n_evaluations.dtype == data.n_images.dtype == np.int64
    assert (data.n_images == 200 * data.n_evaluations).all()
    assert (np.diff(data.hypervolume) >= 0).all()
    assert (np.diff(data.time_s) >= 0).all()
    assert data.reference_point == (1.1, 1.0)


def test_progress_of_runs_that_have_not_come_far(finished, tmp_path):
    unfinished = edited(finished, tmp_path, without_front=True)
    assert len(progress_data(unfinished).hypervolume) == 4
    unfinished.directory.generations.unlink()
    assert len(progress_data(unfinished).hypervolume) == 0
    unfinished.directory.manifest.unlink()
    data = progress_data(dse.open_run(unfinished.path))
    assert data.title == "digits_cnn, digits, accelerator free"
    assert len(data.n_images) == 0


def test_runs_of_before_measured_all_images(finished, tmp_path):
    table = finished.generations.drop(columns="n_images").to_csv(index=False)
    data = progress_data(edited(finished, tmp_path, generations=table))
    np.testing.assert_array_equal(data.n_images, progress_data(finished).n_images)


def test_layers_stand_as_points_do(finished):
    data = layers_data(finished)
    assert data.layers == ("layer0", "layer1", "layer2", "layer3")
    np.testing.assert_array_equal(data.n_multiplications, [100, 200, 300, 400])
    np.testing.assert_array_equal(data.points, finished.front["point"])
    assert data.energy_rel.shape == (len(data.points), 4)
    energy = data.energy_rel @ data.n_multiplications / data.n_multiplications.sum()
    np.testing.assert_allclose(100 * (1 - energy), data.energy_saved_pct)
    np.testing.assert_array_equal(data.accuracy_lost_points, front_data(finished).accuracy_lost_points)
    for point in data.points:
        told = finished.assignment(int(point))
        assert data.multipliers[point] == tuple(told["multiplier"])
        np.testing.assert_allclose(data.energy_rel[point], told["energy_rel"])


def test_failed_points_are_left_out(finished, tmp_path):
    table = finished.front.copy()
    table.loc[1, ["state", "accuracy"]] = ["failed", np.nan]
    failed = edited(finished, tmp_path, front=table.to_csv(index=False))
    data = layers_data(failed)
    assert 1 not in data.points
    assert len(data.points) == len(front_data(failed).energy_saved_pct) == len(table) - 1
    with pytest.raises(RunError, match=r"has no point 1: expected one of 0, 2, "):
        energy_share_data(failed, 1)


def test_neurons_may_share_a_layer(tmp_path):
    front = pd.DataFrame(
        {
            "point": [0, 1], "state": "ok", "is_exact": [False, True], "accuracy": [0.8, 0.9], "energy_rel": [0.4, 1.0],
            "energy_saved_pct": [60.0, 0.0], "assignment": ["exact+cheap@50;cheap", "exact;exact"],
        }
    )  # fmt: skip
    multipliers = [
        {"name": n, "energy_rel": e, "key": n} for n, e in (("cheap", 0.2), ("exact+cheap@50", 0.6), ("exact", 1.0))
    ]
    layers = [{"name": f"l{i}", "kind": "conv2d", "n_multiplications": 10, "n_neurons": 3} for i in range(2)]
    found = SimpleNamespace(
        sparsity=None,
        path=tmp_path, front=front, is_finished=True, config=parse_config("[search]\nneuron_shares = [50]"),
        directory=SimpleNamespace(front=tmp_path / "front.csv"),
        manifest=SimpleNamespace(layers=layers, multipliers=multipliers, exact_index=2),
    )  # fmt: skip
    two_of_three = 0.2 * 2 / 3 + 1 / 3
    np.testing.assert_allclose(layers_data(found).energy_rel, [[two_of_three, 0.2], [1, 1]])
    for layer in layers:
        del layer["n_neurons"]  # as in manifests of before
    np.testing.assert_allclose(layers_data(found).energy_rel, [[0.6, 0.2], [1, 1]])
    library = library_data(found)
    assert library.names == ("cheap", "exact")
    assert library.n_uses.tolist() == [2, 3]


def test_energy_before_and_after(finished):
    data = energy_share_data(finished, 0)
    assert data.point == 0
    np.testing.assert_allclose(data.before_pct, [10, 20, 30, 40])
    assert data.after_pct.sum() == pytest.approx(100 - data.energy_saved_pct)
    assert data.energy_saved_pct == finished.front["energy_saved_pct"].iloc[0]
    exact = int(finished.front.loc[finished.front["is_exact"], "point"].iloc[0])
    np.testing.assert_allclose(energy_share_data(finished, exact).after_pct, data.before_pct)
    with pytest.raises(RunError, match=f"has no point 99: expected one of 0 to {exact}"):
        energy_share_data(finished, 99)


def test_library_tells_errors_and_uses(finished):
    data = library_data(finished)
    assert data.names == ("t8", "t6", "t4", "t2", "exact")
    assert data.is_exact.tolist() == [False] * 4 + [True]
    assert data.mae_pct[-1] == 0
    assert (np.diff(data.mae_pct) < 0).all()
    assert data.mae_pct[0] < 100 * 255 / 2**16
    names = [name for text in finished.front["assignment"] for name in text.split(";")]
    assert data.n_uses.tolist() == [names.count(name) for name in data.names]
    assert data.is_used.tolist() == [name in names for name in data.names]
    assert data.n_points == len(finished.front)
    assert finished.manifest.cost_technology == "fake"


def test_library_of_an_unfinished_run(finished, tmp_path):
    data = library_data(edited(finished, tmp_path, without_front=True))
    assert data.n_points == 0
    assert not data.is_used.any()
    assert data.mae_pct[-1] == 0


def without_errors(record):
    del record["cost_technology"]
    for multiplier in record["multipliers"]:
        del multiplier["mae_pct"]


def test_errors_of_before_come_from_the_library_if_it_is_there(finished, tmp_path):
    old = edited(finished, tmp_path, manifest=without_errors)
    assert old.manifest.cost_technology == ""
    assert np.isnan(library_data(old).mae_pct[:-1]).all()  # these tables are in no library
    asset = dse.open_run(Path(__file__).parents[1] / "assets" / "run_format_1")
    assert np.isfinite(library_data(asset).mae_pct).all()


def test_a_run_directory_makes_nothing_run(finished, tmp_path, monkeypatch):
    def forbidden(*args, **options):
        raise AssertionError("a library was loaded")

    monkeypatch.setattr("dse.reporting.run_data.load_library", forbidden)
    for options in ('path = "some_plugin"', f'path = "{tmp_path}"\ncompile_c = true'):
        old = edited(finished, tmp_path, manifest=without_errors)
        old.directory.resolved.write_text(f"[library]\n{options}\n")
        assert np.isnan(library_data(old).mae_pct).all()
        for file in old.path.iterdir():
            file.unlink()
        old.path.rmdir()


def test_unknown_multipliers_are_told(finished, tmp_path):
    def renamed(record):
        record["multipliers"][0]["name"] = "other"

    with pytest.raises(RunError, match=r"knows no multiplier 't8'"):
        layers_data(edited(finished, tmp_path, manifest=renamed))


def test_unfinished_runs_have_no_layers(finished, tmp_path):
    with pytest.raises(RunError, match="is not finished"):
        layers_data(edited(finished, tmp_path, without_front=True))


def test_large_fronts_are_quick(tmp_path):
    n_points, n_layers = 500, 100
    names = [f"m{i}" for i in range(37)]
    chosen = np.random.default_rng(0).integers(37, size=(n_points, n_layers))
    front = pd.DataFrame(
        {
            "point": range(n_points), "state": "ok", "is_exact": [False] * (n_points - 1) + [True], "accuracy": 0.9,
            "energy_saved_pct": 10.0, "assignment": [";".join(names[i] for i in row) for row in chosen],
        }
    )  # fmt: skip
    found = SimpleNamespace(
        sparsity=None,
        path=tmp_path, front=front, config=parse_config(""), directory=SimpleNamespace(front=tmp_path / "front.csv"),
        manifest=SimpleNamespace(
            layers=[{"name": f"l{i}", "n_multiplications": 5} for i in range(n_layers)],
            multipliers=[{"name": name, "energy_rel": i / 36} for i, name in enumerate(names)],
        ),
    )  # fmt: skip
    begin = time.perf_counter()
    data = layers_data(found)
    assert time.perf_counter() - begin < 0.5
    np.testing.assert_array_equal(data.energy_rel, chosen / 36)


def test_rows_of_generations_that_are_cut_off_are_damage(finished, tmp_path):
    text = finished.directory.generations.read_text().splitlines()
    cut = "\n".join([*text[:2], text[2][:5]])
    with pytest.raises(RunError, match=r"generations.csv is damaged \(a row without its numbers\)"):
        progress_data(edited(finished, tmp_path, generations=cut))


@pytest.mark.parametrize(
    "text",
    [
        "layer,sigma,is_saturated\n", "layer,sigma,is_saturated\na,0.1,False\nb,,\n",
        "layer,sigma,is_saturated\na,0.1,Fal", "layer,sigma\na,1\n", "",
    ],
)  # fmt: skip
def test_damaged_tolerances_are_named(finished, tmp_path, text):
    with pytest.raises(RunError, match=r"tolerances.csv is damaged"):
        run_tolerances(edited(finished, tmp_path, tolerances=text))


def test_tolerances_of_a_run_keep_names_that_look_like_nothing(finished, tmp_path):
    data = run_tolerances(edited(finished, tmp_path, tolerances="layer,sigma,is_saturated\nNA,0.1,False\n7,0.2,True\n"))
    assert data.layers == ("NA", "7")
    assert data.is_saturated.tolist() == [[False, True]]

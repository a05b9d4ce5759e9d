"""Points of a real small run go out and come back with the accuracy that the front says."""

import dataclasses
import io
import json
import shutil
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import dse
from dse import cli
from dse.datasets import Split, Splits, load_splits
from dse.errors import ConfigError, NetworkError, RunError
from dse.networks.zoo import create_network
from dse.recovery.switchable import SwitchableNetwork, switchable_network
from dse.runs.exporting import export_points
from dse.runs.point_set import PointsDirectory, PointSettings, points_config
from dse.runs.preparation import Inputs, load_data, prepare

NAMES = ["u8_exact", "u8_trunc6", "u8_drum4", "u8_mitchell7"]
OPTIONS = {"population_size": 6, "generations": 1, "threads": 1, "initial": "uniform", "surrogate": False}
TEXT = f"""
[library]
include = {NAMES}
[data]
calibration_images = 32
confirm_images = 40
images = 40
report_images = 60
[recovery]
sum_compensation = true
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "run.toml").write_text(TEXT)
    return dse.explore(folder / "run.toml", **OPTIONS, out=folder / "digits")


@pytest.fixture
def fresh(run, tmp_path):
    """A copy of the run, to write into."""
    shutil.copytree(run.path, tmp_path / "digits")
    return dse.open_run(tmp_path / "digits")


def _report(run):
    return load_data(run.config, Inputs()).report


def _tune(run, assignments, path):
    """A file as fine-tuning leaves it: other biases."""
    prepared = prepare(points_config(run.config, None), Inputs())
    rows = np.array([[prepared.library.index(name) for name in row.split(";")] for row in assignments])
    model = switchable_network(prepared.evaluator.bank, rows)
    points = [dataclasses.replace(p, biases=tuple(b + 0.01 for b in p.biases)) for p in model.points]
    tuned = SwitchableNetwork(model.network, model.library, points, origin=model.origin)
    tuned.save(path)
    return tuned


def test_a_point_of_a_run(fresh):
    point = len(fresh.front) - 1
    found = dse.export(fresh.path, point=point)
    assert found.arrays == fresh.path / "exported" / f"point_{point}.npz"
    assert not found.is_finetuned
    row = fresh.front.iloc[point]
    exported = dse.load_exported(found.document)
    assert exported.hits(_report(fresh)).mean() == row["accuracy"]
    assert exported.points["accuracy"][0] == row["accuracy"]
    assert exported.points["n_images"][0] == 60
    assert exported.points["energy_rel"][0] == pytest.approx(row["energy_rel"], rel=1e-12)
    assert exported.points["name"][0] == f"point {point} of digits"
    assert exported.layers["multiplier"].tolist() == row["assignment"].split(";")
    assert exported.preprocessing == "unit"
    assert found.table["point"].tolist() == [point]


def test_every_point_has_the_accuracy_of_the_front(run, tmp_path):
    report = _report(run)
    for point, accuracy in zip(run.front["point"][:3], run.front["accuracy"], strict=False):
        found = export_points(run.path, point=point, out=tmp_path / "a.b")
        assert (found.arrays.name, found.document.name) == ("a.b.npz", "a.b.json")
        assert dse.load_exported(tmp_path / "a.b").hits(report).mean() == accuracy


def test_a_fine_tuned_point(fresh):
    tuned = _tune(fresh, fresh.front["assignment"][:1], fresh.path / "finetuned" / "point_0.npz")
    found = export_points(fresh.path, point=0)
    assert found.is_finetuned
    assert found.arrays.name == "point_0_finetuned.npz"
    exported, images = dse.load_exported(found.arrays), _report(fresh).batch(0, 20)
    assert torch.equal(exported(images), tuned(images))
    assert exported.document.points[0].name == "point 0 of digits, fine-tuned"
    assert exported.document.points[0].accuracy is None
    plain = export_points(fresh.path, point=0, untuned=True)
    assert plain.arrays.name == "point_0.npz"
    assert not torch.equal(dse.load_exported(plain.arrays)(images), exported(images))
    table = pd.DataFrame({"point": [1, 0], "accuracy": [0.25, 0.875], "n_images_report": [60, 60], "more": "x"})
    table.to_csv(fresh.path / "finetuned" / "finetuned.csv", index=False)
    accuracy = dse.load_exported(export_points(fresh.path, point=0).arrays).document.points[0].accuracy
    assert (accuracy.accuracy, accuracy.n_images, accuracy.top) == (0.875, 60, 1)


def test_a_fine_tuned_file_of_another_point(fresh):
    assert len(fresh.front) > 1
    _tune(fresh, fresh.front["assignment"][1:2], fresh.path / "finetuned" / "point_0.npz")
    with pytest.raises(RunError, match="holds other points than .* --untuned"):
        export_points(fresh.path, point=0)


def _make_set(run, path):
    """A directory as `dse operating-points` leaves it, of three points of the run's front."""
    path.mkdir(parents=True)
    settings = PointSettings(n_multipliers=4, n_points=3, method="kmeans").to_dict()
    record = {"format": 1, "run": "../..", "settings": settings, "multipliers": NAMES}
    PointsDirectory(path).record.write_text(json.dumps(record))
    config = points_config(run.config, None)
    rows = [";".join([name] * len(run.layers)) for name in ("u8_trunc6", "u8_drum4", "u8_exact")]
    accuracy = [_accuracy(config, row) for row in rows]
    table = run.front.iloc[[0] * 3].assign(point=range(3), assignment=rows, accuracy=accuracy)
    table.to_csv(PointsDirectory(path).table, index=False)
    return accuracy


def _accuracy(config, row):
    prepared = prepare(config, Inputs())
    indices = np.array([[prepared.library.index(name) for name in row.split(";")]])
    return float(prepared.report_evaluator(indices)[0])


def test_a_set_of_operating_points(fresh):
    path = fresh.path / "operating_points" / "kmeans_n4_m3"
    accuracy = _make_set(fresh, path)
    with pytest.raises(ConfigError, match="exported as a whole: leave out --point 1"):
        export_points(path, point=1)
    found = export_points(path)
    assert found.arrays == path / "exported" / "points.npz"
    exported, report = dse.load_exported(found.arrays), _report(fresh)
    assert exported.hits(report).mean(1).tolist() == accuracy == exported.points["accuracy"].tolist()
    assert exported.points["name"].tolist() == [f"operating point {k} of kmeans_n4_m3" for k in range(3)]
    tuned = _tune(fresh, found.table["assignment"], path / "finetuned" / "points.npz")
    again = export_points(path)
    assert (again.arrays.name, again.is_finetuned) == ("points_finetuned.npz", True)
    assert np.array_equal(dse.load_exported(again.arrays).hits(report), tuned.hits(report))


def test_points_that_are_not_there(run, tmp_path):
    with pytest.raises(ConfigError, match=r"name one with --point, 0 to \d+"):
        export_points(run.path)
    with pytest.raises(RunError, match="has no point 99"):
        export_points(run.path, point=99)
    with pytest.raises(RunError, match="expected a run directory"):
        export_points(tmp_path, point=0)


def test_data_that_changed(fresh):
    text = fresh.directory.resolved.read_text()
    assert "calibration_images = 32" in text
    fresh.directory.resolved.write_text(text.replace("calibration_images = 32", "calibration_images = 31"))
    with pytest.raises(RunError, match="has changed: calibration images was .*, is now .*Restore its files"):
        export_points(fresh.path, point=0)


def test_objects(tmp_path):
    network, library = create_network("digits_cnn"), dse.load_library("builtin", is_signed=False).select(names=NAMES)
    found = load_splits("digits", n_search=40, n_report=40, n_calibration=32)
    splits = Splits(*(Split.from_arrays(s.stored, s.labels) for s in (found.calibration, found.search, found.report)))
    objects = {"network": network, "dataset": splits, "library": library}
    run = dse.explore(**objects, **OPTIONS, out=tmp_path / "run")
    with pytest.raises(ConfigError, match="objects as network and dataset and library: use dse.export"):
        dse.export(run.path, point=0)
    exported = dse.load_exported(dse.export(run.path, point=0, **objects).document)
    assert exported.hits(splits.report).mean() == run.front["accuracy"][0]


class _Undecided(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(144, 10)

    def forward(self, x):
        y = self.conv(x)
        return self.linear((y.relu() if y.mean() > 0 else y).flatten(1))


def test_networks_that_cannot_be_exported(tmp_path):
    library = dse.load_library("builtin", is_signed=False).select(names=NAMES)
    options = {**OPTIONS, "calibration_images": 16, "confirm_images": 20, "report_images": 20}
    run = dse.explore(network=_Undecided().eval(), dataset="digits", library=library, **options, out=tmp_path / "run")
    with pytest.raises(NetworkError, match="torch.fx cannot trace"):
        dse.export(run.path, point=0, network=_Undecided().eval(), library=library)
    assert not (run.path / "exported").exists()


def test_command(fresh, monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["dse", "export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, *capsys.readouterr()

    code, out, err = call(fresh.path, "--point", 0)
    assert code == 0
    assert "not fine-tuned" in out
    assert "dse.load_exported(" in err
    code, out, _ = call(fresh.path, "--point", 0, "--out", fresh.path / "mine", "--format", "json")
    assert json.loads(out)[0]["arrays"] == str(fresh.path / "mine.npz")
    assert (fresh.path / "mine.json").exists()
    code, out, _ = call(fresh.path, "--point", 0, "--format", "csv")
    assert pd.read_csv(io.StringIO(out))["is_finetuned"].tolist() == [False]
    code, _, err = call(fresh.path)
    assert (code, err.startswith("error:")) == (2, True)

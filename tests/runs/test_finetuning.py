"""dse.runs.finetuning: points of a run learn in a directory that a repeated command continues."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import dse
from dse import evaluation
from dse.datasets import Split, Splits, load_splits
from dse.errors import ConfigError, MultiplierError, RunError
from dse.networks.zoo import create_network
from dse.recovery import finetuning
from dse.recovery.finetuning_settings import FinetuningSettings
from dse.recovery.switchable import SwitchableNetwork
from dse.runs.finetuned import FinetuneOptions
from dse.runs.finetuning import SilentFinetuning, find_target, finetune_points, on_device
from dse.runs.preparation import Inputs, prepare
from dse.runs.results import open_run
from dse.runs.store import RunDirectory, RunLock

EXPLORE = {
    "population_size": 6, "generations": 2, "images": 60, "report_images": 80, "calibration_images": 48, "threads": 1,
    "plain": True,
}  # fmt: skip
OPTIONS = FinetuneOptions(FinetuningSettings(epochs=2, batch_size=32, reconstruction=False), 96, 50)
NAMES = ["u8_bam_v8_h3", "u8_trunc7", "u8_drum3", "u8_exact"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run with a front of a few points."""
    path = tmp_path_factory.mktemp("runs") / "run"
    library = tmp_path_factory.mktemp("files") / "run.toml"
    library.write_text(f"[library]\ninclude = {NAMES}\n")
    return dse.explore(library, **EXPLORE, out=path).path


@pytest.fixture
def run(made, tmp_path):
    """A copy of it."""
    return open_run(shutil.copytree(made, tmp_path / "run"))


class Notes(SilentFinetuning):
    def __init__(self):
        self.starts, self.jobs, self.steps, self.epochs, self.results = [], [], [], [], []

    def on_start(self, start):
        self.starts.append(start)

    def on_job(self, name, n_left):
        self.jobs.append((name, n_left))

    def on_step(self, n_done, n_steps, loss):
        self.steps.append((n_done, n_steps))

    def on_epoch(self, epoch, accuracies):
        self.epochs.append(epoch)

    def on_result(self, name, accuracy_untuned, accuracy, time_s):
        self.results.append(name)


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir() if file.is_file() and file.name != ".dse-lock"}


def test_points_of_a_front(run):
    before, notes = contents(run.path), Notes()
    numbers = run.front.loc[~run.front["is_exact"], "point"].tolist()
    first, last = numbers[0], numbers[-1]
    found = finetune_points(run.path, OPTIONS, points=[last], observer=notes)
    assert (found.path, found.source) == (run.path / "finetuned", run.path)
    found = finetune_points(run.path, OPTIONS, points=f"{last}, {first}", observer=notes)
    assert contents(run.path) == before
    assert notes.jobs == [(f"point_{last}", 0), (f"point_{first}", 0)]
    assert notes.steps == 2 * [(k, 6) for k in range(1, 7)]
    assert notes.epochs == 2 * [0, 1, 2]
    assert notes.results == [name for name, _ in notes.jobs]
    start = notes.starts[1]
    assert (start.n_jobs, start.n_finished, start.n_images_training) == (2, 1, 96)
    assert (start.n_images_validation, start.n_images_report, start.threads) == (50, 80, 1)
    table = found.table
    assert table["point"].tolist() == [first, last]
    front = run.front.set_index("point").loc[table["point"].astype(int)]
    for column in ("energy_rel", "energy_saved_pct", "assignment", "n_images_report"):
        assert table[column].tolist() == front[column].tolist()
    np.testing.assert_array_equal(table["accuracy_untuned"], front["accuracy"])
    assert (table["accuracy_exact"] == run.front.loc[run.front["is_exact"], "accuracy"].iloc[0]).all()
    assert (table["accuracy_validation"] >= table["accuracy_validation_untuned"]).all()
    assert ((table["accuracy_low"] <= table["accuracy"]) & (table["accuracy"] <= table["accuracy_high"])).all()
    assert (table["epochs"] == 2).all()
    assert not {"overhead_pct", "accuracy_top5"} & set(table.columns)
    pd.testing.assert_frame_equal(open_run(run.path).finetuned, table)


def test_what_is_saved_is_what_was_measured(run):
    found = finetune_points(run.path, OPTIONS, points=0)
    prepared = prepare(run.config, Inputs())
    model = SwitchableNetwork.load(found.path / "point_0.npz", prepared.evaluator.bank.network, prepared.library)
    assert model.hits(prepared.report_evaluator.split).mean() == found.table["accuracy"][0]
    record = json.loads((found.path / "point_0.json").read_text())
    assert record["settings"]["epochs"] == 2
    assert [epoch["epoch"] for epoch in record["history"]] == [0, 1, 2]
    assert record["history"][0]["loss"] is None
    assert record["best_epoch"] == found.table["best_epoch"][0]
    assert len(record["key"]) == 64
    assert {file.name for file in found.path.iterdir()} == {
        ".dse-lock", "finetuning.json", "finetuned.csv", "point_0.json", "point_0.npz"
    }  # fmt: skip


def test_all_but_the_exact_design(run):
    target = find_target(run.path, "all", None)
    assert [job.points[0] for job in target.jobs] == run.front.loc[~run.front["is_exact"], "point"].tolist()
    exact = int(run.front.loc[run.front["is_exact"], "point"].iloc[0])
    assert find_target(run.path, exact, None).jobs[0].energy_rel == (1.0,)
    only = run.front[run.front["is_exact"]]
    only.to_csv(run.path / "front.csv", index=False)
    with pytest.raises(ConfigError, match="holds the exact design only: there is nothing to fine-tune"):
        find_target(run.path, "all", None)


def test_designs_of_a_file(run, tmp_path):
    file = tmp_path / "designs.csv"
    rows = [";".join([name] * 5) for name in (NAMES[1], NAMES[0])]
    pd.DataFrame({"lambda": [1, 2], "assignment": rows}).to_csv(file, index=False)
    both = finetune_points(run.path, OPTIONS, assignments=file)
    both = finetune_points(run.path, OPTIONS, points=0)
    assert both.table["name"].tolist() == ["point_0", "row_0", "row_1"]
    assert both.table["point"].isna().tolist() == [False, True, True]
    assert both.table["assignment"].tolist()[1:] == rows
    costs = {m["name"]: m["energy_rel"] for m in run.manifest.multipliers}
    np.testing.assert_allclose(both.table["energy_rel"][1:], [costs[NAMES[1]], costs[NAMES[0]]])
    pd.DataFrame({"assignment": rows[::-1]}).to_csv(file, index=False)
    with pytest.raises(RunError, match=r"row_0.npz was tuned from another assignment.*--out"):
        finetune_points(run.path, OPTIONS, assignments=file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot read .*designs.csv: No such file"),
        ("", "cannot read .*designs.csv: not a CSV table"),
        ("names\na;b\n", "no assignment in some row: expected a column `assignment`"),
        ("assignment,x\na,1\n,2\n", "no assignment in some row"),
        ("assignment\n", "no assignment in some row"),
        ("assignment\nu8_exact;u8_exact\n", "row_0 names 2 multipliers, the network has 5 layers"),
        ("assignment\n" + ";".join(["u8_exact"] * 4 + ["u8_drum9"]), "row_0: .*u8_drum9"),
    ],
)
def test_files_that_do_not_fit(run, tmp_path, content, message):
    file = tmp_path / "designs.csv"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        finetune_points(run.path, OPTIONS, assignments=file)
    assert not (run.path / "finetuned" / "finetuning.json").exists()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigError, "is a run: say what to fine-tune.*--points 3,5 or --points all"),
        ({"points": 0, "assignments": "x.csv"}, ConfigError, "say what to fine-tune"),
        ({"points": "99"}, RunError, "has no point 99: expected 0 to"),
        ({"points": "-1"}, RunError, "has no point -1"),
        ({"points": "some"}, ConfigError, "--points some: expected numbers with commas between them, as 3,5, or all"),
        ({"points": []}, ConfigError, "no points to fine-tune"),
        ({"points": 0, "threads": 0}, ConfigError, "--threads is 0"),
    ],
)
def test_refusals(run, options, error, message):
    with pytest.raises(error, match=message):
        finetune_points(run.path, OPTIONS, **options)
    assert not (run.path / "finetuned").exists()


def test_directories_that_do_not_fit(run, tmp_path):
    with pytest.raises(RunError, match="absent is not a directory: expected a run directory"):
        finetune_points(tmp_path / "absent", OPTIONS, points=0)
    with pytest.raises(RunError, match="holds a run of `dse explore`: choose another directory"):
        finetune_points(run.path, OPTIONS, points=0, out=run.path)
    (run.path / "front.csv").unlink()
    with pytest.raises(RunError, match="is not finished, it has no front yet"):
        finetune_points(run.path, OPTIONS, points=0)


def test_other_settings_need_another_directory(run, tmp_path):
    finetune_points(run.path, OPTIONS, points=0)
    other = replace(OPTIONS, settings=replace(OPTIONS.settings, seed=1))
    with pytest.raises(RunError, match=r"--seed was 0, is now 1. Choose another directory with --out"):
        finetune_points(run.path, other, points=1)
    found = finetune_points(run.path, other, points=0, out=tmp_path / "other")
    assert found.path == tmp_path / "other"
    assert open_run(run.path).finetuned["time_s"][0] != found.table["time_s"][0]


def test_a_run_whose_data_changed(run):
    manifest = json.loads(run.directory.manifest.read_text())
    manifest["hashes"]["network"] = "0" * 64
    run.directory.manifest.write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="what .* was made with has changed: network was 000000000000"):
        finetune_points(run.path, OPTIONS, points=0)


def test_finished_files_are_checked(run):
    found = finetune_points(run.path, OPTIONS, points=0)
    path = found.path / "point_0.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunError, match=r"point_0.npz is missing or damaged: delete point_0.json beside it"):
        finetune_points(run.path, OPTIONS, points=0)


def test_one_process_at_a_time(run):
    with (
        RunLock(RunDirectory(run.path / "finetuned")),
        pytest.raises(RunError, match="finetuned is in use by process .*--out"),
    ):
        finetune_points(run.path, OPTIONS, points=0)


def test_interrupted_and_continued(run, monkeypatch, tmp_path):
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    whole = finetune_points(run.path, OPTIONS, points="0,1", out=tmp_path / "whole")

    class Stop(Notes):
        def on_step(self, n_done, n_steps, loss):
            super().on_step(n_done, n_steps, loss)
            if self.jobs == [("point_0", 1), ("point_1", 0)] and n_done == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_points(run.path, OPTIONS, points="0,1", observer=Stop())
    assert (run.path / "finetuned" / "checkpoint_1.pt").exists()
    assert open_run(run.path).finetuned["point"].tolist() == [0]
    notes = Notes()
    parts = finetune_points(run.path, OPTIONS, points="0,1", observer=notes)
    assert notes.jobs == [("point_1", 0)]
    assert notes.steps == [(k, 6) for k in (4, 5, 6)]
    for name in ("point_0.npz", "point_1.npz"):
        assert (parts.path / name).read_bytes() == (whole.path / name).read_bytes()
    pd.testing.assert_frame_equal(parts.table.drop(columns="time_s"), whole.table.drop(columns="time_s"))
    assert not (parts.path / "checkpoint_1.pt").exists()


def test_a_checkpoint_of_another_point(run, monkeypatch):
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)

    class Stop(SilentFinetuning):
        def on_step(self, n_done, n_steps, loss):
            if n_done == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finetune_points(run.path, OPTIONS, points=0, observer=Stop())
    folder = run.path / "finetuned"
    (folder / "checkpoint_0.pt").rename(folder / "checkpoint_1.pt")
    with pytest.raises(RunError, match=r"checkpoint_1.pt belongs to a fine-tuning with other settings"):
        finetune_points(run.path, OPTIONS, points=1)


@pytest.mark.parametrize("device", ["cuda", "cuda:3"])
def test_a_device_that_is_not_here(run, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=f"device '{device}': PyTorch finds no GPU here.*Use device 'auto' or 'cpu'"):
        finetune_points(run.path, OPTIONS, points=0, device=device)
    assert not (run.path / "finetuned").exists()


@pytest.mark.parametrize(("asked", "expected"), [(None, "cuda:1"), ("cpu", "cpu"), ("auto", "auto")])
@pytest.mark.parametrize("backend", ["gpu", "auto"])
def test_the_device_is_that_of_the_run_or_another(run, asked, expected, backend):
    config = run.config.model_copy(
        update={"execution": run.config.execution.model_copy(update={"device": "cuda:1", "backend": backend})}
    )
    found = on_device(config, asked).execution
    assert (found.device, found.backend) == (expected, "auto")
    assert config.execution.backend == backend


def test_another_device_tunes_the_same(run, tmp_path, monkeypatch):
    here = finetune_points(run.path, OPTIONS, points=0, device="cpu", out=tmp_path / "here")
    asked, notes = [], Notes()
    monkeypatch.setattr(evaluation, "find_device", lambda name: asked.append(name) or torch.device("cpu", 0))
    monkeypatch.setattr("dse.simulation.devices.find_device", lambda name: None)
    there = finetune_points(run.path, OPTIONS, points=0, device="cuda", out=tmp_path / "there", observer=notes)
    assert asked == ["cuda"]
    assert notes.starts[0].device == "cpu:0"
    assert (there.path / "point_0.npz").read_bytes() == (here.path / "point_0.npz").read_bytes()
    pd.testing.assert_frame_equal(there.table.drop(columns="time_s"), here.table.drop(columns="time_s"))
    monkeypatch.undo()
    monkeypatch.setattr(finetuning, "finetuning_key", lambda *_, **__: "of another device")
    with pytest.raises(RunError, match=r"on another kind of device \(--device\), or by another version"):
        finetune_points(run.path, OPTIONS, points=0, out=tmp_path / "here")


def test_a_set_learns_jointly(run):
    points = dse.operating_points(run, multipliers=3, points=2, method="kmeans", out=run.path / "set")
    with pytest.raises(ConfigError, match="is a set of operating points, which learn together: leave out --points"):
        finetune_points(points.path, OPTIONS, points=0)
    with pytest.raises(ConfigError, match="leave out --assignments"):
        finetune_points(points.path, OPTIONS, assignments="x.csv")
    found = finetune_points(points.path, OPTIONS)
    assert found.path == points.path / "finetuned"
    assert (found.path / "points.npz").exists()
    table = found.table
    assert table["point"].tolist() == points.table["point"].tolist() == [0, 1]
    assert table["assignment"].tolist() == points.table["assignment"].tolist()
    np.testing.assert_array_equal(table["accuracy_untuned"], points.table["accuracy"])
    assert (table["n_private_parameters"] > 0).all()
    n_parameters = table["n_private_parameters"] / table["overhead_pct"] * 100
    assert n_parameters[0] == pytest.approx(round(n_parameters[0]))
    assert not open_run(run.path).has_finetuned
    exported = dse.export(points.path)
    assert exported.is_finetuned
    assert exported.table["accuracy"].tolist() == table["accuracy"].tolist()


def test_runs_with_objects_and_more_classes(tmp_path):
    library = dse.load_library("builtin", is_signed=True).select(names=["s8_exact", "s8_trunc6"])
    found = load_splits("digits", n_search=40, n_report=40, n_calibration=64)
    labels = [split.labels + (split.labels == 0) * 11 for split in (found.calibration, found.search, found.report)]
    parts = (found.calibration, found.search, found.report)
    splits = Splits(*(Split.from_arrays(s.stored, y, n_classes=12) for s, y in zip(parts, labels, strict=True)))
    objects = {"network": create_network("digits_cnn", n_classes=12), "library": library}
    run = dse.explore(dataset=splits, **objects, plain=True, population_size=4, generations=1, threads=1, out=tmp_path)
    with pytest.raises(ConfigError, match="objects as network and dataset and library: use dse.finetune"):
        finetune_points(run.path, OPTIONS, points=0)
    inputs = Inputs(objects["network"], splits, library)
    tuned = finetune_points(run.path, replace(OPTIONS, training_images=None), points=0, inputs=inputs).table
    for name in ("accuracy", "accuracy_untuned", "accuracy_exact"):
        assert tuned[f"accuracy_top5{name.removeprefix('accuracy')}"][0] >= tuned[name][0]


def test_too_many_training_images_are_all_there_are(run):
    notes = Notes()
    options = FinetuneOptions(replace(OPTIONS.settings, epochs=1), 10**6, 10**6)
    finetune_points(run.path, options, points=0, observer=notes)
    assert (notes.starts[0].n_images_training, notes.starts[0].n_images_validation) == (899, 449)


def test_names_that_the_library_lost(run):
    front = pd.read_csv(run.path / "front.csv")
    front["assignment"] = front["assignment"].str.replace("u8", "u9")
    front.to_csv(run.path / "front.csv", index=False)
    with pytest.raises((ConfigError, MultiplierError), match="point_0: .*u9"):
        finetune_points(run.path, OPTIONS, points=0)


def test_settings_of_earlier_versions_are_the_defaults_now(run, tmp_path):
    before = finetune_points(run.path, OPTIONS, points="0", out=tmp_path / "tuned")
    record = tmp_path / "tuned" / "finetuning.json"
    stored = json.loads(record.read_text())
    for name in ("noise_epochs", "noise_scale", "noise_learning_rate"):
        del stored["settings"][name]
    record.write_text(json.dumps(stored))
    again = finetune_points(run.path, OPTIONS, points="0", out=tmp_path / "tuned")
    pd.testing.assert_frame_equal(again.table, before.table)

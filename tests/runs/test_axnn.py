"""dse.runs.axnn: AxNN's loop in a directory that a repeated command continues."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from dse import checkpoint
from dse.config import load_config
from dse.datasets import Splits
from dse.errors import ConfigError, MultiplierError, NetworkError, RunError
from dse.recovery import finetuning, switchable
from dse.runs import store
from dse.runs.axnn import SilentAxnn, design_neurons, make_levels
from dse.runs.axnn_directory import RETRAINING, AxnnDirectory, AxnnOptions
from dse.runs.preparation import Inputs
from dse.runs.store import RunDirectory, RunLock
from dse.search.neurons import AxnnSettings
from dse.testing.tiny import tiny_library, tiny_network, tiny_split

CONFIG = load_config(None, {"data.calibration_images": 16, "network.name": "object:TinyCnn", "execution.threads": 1})
OPTIONS = AxnnOptions(
    AxnnSettings((0.1, 0.3), group_share=0.5, smallest_share=0.3, confidence=0.0),
    replace(RETRAINING, epochs=1, batch_size=16), bits=(5, 3), training_images=32, validation_images=48,
)  # fmt: skip
FILES = ("bounds.csv", "neurons.csv", "bound_10.npz", "bound_30.npz")


def objects(seed=0):
    splits = Splits(tiny_split(40, seed=seed), tiny_split(60, seed=1), tiny_split(30, seed=2))
    return Inputs(tiny_network(), splits)


def run(path, options=OPTIONS, **changes):
    return design_neurons(CONFIG, path, options, **{"inputs": objects()} | changes)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A finished design; not to be changed."""
    return run(tmp_path_factory.mktemp("designs") / "whole")


class Notes(SilentAxnn):
    def __init__(self):
        self.starts, self.steps, self.attempts, self.rows = [], [], [], []

    def on_start(self, start):
        self.starts.append(start)

    def on_step(self, n_done, n_steps, loss):
        self.steps.append((n_done, n_steps))

    def on_attempt(self, number, attempt, accuracy_exact, time_s):
        self.attempts.append((number, attempt, accuracy_exact, time_s))

    def on_bound(self, row):
        self.rows.append(row)


def assert_same(parts, whole):
    for name in FILES:
        assert (parts.path / name).read_bytes() == (whole.path / name).read_bytes()
    pd.testing.assert_frame_equal(parts.attempts.drop(columns="time_s"), whole.attempts.drop(columns="time_s"))


def test_tables_agree_with_each_other(whole):
    bounds, neurons, attempts = whole.bounds, whole.neurons, whole.attempts
    assert bounds["bound_pct"].tolist() == [10.0, 30.0]
    np.testing.assert_allclose(bounds["improvement"], 1 / bounds["energy_rel"])
    np.testing.assert_allclose(bounds["lost_points"], 100 * (bounds["accuracy_exact"] - bounds["accuracy"]))
    assert (bounds["n_images_report"] == 30).all()
    assert (bounds.filter(like="neurons_").sum(axis=1) == 24).all()
    assert len(neurons) == 24
    for bound, row in zip(("10", "30"), bounds.itertuples(), strict=True):
        assert (neurons[f"level_{bound}"] == "3").sum() == row.neurons_3
    kept = attempts[attempts["is_accepted"]]
    assert len(kept) > 1
    last = kept.groupby("bound_pct").last()
    assert set(last["energy_rel"]) <= set(bounds["energy_rel"])
    assert set(last["accuracy"]) <= set(bounds["accuracy_validation"])
    names = {path.name for path in whole.path.iterdir()}
    assert names == {*FILES, "attempts.csv", "axnn.toml", "axnn.json", "loop.pt", ".dse-lock"}
    for name, table in (("bounds", bounds), ("attempts", attempts)):
        pd.testing.assert_frame_equal(pd.read_csv(whole.path / f"{name}.csv"), table)


def test_saved_networks_are_what_was_measured(whole):
    report = objects().splits.report
    for bound, accuracy in zip((10, 30), whole.bounds["accuracy"], strict=True):
        network = whole.network(bound)
        assert network.hits(report).mean() == accuracy
        names = [network.library[i].name for i in network.points[0].assignment]
        bits = ["8" if name == "u8_exact" else name[-1] for name in names]
        assert bits == whole.neurons[f"level_{bound}"].tolist()
    with pytest.raises(ConfigError, match="a bound of 5 %: expected one of 10, 30"):
        whole.network(5)


def test_a_finished_design_is_read(whole):
    notes = Notes()
    assert_same(run(whole.path, observer=notes), whole)
    assert notes.starts[0].n_bounds_finished == 2
    assert notes.starts[0].n_attempts == len(whole.attempts)
    assert (notes.steps, notes.attempts, notes.rows) == ([], [], [])


def test_what_observers_are_told(tmp_path, whole):
    notes = Notes()
    run(tmp_path, observer=notes)
    start = notes.starts[0]
    assert (start.n_layers, start.n_neurons, start.levels, start.bounds) == (4, 24, ("8", "5", "3"), (0.1, 0.3))
    assert (start.n_images_training, start.n_images_validation, start.n_images_report) == (32, 48, 30)
    assert (start.n_attempts, start.n_bounds_finished) == (0, 0)
    assert notes.steps == len(whole.attempts) * [(1, 2), (2, 2)]
    assert [attempt[0] for attempt in notes.attempts] == list(range(len(whole.attempts)))
    assert notes.rows == whole.bounds.to_dict(orient="records")


class Killed(BaseException):
    pass


@pytest.mark.parametrize("is_written", [False, True])
def test_killed_again_and_again(tmp_path, monkeypatch, whole, is_written):
    """Ends the process in the midst of (before or after) one of its first writes, each time a later one."""
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)
    original, left, n_killed = checkpoint.replace_file, [0], 0

    def replaced(path, content):
        left[0] -= 1
        if left[0] == 0 and not is_written:
            raise Killed
        original(path, content)
        if left[0] == 0:
            raise Killed

    for module in (checkpoint, store, switchable):
        monkeypatch.setattr(module, "replace_file", replaced)
    for _ in range(100):  # an attempt takes 7 writes, so that these come further
        left[0] = 7 + n_killed % 4
        try:
            found = run(tmp_path)
            break
        except Killed:
            n_killed += 1
    assert n_killed > 4
    assert_same(found, whole)
    assert not AxnnDirectory(tmp_path).retraining.exists()


def test_interrupted_in_a_retraining(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(finetuning, "CHECKPOINT_S", 0.0)

    class Stop(Notes):
        def on_step(self, n_done, n_steps, loss):
            super().on_step(n_done, n_steps, loss)
            if len(self.steps) == 6:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, observer=Stop())
    assert AxnnDirectory(tmp_path).retraining.exists()
    assert len(pd.read_csv(AxnnDirectory(tmp_path).attempts)) == 2
    notes = Notes()
    assert_same(run(tmp_path, observer=notes), whole)
    assert notes.steps[:2] == [(2, 2), (1, 2)]  # its first step had been saved


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"settings": replace(OPTIONS.settings, bounds=(0.2, 0.3))}, "--bounds was 10,30, is now 20,30"),
        ({"settings": replace(OPTIONS.settings, order="score")}, "--order was harm, is now score"),
        ({"bits": (5, 4)}, "--levels was 5,3, is now 5,4"),
        ({"retraining": replace(OPTIONS.retraining, epochs=2)}, "--epochs was 1, is now 2"),
        ({"multipliers": ("u8_trunc8",)}, "--multipliers was not given, is now u8_trunc8"),
        ({"training_images": None}, "--training-images was 32, is now None"),
    ],
)
def test_other_settings_need_another_directory(whole, changes, message):
    with pytest.raises(RunError, match=f"{message}.*--out"):
        run(whole.path, replace(OPTIONS, **changes))


def test_another_configuration_needs_another_directory(whole):
    config = load_config(None, {"data.calibration_images": 8, "network.name": "object:TinyCnn"})
    with pytest.raises(RunError, match="data.calibration_images was 16, is now 8"):
        design_neurons(config, whole.path, OPTIONS, inputs=objects())
    with pytest.raises(RunError, match="what the design in .* was made with has changed: network was .*training"):
        run(whole.path, inputs=objects(seed=3))
    damaged = whole.path / "loop.pt"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:100])
    try:
        with pytest.raises(RunError, match=r"loop.pt is not a checkpoint of a design of neurons"):
            run(whole.path)
    finally:
        damaged.write_bytes(content)


def test_directories_of_others(tmp_path):
    for name, kind in (
        ("resolved.toml", "a run of `dse explore`"), ("tolerances.toml", "tolerances of `dse tolerances`"),
        ("operating_points.json", "operating points"), ("finetuning.json", "points of `dse finetune`"),
    ):  # fmt: skip
        (tmp_path / name).write_text("")
        with pytest.raises(RunError, match=f"holds {kind}.*choose another directory"):
            run(tmp_path)
        (tmp_path / name).unlink()
    with RunLock(RunDirectory(tmp_path)), pytest.raises(RunError, match="is in use by process .*--out"):
        run(tmp_path)


class Deaf(nn.Module):
    """Logits that no gradient passes."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(128, 4)

    def forward(self, x):
        return torch.round(self.linear(x.flatten(1)))


def test_refusals(tmp_path):
    settings = replace(OPTIONS.settings, bounds=(0.05,))
    with pytest.raises(ConfigError, match="a bound of 5 % is 2.4 of 48 validation images.*at least 80"):
        run(tmp_path, replace(OPTIONS, settings=settings))
    with pytest.raises(NetworkError, match="gradient"):
        run(tmp_path, inputs=Inputs(Deaf(), objects().splits))
    with pytest.raises(ConfigError, match="device 'tpu'"):
        run(tmp_path, device="tpu")
    library = Inputs(objects().network, objects().splits, tiny_library())
    with pytest.raises(MultiplierError, match="u8_trunc9"):
        run(tmp_path, replace(OPTIONS, multipliers=("u8_trunc9",)), inputs=library)
    with pytest.raises(ConfigError, match="level u8_trunc5 costs no less than u8_trunc8 before it"):
        run(tmp_path, replace(OPTIONS, multipliers=("u8_trunc8", "u8_trunc5")), inputs=library)
    with pytest.raises(MultiplierError, match="some of them are the same circuit"):
        run(tmp_path, replace(OPTIONS, multipliers=("u8_trunc8", "u8_trunc8")), inputs=library)
    assert not (tmp_path / "loop.pt").exists()


def test_multipliers_as_levels(tmp_path):
    inputs = Inputs(objects().network, objects().splits, tiny_library())
    options = replace(OPTIONS, multipliers=("u8_exact", "u8_trunc5", "u8_trunc8"))
    found = run(tmp_path, options, inputs=inputs)
    assert {"neurons_u8_exact", "neurons_u8_trunc5", "neurons_u8_trunc8"} <= set(found.bounds.columns)
    assert set(found.neurons["level_30"]) <= {"u8_exact", "u8_trunc5", "u8_trunc8"}
    levels = make_levels(CONFIG, options, inputs)
    assert levels.levels[0].multiplication_rel == 1.0
    assert all(level.addition_rel == 1.0 for level in levels.levels)
    assert [levels.library[i].name for i in levels.positions] == list(levels.labels)


def test_signed_levels():
    levels = make_levels(load_config(None, {"library.signed": True}), OPTIONS, Inputs())
    assert [level.name for level in levels.levels] == ["s8_exact", "s8_exact_p5", "s8_exact_p3"]
    assert levels.library.is_signed

"""Designs matched for fine-tuning, from a run on the built-in example."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

import dse
from dse.errors import ConfigError, RunError
from dse.runs import matching
from dse.runs.matching import match_designs

EXPLORE = {
    "images": 60, "report_images": 80, "calibration_images": 64, "evaluations": 12, "population_size": 6,
    "generations": 2, "threads": 1, "plain": True,
}  # fmt: skip
NAMES = ["u8_bam_v8_h3", "u8_trunc7", "u8_drum3", "u8_trunc4", "u8_exact"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    (folder / "run.toml").write_text(f"[library]\ninclude = {NAMES}\n")
    return dse.explore(folder / "run.toml", **EXPLORE, out=folder / "run")


def energy_saved(run, assignment):
    library = dse.load_library("builtin").select(names=NAMES).searchable()
    counts = np.array([layer["n_multiplications"] for layer in run.manifest.layers], dtype=float)
    energies = np.array([library.energy_rel[library.index(name)] for name in assignment.split(";")])
    return 100 * (1 - energies @ counts / counts.sum())


@pytest.fixture(scope="module")
def matched(run):
    return match_designs(run.path, [20, 40, 55])


def test_designs_save_what_is_wanted_and_cost_more_the_more_they_save(run, matched):
    assert list(matched.columns) == ["energy_saved_pct", "predicted_growth", "assignment"]
    assert (matched["energy_saved_pct"] >= [20, 40, 55]).all()
    assert (np.diff(matched["predicted_growth"]) >= 0).all()
    for saved, assignment in zip(matched["energy_saved_pct"], matched["assignment"], strict=True):
        assert energy_saved(run, assignment) == pytest.approx(saved)
    pd.testing.assert_frame_equal(pd.read_csv(run.path / "matched" / "designs.csv"), matched)


def test_what_is_measured_is_kept(run, matched, tmp_path, monkeypatch):
    names = []

    class Notes(matching.SilentMatch):
        def on_multiplier(self, name, n_done):
            names.append(name)
            if len(names) == 1:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        match_designs(run.path, [20, 40, 55], out=tmp_path / "new", observer=Notes())
    again = match_designs(run.path, [20, 40, 55], out=tmp_path / "new", observer=Notes())
    pd.testing.assert_frame_equal(again, matched)
    assert len(names) == len(set(names))  # none twice
    monkeypatch.setattr("dse.recovery.reconstructed_errors.reconstructed_errors", None)
    assert match_designs(run.path, [40])["assignment"].tolist() == [matched["assignment"][1]]


def test_the_file_can_be_fine_tuned(run, matched):
    match_designs(run.path, [55])
    tuned = dse.finetune(
        run, assignments=run.path / "matched" / "designs.csv", training_images=64, validation_images=50, epochs=1,
        noise_epochs=1, threads=1,
    )  # fmt: skip
    assert tuned.table["energy_saved_pct"].tolist() == pytest.approx([matched["energy_saved_pct"][2]])


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "expected percentages between 0 and 100"),
        ([0.75, 120], "expected percentages between 0 and 100"),
        ([99.9], r"no design saves 99.9 % of the energy: expected at most \d"),
    ],
)
def test_refused_savings(run, wanted, message):
    with pytest.raises(ConfigError, match=message):
        match_designs(run.path, wanted)


def test_damaged_files(run, matched, tmp_path):
    shutil.copytree(run.path / "matched", tmp_path, dirs_exist_ok=True)
    (tmp_path / "reconstructed_errors.csv").write_text("a,b\n1,2\n")
    with pytest.raises(RunError, match="is damaged: delete it"):
        match_designs(run.path, [20], out=tmp_path)
    (tmp_path / "reconstructed_errors.csv").write_text("layer,multiplier,error\nconv,u8_trunc7,0.5\n")
    with pytest.raises(RunError, match="is of another network"):
        match_designs(run.path, [20], out=tmp_path)


def test_directories_of_something_else(run, matched, tmp_path):
    with pytest.raises(RunError, match="holds a run of `dse explore`: choose another directory"):
        match_designs(run.path, [20], out=run.path)
    shutil.copytree(run.path / "matched", tmp_path, dirs_exist_ok=True)
    record = json.loads((tmp_path / "matching.json").read_text())
    record["hashes"]["network"] = "0" * 64
    (tmp_path / "matching.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match="matched with another network: choose another"):
        match_designs(run.path, [20], out=tmp_path)

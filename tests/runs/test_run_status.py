"""dse.runs.run_status: where runs stand, told from files."""

import time

import numpy as np
import pandas as pd
import pytest

from dse.config import parse_config
from dse.errors import RunError
from dse.runs.journal import Evaluation, Journal, pack_hits
from dse.runs.run_status import find_runs, most_evaluations, status_table
from dse.runs.runner import Silent, run
from dse.runs.store import RunDirectory, RunLock
from dse.runs.sweep_folder import Outcome, SweepFolder
from dse.runs.sweep_plan import parse_plan

SWEEP = "[search]\npopulation_size = 8\ngenerations = 3\n[sweep]\nsearch.seed = [0, 1, 2, 3]"


class Stop(Silent):
    def on_generation(self, progress):
        self.progress = progress
        if progress.n_gen == 2:
            raise KeyboardInterrupt


@pytest.fixture
def folder(tmp_path, evaluator):
    folder, plan = SweepFolder(tmp_path / "sweep"), parse_plan(SWEEP)
    with RunLock(RunDirectory(folder.path)):
        folder.claim(plan)
    return folder


def test_states_evaluations_and_hypervolume_of_a_sweep(folder):
    run(folder.config("seed_0"), folder.run("seed_0").path)
    stop = Stop()
    with pytest.raises(KeyboardInterrupt):
        run(folder.config("seed_1"), folder.run("seed_1").path, observer=stop)
    folder.write_outcome("seed_2", Outcome("failed", "no network"))
    with RunLock(folder.run("seed_3")):
        table = status_table(folder.path)
    assert table["state"].tolist() == ["finished", "interrupted", "failed", "running"]
    assert table["seed"].tolist() == list("0123")
    assert table["message"].tolist() == ["", "", "no network", ""]
    last = pd.read_csv(folder.run("seed_0").generations).iloc[-1]
    assert table["evaluations"].tolist() == [last.n_eval, stop.progress.n_eval, 0, 0]
    assert table["evaluations_spent"][:2].tolist() == [last.n_images / 200, stop.progress.n_images / 200]
    np.testing.assert_allclose(table["hypervolume"][:2], [last.hypervolume, stop.progress.hypervolume])
    assert table["hypervolume"][2:].isna().all()
    assert (table["evaluations_max"] == 24).all()
    assert table["last_activity"].str.len().tolist() == [19, 19, 0, 0]


def test_any_folder_that_holds_runs(folder, tmp_path, config):
    run(config, tmp_path / "other" / "one")
    run(config, tmp_path / "other" / "two")
    (tmp_path / "notes").mkdir()
    names = [found.name for found in find_runs(tmp_path)]
    assert names == ["other/one", "other/two", *(f"sweep/seed_{i}" for i in range(4))]
    table = status_table(tmp_path)
    assert table["state"].tolist() == ["finished"] * 2 + ["waiting"] * 4
    assert table["seed"].tolist() == ["", "", "0", "1", "2", "3"]
    assert status_table(tmp_path / "other" / "one")["name"].tolist() == ["one"]


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(RunError, match="holds no runs. Make some with `dse sweep"):
        status_table(tmp_path)
    with pytest.raises(RunError, match="is not a directory"):
        status_table(tmp_path / "none")


def test_a_damaged_run_does_not_hide_the_others(folder):
    for name, text in (("seed_0", "[search"), ("seed_1", "[search]\nsed = 1")):
        folder.run(name).path.mkdir()
        folder.run(name).resolved.write_text(text)
    folder.run("seed_2").path.mkdir()
    folder.run("seed_2").journal.write_text('{"kind": "header", "format": 99}\n')
    messages = status_table(folder.path)["message"].tolist()
    assert "not valid TOML" in messages[0]
    assert "unknown key" in messages[1]
    assert "journal format 99" in messages[2]
    assert messages[3] == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", 288), ("evaluations = 30", 30), ('method = "random"', np.nan), ('method = "random"\nevaluations = 9', 9)],
)
def test_most_evaluations(text, expected):
    np.testing.assert_equal(most_evaluations(parse_config(f"[search]\n{text}")), expected)


def test_fifty_runs_take_seconds(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(50):
        directory = RunDirectory(tmp_path / f"run{i}")
        directory.claim(parse_config(f"[search]\nseed = {i}"))
        rows = [
            Evaluation("search", (i, j, 3), "f", 0.9, energy_rel=rng.random(), n_images=1000,
                       hits=pack_hits(rng.random(1000) < 0.9))
            for j in range(200)
        ]  # fmt: skip
        with Journal(directory.journal) as journal:
            journal.append(rows)
    begin = time.perf_counter()
    table = status_table(tmp_path)
    took = time.perf_counter() - begin
    assert (table["evaluations"] == 200).all()
    assert took < 5

"""dse.runs.operating_points: a choice that is continued, repeated, moved, and refused."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from dse.config import parse_config
from dse.errors import ConfigError, RunError
from dse.runs.front import SEPARATOR
from dse.runs.journal import read_journal
from dse.runs.operating_points import SilentPoints, choose_operating_points
from dse.runs.point_set import PointSettings, open_points
from dse.runs.runner import run
from dse.testing.fakes import FakeEvaluator, use_fakes

SETTINGS = PointSettings(n_multipliers=3, n_points=2, max_loss=(3.0, 20.0), evaluations=40)
METHODS = ["kmeans", "enumerate", "search"]


@pytest.fixture
def explored(evaluator, tmp_path):
    """A finished run of fakes."""
    return run(parse_config("[search]\npopulation_size = 6\ngenerations = 2"), tmp_path / "run").path


class Notes(SilentPoints):
    def __init__(self):
        self.starts, self.stages, self.learned = [], [], 0

    def on_start(self, start):
        self.starts.append(start)

    def on_learning(self, n_done, n_steps):
        self.learned += 1

    def on_stage(self, stage, detail=""):
        self.stages.append(stage)


@pytest.mark.parametrize("method", METHODS)
def test_points_are_chosen_measured_and_read_back(explored, method):
    notes, settings = Notes(), replace(SETTINGS, method=method)
    found = choose_operating_points(explored, settings, observer=notes)
    assert found.path == explored / "operating_points" / f"{method}_n3_m2"
    assert found.run_path.resolve() == explored.resolve()
    table = found.table
    assert table["point"].tolist() == [0, 1]
    assert table["energy_rel"].is_monotonic_decreasing
    assert (
        100 * (table["accuracy_exact_search"] - table["accuracy_search"]) <= np.array(SETTINGS.max_loss) + 1e-6
    ).all()
    np.testing.assert_allclose(table["energy_saved_pct"], 100 * (1 - table["energy_rel"]))
    assert (table["accuracy_low"] < table["accuracy"]).all()
    assert (table["accuracy"] < table["accuracy_high"]).all()
    assert table["n_multipliers"].tolist() == [len(set(names)) for names in found.assignments]
    assert [SEPARATOR.join(names) for names in found.assignments] == table["assignment"].tolist()
    assert set(found.multipliers) == {name for names in found.assignments for name in names}
    assert table["scale"].isna().all() == (method == "search")
    n_known = len({e.key for e in read_journal(explored / "evaluations.jsonl") if e.state == "ok"})
    assert (found.method, notes.starts[0].n_journaled, notes.learned) == (method, n_known, 0)
    assert notes.stages[-1] == "measuring the points on the report images"
    record = json.loads((found.path / "operating_points.json").read_text())
    assert record["evaluator"] == "fake-search"
    assert record["library"] == found.record["library"]
    assert record["multipliers"] == list(found.multipliers)
    assert record["run"] == "../.."


def test_accuracies_are_those_of_the_evaluators(explored, evaluator):
    found = choose_operating_points(explored, replace(SETTINGS, method="enumerate"))
    names = ["t8", "t6", "t4", "t2", "exact"]
    X = np.array([[names.index(name) for name in row] for row in found.assignments])
    np.testing.assert_array_equal(found.table["accuracy_search"], evaluator(X))
    np.testing.assert_array_equal(found.table["accuracy"], evaluator.with_split("report")(X))
    assert (found.table["accuracy_exact"] == evaluator(np.full((1, 4), 4))[0]).all()


def test_a_finished_choice_is_returned_without_loading(explored, evaluator, monkeypatch):
    first = choose_operating_points(explored, replace(SETTINGS, method="kmeans"))
    monkeypatch.setattr("dse.runs.operating_points.prepare", None)
    again = choose_operating_points(explored, replace(SETTINGS, method="kmeans"))
    pd.testing.assert_frame_equal(first.table, again.table)


@pytest.mark.parametrize("method", METHODS)
def test_an_interrupted_choice_measures_nothing_twice(explored, evaluator, method, monkeypatch, tmp_path):
    settings = replace(SETTINGS, method=method)
    whole = choose_operating_points(explored, settings, path=tmp_path / "whole")
    n_whole = len(read_journal(tmp_path / "whole" / "evaluations.jsonl"))
    correct, n_left = FakeEvaluator.correct, 0

    def interrupted(self, assignments, start, stop):
        nonlocal n_left
        n_left -= 1
        if n_left < 0:
            raise KeyboardInterrupt
        return correct(self, assignments, start, stop)

    for _ in range(200):
        n_left = 2
        with monkeypatch.context() as patch:
            patch.setattr(FakeEvaluator, "correct", interrupted)
            try:
                choose_operating_points(explored, settings, path=tmp_path / "parts")
                break
            except KeyboardInterrupt:
                pass
    parts = open_points(tmp_path / "parts")
    pd.testing.assert_frame_equal(parts.table, whole.table)
    records = read_journal(tmp_path / "parts" / "evaluations.jsonl")
    assert len(records) == n_whole
    assert len({record.key for record in records}) == n_whole


def test_what_the_run_and_other_sets_measured_is_not_measured_again(explored, evaluator, monkeypatch):
    choose_operating_points(explored, replace(SETTINGS, method="enumerate"))
    known = {tuple(e.assignment) for e in read_journal(explored / "evaluations.jsonl") if e.split == "search"}
    path = explored / "operating_points" / "enumerate_n3_m2" / "evaluations.jsonl"
    known |= {tuple(e.assignment) for e in read_journal(path) if e.split == "search"}
    asked, measure = set(), FakeEvaluator.correct

    def counting(self, assignments, start, stop):
        asked.update(map(tuple, np.asarray(assignments).tolist()))
        return measure(self, assignments, start, stop)

    monkeypatch.setattr(FakeEvaluator, "correct", counting)
    found = choose_operating_points(explored, replace(SETTINGS, method="search"))
    reported = {tuple(e.assignment) for e in read_journal(found.path / "evaluations.jsonl") if e.split == "report"}
    assert asked
    assert not (asked - reported) & known


def test_other_settings_are_refused_once_it_is_finished(explored):
    choose_operating_points(explored, replace(SETTINGS, method="search"))
    for change, message in (
        ({"seed": 1}, "--seed was 0, is now 1"),
        ({"max_loss": (3.0, 30.0)}, "--max-loss was 3,20, is now 3,30"),
        ({"scales": (1.0, 2.0)}, "--scales was 0.3,2, is now 1,2"),
        ({"accuracy_floor": 0.1}, "--accuracy-floor was None, is now 0.1"),
        ({"coefficient": 0.5}, "--coefficient was None, is now 0.5"),
    ):
        with pytest.raises(RunError, match=f"other settings: {message}.*--out"):
            choose_operating_points(explored, replace(SETTINGS, method="search", **change))
    choose_operating_points(explored, replace(SETTINGS, method="kmeans", seed=1))


def test_what_is_unfinished_goes_on_with_other_settings(explored, tmp_path):
    tied = replace(SETTINGS, method="enumerate", max_loss=None, scales=(1e-6, 2e-6))
    with pytest.raises(ConfigError, match=r"points 0 and 1 tie: they cost 1.0000 and 1.0000 .* fewer --points"):
        choose_operating_points(explored, tied, path=tmp_path / "points")
    with pytest.raises(RunError, match="is not finished"):
        open_points(tmp_path / "points")
    with pytest.raises(RunError, match="--coefficient was None, is now 0.5"):
        choose_operating_points(explored, replace(tied, coefficient=0.5), path=tmp_path / "points")
    notes = Notes()
    settings = replace(tied, scales=(0.5, 2.0))
    assert len(choose_operating_points(explored, settings, path=tmp_path / "points", observer=notes).table) == 2
    assert notes.starts[0].n_journaled > 0


def test_errors_and_tolerances_of_the_run_are_used_where_they_are_the_same(explored, tmp_path):
    notes = Notes()
    choose_operating_points(explored, replace(SETTINGS, method="kmeans"), path=tmp_path / "a", observer=notes)
    for name in ("errors.csv", "tolerances.csv"):
        assert (tmp_path / "a" / name).read_bytes() == (explored / name).read_bytes()
    assert (notes.learned, notes.starts[0].notes) == (0, ())
    settings = replace(SETTINGS, method="kmeans", coefficient=0.5)
    found = choose_operating_points(explored, settings, path=tmp_path / "b", observer=notes)
    assert notes.learned == 1
    assert found.config.tolerances.coefficient == found.record["coefficient"] == 0.5


def test_other_recovery_of_the_run_is_replaced_and_told(evaluator, tmp_path):
    config = parse_config("[search]\npopulation_size = 6\ngenerations = 2\n[recovery]\nsum_compensation = true")
    notes, path = Notes(), run(config, tmp_path / "run").path
    found = choose_operating_points(path, replace(SETTINGS, method="kmeans"), observer=notes)
    assert not found.config.recovery.sum_compensation
    assert "bias folding takes the place" in notes.starts[0].notes[0]


def test_an_unfinished_run_will_do(explored):
    (explored / "front.csv").unlink()
    assert len(choose_operating_points(explored, replace(SETTINGS, method="kmeans")).table) == 2


def test_points_move_with_their_run(explored, tmp_path):
    found = choose_operating_points(explored, replace(SETTINGS, method="kmeans"))
    outside = choose_operating_points(explored, replace(SETTINGS, method="kmeans"), path=tmp_path / "outside")
    assert outside.record["run"] == str(explored.resolve())
    moved = tmp_path / "elsewhere" / "run"
    moved.parent.mkdir()
    shutil.move(explored, moved)
    assert open_points(moved / "operating_points" / found.path.name).run_path.resolve() == moved.resolve()
    with pytest.raises(RunError, match="run is not a directory"):
        open_points(tmp_path / "outside")


def test_other_data_than_the_run_had_is_refused(explored, monkeypatch, tmp_path):
    manifest = json.loads((explored / "manifest.json").read_text())
    manifest["hashes"]["network"] = "x" * 64
    (explored / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(RunError, match="has changed: network was xxxxxxxxxxxx, is now nnnnnnnnnnnn"):
        choose_operating_points(explored, SETTINGS, path=tmp_path / "points")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_multipliers": 6}, "6 multipliers were asked for, the library has 5"),
        ({"accuracy_floor": 0.99}, "accuracy floor 0.99: the exact network reaches 0.9500 on the search images"),
    ],
)
def test_what_cannot_be_is_refused(explored, tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        choose_operating_points(explored, replace(SETTINGS, **change), path=tmp_path / "points")
    assert not (tmp_path / "points" / "operating_points.csv").exists()


def test_tiled_accelerators_are_refused(evaluator, tmp_path):
    path = run(
        parse_config("[search]\npopulation_size = 6\ngenerations = 2\n[accelerator]\nkind = 'tiles:2'"), tmp_path
    ).path
    with pytest.raises(ConfigError, match=r"accelerator 'tiles:2'.*expected 'free'. Explore with --accelerator free"):
        choose_operating_points(path, SETTINGS)


def test_a_directory_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="expected a run directory"):
        choose_operating_points(tmp_path, SETTINGS)


def test_points_of_another_run_are_refused(explored, evaluator, tmp_path):
    other = run(parse_config("[search]\npopulation_size = 6\ngenerations = 1"), tmp_path / "other").path
    settings = replace(SETTINGS, method="kmeans")
    choose_operating_points(explored, settings, path=tmp_path / "points")
    with pytest.raises(RunError, match="the run was .*run, is now .*other"):
        choose_operating_points(other, settings, path=tmp_path / "points")


def test_failing_designs_are_left_alone(tmp_path, monkeypatch):
    use_fakes(monkeypatch, FakeEvaluator(failing=(0, 0, 0, 0)))
    path = run(parse_config("[search]\npopulation_size = 6\ngenerations = 2"), tmp_path).path
    found = choose_operating_points(path, replace(SETTINGS, method="search", max_loss=(3.0, 90.0)))
    assert found.table["accuracy"].notna().all()

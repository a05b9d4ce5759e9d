"""dse.runs.runner: a run from start to end, continued, repeated and refused."""

import numpy as np
import pandas as pd
import pytest

from dse.config import parse_config
from dse.errors import RunError
from dse.runs.journal import Journal, read_journal
from dse.runs.loop import Progress
from dse.runs.runner import Silent, run


class Interrupted(Exception):
    pass


class StopAfter(Silent):
    def __init__(self, n_generations):
        self.n_generations = n_generations

    def on_generation(self, progress):
        if progress.n_gen >= self.n_generations:
            raise Interrupted


def keys(path):
    """What was measured: every stage of a race by itself; that one was lost is no measurement."""
    return [(*e.key, e.n_images) for e in read_journal(path / "evaluations.jsonl") if e.state != "raced"]


def test_run_leaves_all_files_and_a_front(tmp_path, evaluator, config):
    result = run(config, tmp_path, config_text="# as given")
    names = {p.name for p in tmp_path.iterdir()} - {".dse-lock"}
    assert names == {
        *("config.toml", "resolved.toml", "manifest.json", "evaluations.jsonl", "generations.csv", "front.csv"),
        *("errors.csv", "tolerances.csv", "initial.csv", "predictions.csv"),
    }
    front = result.front
    assert front["energy_rel"].is_monotonic_increasing
    assert front["point"].tolist() == list(range(len(front)))
    exact = front[front["is_exact"]].iloc[0]
    assert (exact["energy_rel"], exact["assignment"]) == (1.0, "exact;exact;exact;exact")
    assert ((front["accuracy_low"] < front["accuracy"]) & (front["accuracy"] < front["accuracy_high"])).all()
    assert len(keys(tmp_path)) == len(set(keys(tmp_path)))
    reported = result.evaluations[result.evaluations["split"] == "report"]
    assert sorted(reported["assignment"]) == sorted(front["assignment"])


def test_a_budget_within_the_first_generation_leaves_no_predictions(tmp_path, evaluator):
    result = run(parse_config("[search]\npopulation_size = 8\nevaluations = 5"), tmp_path)
    assert len(result.front)
    assert not result.directory.predictions.exists()
    with pytest.raises(RunError, match="has no predictions: expected .* generation that its budget did not cut short"):
        _ = result.predictions


def test_interrupted_run_ends_with_the_same_front(tmp_path, evaluator, config):
    whole = run(config, tmp_path / "whole")
    for n_generations in (1, 2, 3):
        with pytest.raises(Interrupted):
            run(config, tmp_path / "parts", observer=StopAfter(n_generations))
    with open(tmp_path / "parts" / "evaluations.jsonl", "ab") as file:
        file.write(b'{"kind": "evaluation", "split": "sea')
    parts = run(config, tmp_path / "parts")
    pd.testing.assert_frame_equal(whole.front, parts.front)
    assert sorted(keys(tmp_path / "whole")) == sorted(keys(tmp_path / "parts"))
    same = ["n_gen", "n_eval", "hypervolume", "best_energy_rel"]
    pd.testing.assert_frame_equal(whole.generations[same], parts.generations[same])


def test_workers_end_with_the_same_front(tmp_path, evaluator, config):
    one = run(config, tmp_path / "one")
    two = run(parse_config("[execution]\njobs = 2\nthreads = 1\n[search]\npopulation_size = 8\ngenerations = 4"),
              tmp_path / "two")  # fmt: skip
    pd.testing.assert_frame_equal(one.front, two.front)


def test_workers_without_work_are_told_of(tmp_path, evaluator, caplog):
    text = "[search]\npopulation_size = 4\ngenerations = 1\n[execution]\njobs = {}\nworkers_backend = 'threading'"
    run(parse_config(text.format(12)), tmp_path / "busy")
    assert "workers" not in caplog.text
    run(parse_config(text.format(13)), tmp_path / "idle")
    assert "13 workers: generations of 4 designs on 200 images keep 12 busy" in caplog.text


def test_finished_run_is_returned_without_loading(tmp_path, evaluator, config, monkeypatch):
    first = run(config, tmp_path)
    n_calls = len(evaluator.calls)
    pd.testing.assert_frame_equal(run(config, tmp_path).front, first.front)
    assert len(evaluator.calls) == n_calls
    with pytest.raises(RunError, match="finished run.*search.seed was 0, is now 1"):
        run(parse_config("[search]\npopulation_size = 8\ngenerations = 4\nseed = 1"), tmp_path)


def test_changed_evaluator_is_refused(tmp_path, evaluator, config):
    with pytest.raises(Interrupted):
        run(config, tmp_path, observer=StopAfter(1))
    object.__setattr__(evaluator, "fingerprint", "another")
    before = (tmp_path / "evaluations.jsonl").read_bytes()
    with pytest.raises(RunError, match="evaluator was fake-search, is now another"):
        run(config, tmp_path)
    assert (tmp_path / "evaluations.jsonl").read_bytes() == before


def test_budget_is_kept_and_deterministic(tmp_path, evaluator):
    config = parse_config("[search]\npopulation_size = 8\ngenerations = 20\nevaluations = 37")
    one = run(config, tmp_path / "one")
    assert (one.evaluations["split"] == "search").sum() == 37
    assert one.generations["n_eval"].iloc[-1] == 37
    with pytest.raises(Interrupted):
        run(config, tmp_path / "two", observer=StopAfter(2))
    pd.testing.assert_frame_equal(one.front, run(config, tmp_path / "two").front)


@pytest.mark.parametrize("n_evaluations", [1, 3])
def test_tiny_budgets_still_report(tmp_path, evaluator, n_evaluations):
    result = run(parse_config(f"[search]\nevaluations = {n_evaluations}"), tmp_path)
    assert result.front["is_exact"].sum() == 1
    assert (result.evaluations["split"] == "search").sum() == n_evaluations


def test_accuracy_floor_holds_on_the_search_split(tmp_path, evaluator):
    result = run(parse_config("[search]\npopulation_size = 8\ngenerations = 4\naccuracy_floor = 0.8"), tmp_path)
    assert (result.front["accuracy_search"] >= 0.8).all()


@pytest.mark.parametrize("accelerator", ["tiles:2", "pipelined:2"])
def test_tiled_accelerators(tmp_path, evaluator, accelerator):
    text = f"[search]\npopulation_size = 8\ngenerations = 4\n[accelerator]\nkind = '{accelerator}'"
    result = run(parse_config(text), tmp_path)
    assert (result.front["n_tiles"] <= 2).all()
    assert result.front["is_exact"].any()
    assert set(result.assignment(0)["tile"]) <= {0, 1}


@pytest.mark.parametrize("accelerator", ["tiles:1", "pipelined:1"])
def test_one_tile_starts_from_uniform_designs(tmp_path, evaluator, accelerator):
    text = f"[search]\npopulation_size = 8\ngenerations = 4\n[accelerator]\nkind = '{accelerator}'"
    result = run(parse_config(text), tmp_path)
    assert len(result.front) > 1
    assert all(len(set(names.split(";"))) == 1 for names in result.front["assignment"])


@pytest.mark.parametrize("method", ["random", "uniform", "greedy"])
def test_baselines(tmp_path, evaluator, method):
    config = parse_config(f"[search]\nmethod = '{method}'\npopulation_size = 8\ngenerations = 4")
    result = run(config, tmp_path)
    assert result.front["is_exact"].sum() == 1
    assert len(result.front) > 1


def test_exhaustive_covers_the_space(tmp_path, evaluator):
    result = run(parse_config("[search]\nmethod = 'exhaustive'"), tmp_path)
    assert (result.evaluations["split"] == "search").sum() == 5**4


@pytest.mark.parametrize("initial", ["sensitivity", "uniform", "random"])
def test_initial_designs_reach_a_front(tmp_path, evaluator, initial):
    config = parse_config(f"[search]\ninitial = '{initial}'\npopulation_size = 8\ngenerations = 3")
    assert len(run(config, tmp_path).front) > 1


def test_failed_evaluation_is_data(tmp_path, evaluator, config):
    whole = run(config, tmp_path / "whole")
    front = whole.front[~whole.front["is_exact"]]
    names = [m["name"] for m in whole.manifest.multipliers]
    victim = tuple(names.index(n) for n in front["assignment"].iloc[0].split(";"))
    object.__setattr__(evaluator, "failing", victim)
    result = run(config, tmp_path / "failing")
    failed = result.evaluations[result.evaluations["state"] == "failed"]
    assert failed["message"].tolist() == ["ValueError: no such multiplier"]
    assert failed["assignment"].iloc[0] not in set(result.front["assignment"])
    assert failed["is_dominated"].all()


def test_failing_exact_network_is_an_error_and_not_stored(tmp_path, evaluator, config):
    object.__setattr__(evaluator, "failing", (4, 4, 4, 4))
    with pytest.raises(RunError, match="exact multipliers cannot be evaluated: ValueError: no such"):
        run(config, tmp_path)
    assert keys(tmp_path) == []
    object.__setattr__(evaluator, "failing", ())
    run(config, tmp_path)


def test_disk_full_keeps_what_was_computed(tmp_path, evaluator, config, monkeypatch):
    whole = run(config, tmp_path / "whole")
    real, written = Journal._write, []

    def fill_up(self, data):
        written.append(data)
        if len(written) > 5:
            raise RunError("the disk is full")
        real(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "_write", fill_up)
        with pytest.raises(RunError, match="disk is full"):
            run(config, tmp_path / "full")
    assert len(keys(tmp_path / "full")) > 0
    pd.testing.assert_frame_equal(run(config, tmp_path / "full").front, whole.front)


def test_observer_sees_progress(tmp_path, evaluator, config):
    seen = []

    class Watching(Silent):
        def on_start(self, start):
            seen.append(start)

        def on_generation(self, progress):
            seen.append(progress)

        def on_evaluation(self, progress):
            assert progress.n_left >= 0

    run(config, tmp_path, observer=Watching())
    start, *generations = seen
    assert (start.n_layers, start.n_multipliers, start.n_multiplications) == (4, 5, 1000)
    assert [g.n_gen for g in generations] == [1, 2, 3, 4]
    assert all(isinstance(g, Progress) for g in generations)
    assert np.diff([g.hypervolume for g in generations]).min() >= 0

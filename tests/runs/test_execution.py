"""dse.runs.execution: same results for any number of workers, failures are data."""

import os
import sys

import numpy as np
import pytest

from dse.errors import ConfigError, RunError
from dse.runs.execution import Executor, available_cpus, evaluate_batch
from dse.testing.fakes import FakeEvaluator


@pytest.fixture
def assignments():
    return np.random.default_rng(0).integers(0, 5, size=(40, 4))


def hits(results):
    return np.array([r.hits for r in results])


def test_results_are_in_order_and_handed_over_in_parts(assignments):
    evaluator, seen = FakeEvaluator(), []
    before = assignments.copy()
    results = evaluate_batch(evaluator, assignments, seen.extend)
    assert [r.index for r in results] == list(range(40))
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))
    np.testing.assert_array_equal([r.accuracy for r in results], FakeEvaluator()(assignments))
    assert sorted(r.index for r in seen) == list(range(40))
    assert len(evaluator.calls) > 1
    np.testing.assert_array_equal(assignments, before)


def test_workers_give_the_same_results(assignments):
    one = evaluate_batch(FakeEvaluator(), assignments)
    seen = []
    two = evaluate_batch(FakeEvaluator(), assignments, seen.extend, jobs=2, threads=1)
    np.testing.assert_array_equal(hits(one), hits(two))
    assert sorted(r.index for r in seen) == list(range(40))


def test_a_raising_assignment_fails_alone(assignments):
    bad = tuple(int(m) for m in assignments[7])
    results = evaluate_batch(FakeEvaluator(failing=bad), assignments)
    failed = {r.index for r in results if not r.is_ok}
    assert failed == {i for i, row in enumerate(assignments) if tuple(row) == bad}
    assert results[7].message == "ValueError: no such multiplier"


@pytest.mark.parametrize("wrong", [0.5, np.zeros(200), np.ones((1, 199), dtype=bool), [[float("nan")] * 200]])
def test_anything_but_one_bool_an_image_is_a_failure(wrong):
    class Wrong(FakeEvaluator):
        def correct(self, assignments, start, stop):
            return wrong if (assignments == 0).all(axis=1).any() else super().correct(assignments, start, stop)

    results = evaluate_batch(Wrong(), np.array([[0, 0, 0, 0], [0, 0, 0, 1]]))
    assert [r.is_ok for r in results] == [False, True]
    assert "expected bool [1, 200]" in results[0].message
    assert np.isnan(results[0].accuracy)


@pytest.mark.parametrize("jobs", [1, 2])
def test_parts_of_the_images_add_up(assignments, jobs):
    evaluator, keep = FakeEvaluator(), lambda results: None
    with Executor(jobs, threads=1) as executor:
        parts = [executor.run(evaluator, assignments, keep, start=a, stop=b) for a, b in ((0, 16), (16, 170))]
        parts.append(executor.run(evaluator, assignments, keep, start=170))
    np.testing.assert_array_equal(np.hstack([hits(part) for part in parts]), evaluator.correct(assignments, 0, 200))


def test_empty_batch():
    assert evaluate_batch(FakeEvaluator(), np.empty((0, 4), dtype=np.int64)) == []


def test_error_in_the_receiver_stops_the_batch(assignments):
    def full(results):
        raise OSError("full")

    evaluator = FakeEvaluator()
    with pytest.raises(OSError, match="full"):
        evaluate_batch(evaluator, assignments, full)
    assert evaluator.calls == [1]


def test_slurm_cores_win(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert available_cpus() == 6
    assert Executor(jobs=1).threads == 6
    monkeypatch.delenv("SLURM_CPUS_PER_TASK")
    assert available_cpus() == len(os.sched_getaffinity(0))


class Local(FakeEvaluator):
    """Stands for a class that a notebook defines."""


class Deadly(FakeEvaluator):
    def correct(self, assignments, start, stop):
        os._exit(1)


def test_classes_of_scripts_reach_workers(assignments, monkeypatch):
    monkeypatch.setattr(Local, "__module__", "__main__")
    monkeypatch.setattr(sys.modules["__main__"], "Local", Local, raising=False)
    results = evaluate_batch(Local(), assignments, jobs=2, threads=1)
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))


def test_dead_worker_is_told(assignments):
    with pytest.raises(RunError, match="worker processes died.*fewer --jobs"):
        evaluate_batch(Deadly(), assignments, jobs=2, threads=1)


def test_bad_numbers():
    with pytest.raises(ConfigError, match="jobs = 0"):
        Executor(jobs=0)


def test_torch_is_not_imported_for_nothing(assignments):
    had = "torch" in sys.modules
    evaluate_batch(FakeEvaluator(), assignments)
    assert ("torch" in sys.modules) == had

"""dse.runs.execution: same results for any number of workers, failures are data."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from dse import stopping
from dse.errors import ConfigError, RunError
from dse.runs import execution
from dse.runs.execution import LocalExecutor, available_cpus, evaluate_batch
from dse.runs.work import cut_images
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


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_give_the_same_results(assignments, backend):
    one = evaluate_batch(FakeEvaluator(), assignments)
    seen = []
    with LocalExecutor(2, 1, backend=backend) as executor:
        two = executor.run(FakeEvaluator(), assignments, seen.extend)
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
    with LocalExecutor(jobs, threads=1) as executor:
        parts = [executor.run(evaluator, assignments, keep, start=a, stop=b) for a, b in ((0, 16), (16, 170))]
        parts.append(executor.run(evaluator, assignments, keep, start=170))
    np.testing.assert_array_equal(np.hstack([hits(part) for part in parts]), evaluator.correct(assignments, 0, 200))


class InParts(FakeEvaluator):
    """Goes through the images in parts of 60, the last assignment first."""

    def correct_in_parts(self, assignments, start, stop):
        for begin in range(start, stop, 60):
            for row in reversed(range(len(assignments))):
                yield row, self.correct(assignments[row][None], begin, min(begin + 60, stop))[0]


def test_parts_are_handed_over_as_they_grow(assignments, monkeypatch):
    monkeypatch.setattr(execution, "CHUNK_TIME_S", 0.0)
    expected, seen = FakeEvaluator().correct(assignments, 0, 200), []
    results = evaluate_batch(InParts(), assignments, lambda part: seen.extend((r.index, r.hits) for r in part))
    assert [r.index for r in results] == list(range(40))
    np.testing.assert_array_equal(hits(results), expected)
    assert [index for index, _ in seen] == 4 * list(reversed(range(40)))
    assert [len(known) for _, known in seen] == [60] * 40 + [120] * 40 + [180] * 40 + [200] * 40
    for index, known in seen:
        np.testing.assert_array_equal(known, expected[index, : len(known)])


def test_parts_are_handed_over_together_where_they_come_fast(assignments):
    evaluator, seen = InParts(), []
    results = evaluate_batch(evaluator, assignments, seen.append)
    assert [len(part) for part in seen] == [40]
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))
    assert evaluator.calls == [1] * 160


def test_part_of_the_images_in_parts(assignments):
    with LocalExecutor() as executor:
        for start, stop in ((0, 50), (33, 200), (70, 70)):
            results = executor.run(InParts(), assignments, lambda part: None, start=start, stop=stop)
            np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, start, stop))


def test_workers_measure_in_parts_too(assignments):
    results = evaluate_batch(InParts(), assignments, jobs=2, threads=1)
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))


@pytest.mark.parametrize("chunk_time_s", [0.0, 9.0])
def test_a_part_that_raises_fails_its_assignment_alone(assignments, monkeypatch, chunk_time_s):
    class Later(InParts):
        def correct(self, assignments, start, stop):
            if stop > 120 and (assignments == bad).all(axis=1).any():
                raise ValueError("out of luck")
            ranges.extend((tuple(a), start, stop) for a in assignments.tolist())
            return super().correct(assignments, start, stop)

    monkeypatch.setattr(execution, "CHUNK_TIME_S", chunk_time_s)
    bad, ranges, seen = assignments[25], [], []
    results = evaluate_batch(Later(), assignments, seen.extend)
    expected = FakeEvaluator().correct(assignments, 0, 200)
    for result, row in zip(results, expected, strict=True):
        if (assignments[result.index] == bad).all():
            assert result.message == "ValueError: out of luck"
        else:
            np.testing.assert_array_equal(result.hits, row)
    # What was known of the others is not measured again.
    good = [r for r in ranges if r[0] != tuple(bad)]
    assert sum(stop - start for _, start, stop in good) == 200 * sum((assignments != bad).any(axis=1))
    assert {r.index for r in seen} == set(range(40))


@pytest.mark.parametrize("wrong", [(0, np.zeros(60)), (0, np.zeros(201, dtype=bool)), (0, [[True]]), (0, None), None])
def test_wrong_parts_are_not_believed(assignments, wrong):
    class Wrong(InParts):
        def correct_in_parts(self, assignments, start, stop):
            yield from list(super().correct_in_parts(assignments, start, stop))[:50]
            yield wrong

    seen = []
    results = evaluate_batch(Wrong(), assignments, seen.extend)
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))
    assert all(len(r.hits) in (60, 120, 200) for r in seen)


def test_missing_parts_are_made_up_for(assignments):
    class Short(InParts):
        def correct_in_parts(self, assignments, start, stop):
            yield from list(super().correct_in_parts(assignments, start, stop))[:-3]

    results = evaluate_batch(Short(), assignments)
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))


def test_error_in_the_receiver_of_parts_stops_the_batch(assignments, monkeypatch):
    monkeypatch.setattr(execution, "CHUNK_TIME_S", 0.0)

    def full(results):
        raise OSError("full")

    evaluator = InParts()
    with pytest.raises(OSError, match="full"):
        evaluate_batch(evaluator, assignments, full)
    assert evaluator.calls == [1]


def test_empty_batch():
    assert evaluate_batch(InParts(), np.empty((0, 4), dtype=np.int64)) == []
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
    assert LocalExecutor(jobs=1).threads == 6
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


def test_work_of_a_dead_worker_goes_to_others(assignments, tmp_path, monkeypatch):
    @dataclass(frozen=True)
    class DyingOnce(FakeEvaluator):
        mark: str = str(tmp_path / "died")

        def correct(self, assignments, start, stop):
            time.sleep(0.05)
            if (assignments == bad).all(axis=1).any() and not os.path.exists(self.mark):
                open(self.mark, "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            return super().correct(assignments, start, stop)

    bad, seen = assignments[30], []
    results = evaluate_batch(DyingOnce(), assignments, seen.extend, jobs=2, threads=1)
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))
    assert sorted(r.index for r in seen) == list(range(40))


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_asked_to_stop_everything_under_way_is_handed_over(assignments, tmp_path, backend):
    @dataclass(frozen=True)
    class Asking(FakeEvaluator):
        driver: int = os.getpid()
        folder: str = str(tmp_path)

        def correct(self, assignments, start, stop):
            time.sleep(0.2)  # until the driver knows, a slow one too
            for assignment in assignments:
                Path(self.folder, "-".join(map(str, assignment))).touch()
            if (assignments == first).all(axis=1).any():
                # a batch system signals all processes of a job
                for process in {os.getpid(), self.driver}:
                    os.kill(process, signal.SIGTERM)
            return super().correct(assignments, start, stop)

    first, seen = assignments[cut_images(assignments, 0, 200, jobs=2).related_first()[4]], []
    with stopping.on_signals(), LocalExecutor(2, 1, backend=backend) as executor, pytest.raises(stopping.Stopped):
        executor.run(Asking(), assignments, seen.extend)
    begun = {path.name for path in tmp_path.iterdir()}
    assert begun == {"-".join(map(str, assignments[r.index])) for r in seen}
    assert 2 <= len(begun) < len(assignments)


def test_every_thread_has_its_own_evaluator(assignments):
    class Alone(FakeEvaluator):
        def correct(self, assignments, start, stop):
            self.calls.append(1)  # of this copy
            assert len(self.calls) == 1, "two threads use this evaluator"
            time.sleep(0.005)
            outcomes = super().correct(assignments, start, stop)
            self.calls.clear()
            return outcomes

    with LocalExecutor(3, 1, backend="threading") as executor:
        results = executor.run(Alone(), assignments, lambda part: None)
    assert all(r.is_ok for r in results)


def test_bad_numbers():
    with pytest.raises(ConfigError, match="jobs = 0"):
        LocalExecutor(jobs=0)


def test_torch_is_not_imported_for_nothing(assignments):
    had = "torch" in sys.modules
    evaluate_batch(FakeEvaluator(), assignments)
    assert ("torch" in sys.modules) == had


ORPHANS = """
import sys, time
import numpy as np
from dse.runs.execution import LocalExecutor
from dse.testing.fakes import FakeEvaluator

class Slow(FakeEvaluator):
    def correct(self, assignments, start, stop):
        open(sys.argv[1] + f"/{os.getpid()}", "w").close()
        time.sleep(600)
        return super().correct(assignments, start, stop)

import os
with LocalExecutor(2, 1) as executor:
    executor.run(Slow(), np.zeros((2, 4), dtype=np.int64), print)
"""


def is_alive(process):
    """Not one that has ended, and that nobody asks after, as where the first process of a container is no init."""
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.skipif(sys.platform == "win32", reason="needs process numbers of parents")
def test_workers_end_with_a_driver_that_is_killed(tmp_path):
    driver = subprocess.Popen([sys.executable, "-c", ORPHANS, str(tmp_path)])
    while len(workers := [int(path.name) for path in tmp_path.iterdir()]) < 2:
        assert driver.poll() is None
        time.sleep(0.05)
    driver.kill()
    driver.wait()
    end = time.monotonic() + 120
    while any(map(is_alive, workers)):
        assert time.monotonic() < end
        time.sleep(0.1)

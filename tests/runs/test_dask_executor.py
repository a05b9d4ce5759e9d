"""dse.runs.dask_executor: a real dask cluster of two processes gives what this process gives, whatever happens."""

import os
import signal
import sys
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import cloudpickle
import numpy as np
import pytest

from dse import stopping
from dse.errors import RunError
from dse.runs.execution import LocalExecutor, evaluate_batch
from dse.testing.fakes import FakeEvaluator

distributed = pytest.importorskip("distributed")

from dse.runs import dask_executor, dask_worker  # noqa: E402
from dse.runs.dask_executor import DaskExecutor, _Pace  # noqa: E402
from dse.runs.work import cut_images  # noqa: E402

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address="127.0.0.1:0"
    ) as cluster:
        cluster.adapt(minimum=2, maximum=2)  # replaces what a nanny gave up
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster, set_as_default=False) as client:
        client.wait_for_workers(2, timeout=300)
        yield client


@pytest.fixture
def assignments():
    return np.unique(np.random.default_rng(0).integers(0, 5, size=(40, 4)), axis=0)


@dataclass(frozen=True)
class Logged(FakeEvaluator):
    """Writes time, process and assignment whenever it begins one; the assignment that is `special` acts."""

    folder: str = ""
    special: tuple[int, ...] = ()
    times: int = 1

    def correct(self, assignments, start, stop):
        for row in assignments:
            time.sleep(0.01)
            with open(Path(self.folder, "begun"), "a") as file:
                file.write(f"{time.time()} {os.getpid()} {tuple(row.tolist())}\n")
            if tuple(row.tolist()) == self.special and self._is_turn():
                self.act()
        return super().correct(assignments, start, stop)

    def _is_turn(self):
        for i in range(self.times):
            try:
                Path(self.folder, f"acted{i}").touch(exist_ok=False)
                return True
            except FileExistsError:
                continue
        return False

    def act(self):
        pass

    @property
    def begun(self):
        return [line.split(" ", 2)[1:] for line in Path(self.folder, "begun").read_text().splitlines()]

    @property
    def times_begun(self):
        """By assignment."""
        found = defaultdict(list)
        for line in Path(self.folder, "begun").read_text().splitlines():
            time_s, _, assignment = line.split(" ", 2)
            found[assignment].append(float(time_s))
        return found


class Dying(Logged):
    def act(self):
        os.kill(os.getpid(), signal.SIGKILL)


class Hanging(Logged):
    def act(self):
        time.sleep(600)


def hits(results):
    return np.array([r.hits for r in results])


def run(client, evaluator, assignments, **options):
    """Results; every one was handed over once."""
    seen = []
    with DaskExecutor(client, place="a test", **options) as executor:
        results = executor.run(evaluator, assignments, seen.extend)
    assert sorted(r.index for r in seen) == list(range(len(assignments)))
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))
    return results


def test_results_are_those_of_this_process(client, assignments, tmp_path):
    evaluator = Logged(folder=str(tmp_path))
    run(client, evaluator, assignments)
    # Each once, by more than one process, none of them this one.
    assert Counter(eval(a) for _, a in evaluator.begun) == Counter(map(tuple, assignments.tolist()))
    assert str(os.getpid()) not in {pid for pid, _ in evaluator.begun}


def test_parts_of_the_images_and_failures(client, assignments):
    bad = tuple(int(m) for m in assignments[7])
    with DaskExecutor(client, place="a test") as executor:
        first, rest = (
            executor.run(FakeEvaluator(), assignments, lambda r: None, start=a, stop=b) for a, b in ((0, 50), (50, 200))
        )
        failing = FakeEvaluator(failing=bad, fingerprint="failing")
        results = executor.run(failing, assignments, lambda r: None)
        assert executor.run(failing, assignments[:0], lambda r: None) == []
        assert executor.jobs == 2
    np.testing.assert_array_equal(np.hstack([hits(first), hits(rest)]), FakeEvaluator().correct(assignments, 0, 200))
    assert [r.index for r in results if not r.is_ok] == [7]
    assert results[7].message == "ValueError: no such multiplier"


def test_the_evaluator_travels_once(client, assignments, monkeypatch):
    sent, send = [], client.register_plugin

    def register(plugin, *, name):
        sent.append(name)
        return send(plugin, name=name)

    monkeypatch.setattr(client, "register_plugin", register)
    with DaskExecutor(client, place="a test") as executor:
        for part in np.array_split(assignments, 3):
            executor.run(FakeEvaluator(), part, lambda r: None)
    assert len(sent) == 1


def test_another_driver_may_take_the_evaluator_away(client, assignments):
    with DaskExecutor(client, place="one") as one:
        one.run(FakeEvaluator(), assignments[:4], lambda r: None)
        with DaskExecutor(client, place="other") as other:
            other.run(FakeEvaluator(), assignments[:4], lambda r: None)
        results = one.run(FakeEvaluator(), assignments, lambda r: None)
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))


def test_work_of_a_killed_worker_goes_to_others(client, assignments, tmp_path):
    evaluator, handed = Dying(folder=str(tmp_path), special=tuple(assignments[11].tolist()), fingerprint="dying"), {}

    def keep(results):
        handed.update((str(tuple(assignments[r.index].tolist())), time.time()) for r in results)

    with DaskExecutor(client, place="a test") as executor:
        results = executor.run(evaluator, assignments, keep)
    np.testing.assert_array_equal(hits(results), FakeEvaluator().correct(assignments, 0, 200))
    begun = evaluator.times_begun
    assert len(begun[str(evaluator.special)]) == 2
    for assignment, times in begun.items():
        assert max(times) < handed[assignment], "this was measured again although its result was there"


@pytest.mark.slow
def test_an_assignment_that_kills_every_worker_is_told(client, assignments, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_executor, "MAX_KILLS", 1)
    special = tuple(assignments[3].tolist())
    evaluator = Dying(folder=str(tmp_path), special=special, times=1000, fingerprint="deadly")
    seen = []
    with (
        pytest.raises(RunError, match=r"every worker of a test that evaluated \[.*\] died.*memory"),
        DaskExecutor(client, place="a test") as executor,
    ):
        executor.run(evaluator, assignments[:6], seen.extend)
    assert 3 not in {r.index for r in seen}


@pytest.mark.parametrize("is_own", [True, False])
def test_work_of_a_hanging_worker_goes_to_others(client, assignments, tmp_path, is_own, caplog, monkeypatch):
    monkeypatch.setattr(dask_executor, "RESTART_S", 1)
    evaluator = Hanging(folder=str(tmp_path), special=tuple(assignments[20].tolist()), fingerprint=f"hanging {is_own}")
    begin = time.monotonic()
    run(client, evaluator, assignments, timeout_s=0.4, is_own=is_own)
    assert time.monotonic() - begin < 300
    assert "its evaluations go to others" in caplog.text
    if not is_own:  # the process still hangs
        os.kill(int(next(pid for pid, a in evaluator.begun if a == str(evaluator.special))), signal.SIGKILL)


def test_a_wrong_version_is_refused(client, assignments, monkeypatch):
    monkeypatch.setattr("dse.runs.dask_executor.__version__", "0.0.7")
    with (
        pytest.raises(RunError, match=r"has dse .*, this process 0\.0\.7"),
        DaskExecutor(client, place="x") as executor,
    ):
        executor.run(FakeEvaluator(), assignments, lambda r: None)


def test_an_evaluator_that_changes_on_its_way_is_refused(client, assignments):
    class Changing(FakeEvaluator):
        def __reduce__(self):
            return FakeEvaluator, ()

    with pytest.raises(RunError, match="other fingerprint"), DaskExecutor(client, place="x") as executor:
        executor.run(Changing(fingerprint="here"), assignments, lambda r: None)


def test_an_evaluator_that_workers_cannot_read_is_told(client, assignments):
    class Unreadable(FakeEvaluator):
        def __reduce__(self):
            return int, ("no number",)

    with (
        pytest.raises(RunError, match="a worker of x cannot evaluate: ValueError"),
        DaskExecutor(client, place="x") as executor,
    ):
        executor.run(Unreadable(fingerprint="unreadable"), assignments, lambda r: None)


def test_error_in_the_receiver_stops_the_batch(client, assignments):
    def full(results):
        raise OSError("full")

    with DaskExecutor(client, place="x") as executor:
        with pytest.raises(OSError, match="full"):
            executor.run(FakeEvaluator(), assignments, full)
        assert not executor._flights


def test_a_worker_that_dies_while_it_is_sent_the_evaluator(client, assignments, monkeypatch):
    register, calls = client.register_plugin, []

    def fails_first(plugin, name):
        calls.append(name)
        if len(calls) == 1:
            raise distributed.comm.CommClosedError("a worker has died")
        return register(plugin, name=name)

    monkeypatch.setattr(client, "register_plugin", fails_first)
    run(client, FakeEvaluator(fingerprint="sent twice"), assignments)
    assert len(calls) == 2
    monkeypatch.setattr(dask_executor, "NO_WORKERS_S", -1.0)
    calls.clear()
    with pytest.raises(RunError, match="die while they are sent network and data"):
        run(client, FakeEvaluator(fingerprint="never sent"), assignments)


def test_pace():
    work = cut_images(np.zeros((4, 2), dtype=np.int64), 0, 10, jobs=1)
    chunk = dask_worker.Chunk(1, "", "", "", 1, np.arange(4), work)
    flight = type("Flight", (), {"chunk": chunk, "n_before": 0})()
    assert _Pace(3.0).limit(flight) == 12.0
    pace = _Pace(None)
    assert pace.limit(flight) == 1800
    pace.learn(chunk, 4.0)
    assert pace.limit(flight) == 120
    pace.learn(chunk, 400.0)
    assert pace.limit(flight) == 8000
    flight.n_before = 1
    assert pace.limit(flight) == 16000


def test_local_results_are_the_reference(assignments):
    with LocalExecutor(1, 1) as executor:
        here = executor.run(FakeEvaluator(), assignments, lambda r: None)
    np.testing.assert_array_equal(hits(here), hits(evaluate_batch(FakeEvaluator(), assignments)))


class Slow(Logged):
    def correct(self, assignments, start, stop):
        time.sleep(1.5)
        return super().correct(assignments, start, stop)


def test_asked_to_stop_what_is_under_way_is_handed_over_and_nothing_else_begins(
    client, assignments, tmp_path, monkeypatch
):
    monkeypatch.setattr(dask_executor, "NEWS_S", 1.2)  # for busy machines; an assignment takes longer
    evaluator, few, seen = Slow(fingerprint="slow", folder=str(tmp_path)), assignments[:12], []

    def ask(results):
        seen.extend(results)
        if len(seen) == len(results):
            os.kill(os.getpid(), signal.SIGTERM)

    with stopping.on_signals(), DaskExecutor(client, place="a test") as executor, pytest.raises(stopping.Stopped):
        executor.run(evaluator, few, ask)
    handed = {str(tuple(few[r.index].tolist())) for r in seen}
    assert 0 < len(handed) < len(few)
    time.sleep(2)  # what else had been sent would have begun
    assert handed == set(evaluator.times_begun)
    run(client, evaluator, few[:2])

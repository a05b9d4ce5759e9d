"""dse.runs.meter: every image is measured once, races end the same way however they are run, budgets are kept."""

import os
from dataclasses import dataclass, field

import numpy as np
import pytest

from dse.cost.accelerators import Designs, make_accelerator
from dse.runs import execution
from dse.runs.execution import LocalExecutor
from dse.runs.journal import Evaluation, Journal, longest, read_journal
from dse.runs.meter import BudgetSpent, Meter
from dse.search.racing import Race
from dse.testing.fakes import FakeEvaluator, fake_library

EXACT = np.full(4, 4)
N_IMAGES = 200
STOPS = Race().stops(N_IMAGES)


@dataclass(frozen=True)
class Recording(FakeEvaluator):
    """Remembers every range of images that it was asked for."""

    ranges: list = field(default_factory=list, compare=False)

    def correct(self, assignments, start, stop):
        hits = super().correct(assignments, start, stop)
        self.ranges.extend((tuple(a), start, stop) for a in assignments.tolist())
        return hits


def free_accelerator():
    """Energy is saved in the first layers, accuracy is lost in the last: many designs are far from the front."""
    return make_accelerator("free", FakeEvaluator().layers[::-1], library=fake_library())


class Energies:
    """An accelerator whose energies depend on the tiles alone."""

    def energy_rel(self, designs):
        return designs.tiles[:, 0] / 100


@pytest.fixture
def evaluator():
    return Recording()


@pytest.fixture
def make_meter(tmp_path, evaluator):
    with Journal(tmp_path / "evaluations.jsonl") as journal, LocalExecutor() as executor:
        yield lambda budget=None, race=None, accelerator=None: Meter(
            evaluator, "search", accelerator=accelerator or free_accelerator(), journal=journal, executor=executor,
            budget=budget, race=race,
        )  # fmt: skip


def random_designs(n, seed=0):
    return Designs(np.random.default_rng(seed).integers(0, 5, size=(n, 4)))


def test_same_assignment_is_measured_once(make_meter, evaluator):
    meter = make_meter()
    designs = Designs(np.array([[0, 1, 2, 3], [0, 1, 2, 3], [4, 4, 4, 4]]))
    measured = meter(designs)
    meter(designs)
    assert (meter.n_eval, meter.n_new, meter.n_images) == (2, 2, 2 * N_IMAGES)
    assert len(evaluator.ranges) == 2
    assert measured.accuracy[0] == measured.accuracy[1]
    assert measured.is_complete.all()
    assert measured.n_images.tolist() == [N_IMAGES] * 3
    assert len(meter.everything().designs) == 2


def test_replayed_evaluations_count_in_the_budget(make_meter):
    designs = Designs(np.array([[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2]]))
    make_meter()(designs)
    meter = make_meter(budget=2)
    with pytest.raises(BudgetSpent):
        meter(designs)
    assert (meter.n_eval, meter.n_new, len(meter.everything().designs)) == (2, 0, 2)


def test_known_assignments_are_free_after_the_budget(make_meter):
    meter = make_meter(budget=1)
    meter(Designs(EXACT[None]))
    meter(Designs(EXACT[None]))
    with pytest.raises(BudgetSpent):
        meter(Designs(np.zeros((1, 4), dtype=np.int64)))
    assert len(meter.everything().designs) == 1


def test_plain_journal_holds_one_whole_line_an_assignment(make_meter, tmp_path):
    make_meter()(random_designs(10))
    records = read_journal(tmp_path / "evaluations.jsonl")
    assert len(records) == len({r.key for r in records}) == 10
    for record in records:
        assert (record.state, record.n_images) == ("ok", N_IMAGES)
        assert record.accuracy == record.first_hits(N_IMAGES).mean() == FakeEvaluator()(np.array([record.assignment]))


def test_without_a_rival_nothing_is_stopped(make_meter, evaluator):
    meter = make_meter(race=Race())
    assert meter(random_designs(10)).is_complete.all()
    assert all((start, stop) == (0, N_IMAGES) for _, start, stop in evaluator.ranges)
    assert meter(Designs(np.zeros((1, 4), dtype=np.int64))).is_complete.all()  # the cheapest


def test_beaten_designs_stop_early_and_stay_below_their_rival(make_meter):
    meter = make_meter(race=Race())
    rival = meter(Designs(np.array([[0, 4, 4, 4], [4, 4, 4, 4]])))
    measured = meter(Designs(np.array([[4, 4, 0, 1], [4, 4, 0, 1], [3, 4, 4, 4]])))
    assert measured.is_complete.tolist() == [False, False, True]
    assert measured.n_images[0] in STOPS[:-1]
    assert rival.energy_rel[0] < measured.energy_rel[0]
    assert 0 <= measured.accuracy[0] < rival.accuracy[0]
    assert measured.accuracy[0] == measured.accuracy[1]
    assert meter.n_images == 3 * N_IMAGES + measured.n_images[0]
    assert meter.everything().is_complete.tolist() == [True, True, False, True]


def test_a_beaten_design_can_be_completed(make_meter, evaluator):
    meter = make_meter(race=Race())
    meter(Designs(np.array([[0, 4, 4, 4]])))
    beaten = Designs(np.array([[4, 4, 4, 0]]))
    assert not meter(beaten).is_complete.any()
    assert told(meter(beaten)) == told(meter.everything().take(np.array([1])))
    n_raced = evaluator.ranges[-1][2]
    assert n_raced in STOPS[:-1]
    measured = meter(beaten, is_raced=False)
    assert evaluator.ranges[-1] == ((4, 4, 4, 0), n_raced, N_IMAGES)
    assert measured.accuracy == FakeEvaluator()(beaten.assignments)
    assert measured.is_complete.all()
    assert meter.everything().is_complete.all()
    assert meter.n_images == 2 * N_IMAGES


def test_one_assignment_with_two_energies(make_meter, tmp_path):
    meter = make_meter(race=Race(), accelerator=Energies())

    def designs(rows, energies):
        return Designs(np.array(rows), np.array(energies)[:, None], np.zeros((len(rows), 1), dtype=np.int64))

    meter(designs([EXACT], [50]))
    bad = [0, 0, 0, 0]
    assert not meter(designs([bad], [60])).is_complete[0]
    assert {e.state for e in longest(read_journal(tmp_path / "evaluations.jsonl")).values()} == {"ok", "raced"}
    # The cheaper twin has no rival; once it is complete, both are.
    assert meter(designs([bad, bad], [70, 40])).is_complete.all()
    everything = meter.everything()
    assert everything.is_complete.all()
    assert everything.energy_rel.tolist() == [0.5, 0.6, 0.7, 0.4]
    assert meter.n_images == 2 * N_IMAGES


@dataclass(frozen=True)
class FailsLater(Recording):
    """One assignment fails beyond the first images."""

    def correct(self, assignments, start, stop):
        if stop > STOPS[0] and (assignments == [3, 3, 3, 3]).all(axis=1).any():
            raise ValueError("out of luck")
        return super().correct(assignments, start, stop)


@dataclass(frozen=True)
class InParts(FailsLater):
    """All assignments go through 40 images before the next 40 come."""

    def correct_in_parts(self, assignments, start, stop):
        for begin in range(start, stop, 40):
            for row in range(len(assignments)):
                yield row, self.correct(assignments[row][None], begin, min(begin + 40, stop))[0]


def told(measured):
    return measured.accuracy.tolist(), measured.n_images.tolist(), measured.is_complete.tolist()


BATCHES = [Designs(EXACT[None]), random_designs(8), Designs(np.vstack([random_designs(14, 1).assignments, [[3] * 4]])),
           random_designs(10, 2)]  # fmt: skip


def session(path, *, jobs=1, budget=None, evaluator=None):
    """Races a few batches; what was told, what is known at the end, the cost, the journal."""
    evaluator, history = evaluator or FailsLater(), []
    with Journal(path) as journal, LocalExecutor(jobs, 1) as executor:
        meter = Meter(
            evaluator, "search", accelerator=free_accelerator(), journal=journal, executor=executor, budget=budget,
            race=Race(),
        )  # fmt: skip
        try:
            for designs in [*BATCHES, BATCHES[2]]:
                history.append(told(meter(designs)))
            raced = meter.everything().designs.assignments[~meter.everything().is_complete][:3]
            history.append(told(meter(Designs(raced), is_raced=False)))
        except BudgetSpent:
            history.append("spent")
        history += [told(meter.everything()), meter.n_images, meter.n_eval]
    known = sorted(map(repr, longest(read_journal(path)).values()))
    return repr(history), known, meter


def test_session_has_all_kinds_of_ends(tmp_path):
    evaluator = FailsLater()
    _, _, meter = session(tmp_path / "j", evaluator=evaluator)
    states = [e.state for e in longest(read_journal(tmp_path / "j")).values()]
    assert set(states) == {"ok", "raced", "failed"}
    assert meter.message(np.full(4, 3)) == "ValueError: out of luck"
    everything = meter.everything()
    stopped = everything.n_images[~everything.is_complete]
    assert len(set(stopped)) > 1
    assert np.isnan(everything.accuracy).sum() == 1
    measured_images = sum(stop - start for _, start, stop in evaluator.ranges)
    # The failed one was asked for images that it has no outcomes of.
    assert meter.n_images - measured_images == STOPS[1] - STOPS[0]


def test_every_interruption_is_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    whole = tmp_path / "whole"
    expected, known, _ = session(whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    assert len(lines) > 40
    for n_lines in range(len(lines) + 1):
        parts, evaluator = tmp_path / f"parts{n_lines}", FailsLater()
        torn = lines[n_lines][: len(lines[n_lines]) // 2] if n_lines < len(lines) else b""
        parts.write_bytes(b"".join(lines[:n_lines]) + torn)
        before = {e.assignment: e.n_images for e in longest(read_journal(parts)).values()}
        assert session(parts, evaluator=evaluator)[:2] == (expected, known)
        for assignment, start, stop in evaluator.ranges:
            assert before.get(assignment, 0) == start
            before[assignment] = stop


def test_parts_are_journaled_and_continued(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    expected, known, _ = session(tmp_path / "whole")
    monkeypatch.setattr(execution, "CHUNK_TIME_S", 0.0)
    assert session(tmp_path / "in_parts", evaluator=InParts())[:2] == (expected, known)
    lines = (tmp_path / "in_parts").read_bytes().splitlines(keepends=True)
    assert len(lines) > 1.5 * len((tmp_path / "whole").read_bytes().splitlines())
    for n_lines in range(0, len(lines), 3):
        path, evaluator = tmp_path / f"parts{n_lines}", InParts()
        path.write_bytes(b"".join(lines[:n_lines]))
        before = {e.assignment: e.n_images for e in longest(read_journal(path)).values()}
        assert session(path, evaluator=evaluator)[:2] == (expected, known)
        for assignment, start, stop in evaluator.ranges:
            assert before.get(assignment, 0) == start
            before[assignment] = stop


def test_progress_moves_with_the_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(execution, "CHUNK_TIME_S", 0.0)
    left = []
    with Journal(tmp_path / "j") as journal, LocalExecutor() as executor:
        meter = Meter(
            InParts(), "search", accelerator=free_accelerator(), journal=journal, executor=executor,
            on_results=left.append,
        )  # fmt: skip
        meter(Designs(np.arange(4)[:, None] * np.ones((1, 4), dtype=np.int64)))
    # three of them in five parts each; then it is known that the fourth cannot be measured
    assert left[0] == 4
    assert left == sorted(left, reverse=True)
    assert len(set(left)) == 5
    assert left[-1] == 0


def test_workers_end_the_same_way(tmp_path):
    assert session(tmp_path / "one")[:2] == session(tmp_path / "two", jobs=2)[:2]


@pytest.mark.parametrize("budget", [1, 2, 5, 9, 12, 20, 25])
def test_budget_of_a_race(tmp_path, budget):
    history, known, meter = session(tmp_path / "j", budget=budget, evaluator=Recording())
    assert session(tmp_path / "j", budget=budget, evaluator=Recording())[:2] == (history, known)
    assert meter.n_images <= budget * N_IMAGES
    assert not any("partial" in record for record in known)
    if "spent" in history:
        assert meter.n_images > (budget - 1) * N_IMAGES
    assert meter.n_eval >= budget


def test_journal_of_the_first_format_stands_for_all_images(make_meter, tmp_path):
    with Journal(tmp_path / "evaluations.jsonl") as journal:
        for row in (EXACT.tolist(), [2, 4, 4, 4]):
            journal.append([Evaluation("search", tuple(row), "fake-search", 0.9)])
        meter = Meter(
            FakeEvaluator(), "search", accelerator=free_accelerator(), journal=journal, executor=LocalExecutor(),
            race=Race(),
        )  # fmt: skip
        assert meter(Designs(EXACT[None])).accuracy.tolist() == [0.9]
        measured = meter(Designs(np.array([[2, 4, 4, 4], [3, 3, 3, 3]])))
        # There is nothing to compare image by image: it is no rival, and beats nothing.
        assert measured.is_complete.all()
        assert measured.accuracy[0] == 0.9
        assert meter.n_new == 1

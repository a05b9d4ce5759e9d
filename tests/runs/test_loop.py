"""dse.runs.loop: the meter asks once, keeps to its budget, and the front is chosen on the search images."""

import numpy as np
import pytest

from dse.cost.accelerators import Designs, make_accelerator
from dse.runs.execution import Executor
from dse.runs.journal import Journal
from dse.runs.loop import BudgetSpent, Measured, Meter, best_energy, objectives, select_candidates, select_front
from dse.testing.fakes import FakeEvaluator, fake_library

EXACT = np.full(4, 4)


@pytest.fixture
def evaluator():
    return FakeEvaluator()


@pytest.fixture
def make_meter(tmp_path, evaluator):
    accelerator = make_accelerator("free", evaluator.layers, library=fake_library())
    with Journal(tmp_path / "evaluations.jsonl") as journal, Executor() as executor:
        yield lambda budget=None: Meter(
            evaluator, "search", accelerator=accelerator, journal=journal, executor=executor, budget=budget
        )


def test_same_assignment_is_measured_once(make_meter, evaluator):
    meter = make_meter()
    designs = Designs(np.array([[0, 1, 2, 3], [0, 1, 2, 3], [4, 4, 4, 4]]))
    measured = meter(designs)
    meter(designs)
    assert (meter.n_eval, meter.n_new, sum(evaluator.calls)) == (2, 2, 2)
    assert measured.accuracy[0] == measured.accuracy[1]
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


def measured(energy_rel, accuracy, exact_row):
    assignments = np.arange(len(energy_rel))[:, None] % 4 * np.ones(4, dtype=np.int64)
    assignments[exact_row] = 4
    return Measured(Designs(assignments), np.array(energy_rel), np.array(accuracy))


def test_front_drops_dominated_failed_and_keeps_exact():
    everything = measured([1.0, 0.5, 0.7, 0.2], [0.9, 0.92, 0.91, np.nan], exact_row=0)
    front = select_front(everything, exact=EXACT, accuracy_floor=None)
    assert front.energy_rel.tolist() == [0.5, 1.0]
    assert np.isnan(objectives(everything)[3]).all()


def test_floor_excludes_designs_but_not_the_exact_one():
    everything = measured([1.0, 0.5, 0.7], [0.9, 0.5, 0.8], exact_row=0)
    assert select_front(everything, exact=EXACT, accuracy_floor=0.95).energy_rel.tolist() == [1.0]
    assert select_front(everything, exact=EXACT, accuracy_floor=0.75).energy_rel.tolist() == [0.7, 1.0]


def test_best_energy():
    everything = measured([1.0, 0.5, 0.2], [0.9, 0.8, np.nan], exact_row=0)
    assert best_energy(everything, 0.8) == 0.5
    assert np.isnan(best_energy(everything, 0.99))


def test_candidates_are_the_front_then_the_next_one():
    # Two lucky designs form the front with the exact one; those just behind are what it hides.
    everything = measured([0.5, 0.7, 0.55, 0.75, 1.0, 0.9], [0.8, 0.9, 0.79, 0.89, 0.95, 0.3], 4)
    options = {"exact": EXACT, "accuracy_floor": None}
    assert select_candidates(everything, **options, n_designs=3).energy_rel.tolist() == [0.5, 0.7, 1.0]
    assert select_candidates(everything, **options, n_designs=5).energy_rel.tolist() == [0.5, 0.7, 0.55, 0.75, 1.0]
    assert select_candidates(everything, **options, n_designs=1).energy_rel.tolist() == [0.5, 0.7, 1.0]
    kept = select_candidates(everything, exact=EXACT, accuracy_floor=0.85, n_designs=10)
    assert kept.energy_rel.tolist() == [0.7, 0.75, 1.0]

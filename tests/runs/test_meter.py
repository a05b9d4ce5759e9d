"""dse.runs.meter: every image is measured once, races end the same way however they are run, budgets are kept."""

import numpy as np
import pytest

from dse.cost.accelerators import Designs, make_accelerator
from dse.runs.execution import Executor
from dse.runs.journal import Journal
from dse.runs.meter import BudgetSpent, Meter
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

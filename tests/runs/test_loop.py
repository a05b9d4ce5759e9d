"""dse.runs.loop: the front is chosen among what was measured on all search images."""

import numpy as np

from dse.cost.accelerators import Designs
from dse.runs.loop import best_energy, objectives, select_candidates, select_front
from dse.runs.measured import Measured

EXACT = np.full(4, 4)


def measured(energy_rel, accuracy, exact_row, raced=()):
    n = len(energy_rel)
    is_complete = ~np.isnan(accuracy) & ~np.isin(np.arange(n), raced)
    assignments = np.arange(len(energy_rel))[:, None] % 4 * np.ones(4, dtype=np.int64)
    assignments[exact_row] = 4
    return Measured(
        Designs(assignments), np.array(energy_rel), np.array(accuracy), np.where(is_complete, 200, 25), is_complete
    )


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


def test_designs_that_lost_a_race_are_nowhere():
    everything = measured([1.0, 0.5, 0.2, 0.6], [0.9, 0.8, 0.95, 0.99], exact_row=0, raced=[2, 3])
    assert np.isnan(objectives(everything)).any(axis=1).tolist() == [False, False, True, True]
    assert best_energy(everything, 0.8) == 0.5
    assert np.isnan(best_energy(everything, 0.95))
    for floor in (None, 0.5):
        bounds = {"exact": EXACT, "accuracy_floor": floor}
        assert select_front(everything, **bounds).energy_rel.tolist() == [0.5, 1.0]
        assert select_candidates(everything, **bounds, n_designs=10).energy_rel.tolist() == [1.0, 0.5]

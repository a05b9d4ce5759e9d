"""dse.runs.loop: the front is chosen among what was measured on all search images."""

import numpy as np
import pytest

from dse.cost.accelerators import Designs, make_accelerator
from dse.runs.execution import LocalExecutor
from dse.runs.journal import Journal
from dse.runs.loop import best_energy, objectives, require_exact, search, select_candidates, select_front
from dse.runs.measured import Measured
from dse.runs.meter import Meter
from dse.search.nsga2 import NSGA2Search
from dse.search.racing import Race
from dse.search.space import make_space
from dse.testing.fakes import FakeEvaluator, fake_library

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


class Listening(NSGA2Search):
    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.told = []

    def tell(self, X, F, G=None, *, failed=None):
        assert np.isfinite(F).all()
        assert not failed.any()
        self.told.append(F)
        super().tell(X, F, G, failed=failed)


def race(path, race, *, kind="free", jobs=1, n_generations=12, floor=None):
    """A search on layers whose energy and sensitivity do not go together; the meter, progress, what was told."""
    evaluator, seen = FakeEvaluator(), []
    accelerator = make_accelerator(kind, evaluator.layers[::-1], library=fake_library())
    space = make_space(accelerator, 4, n_multipliers=5)
    optimizer = Listening(space, population_size=10, n_generations=n_generations, seed=0)
    with Journal(path) as journal, LocalExecutor(jobs, 1) as executor:
        meter = Meter(evaluator, "search", accelerator=accelerator, journal=journal, executor=executor, race=race)
        require_exact(evaluator, EXACT, executor=executor, journal=journal)
        meter(space.decode(space.encode(EXACT[None])))
        search(optimizer, space, meter, accuracy_floor=floor, display_floor=0.8, on_generation=seen.append)
    return meter, seen, optimizer.told


@pytest.mark.parametrize("kind", ["free", "pipelined:2"])
@pytest.mark.parametrize("floor", [None, 0.7])
def test_front_of_a_race_is_measured_on_all_images(tmp_path, kind, floor):
    meter, seen, told = race(tmp_path / "raced", Race(), kind=kind, floor=floor)
    everything = meter.everything()
    assert not everything.is_complete.all()
    front = select_front(everything, exact=EXACT, accuracy_floor=floor)
    assert front.is_complete.all()
    np.testing.assert_array_equal(front.accuracy, FakeEvaluator()(front.designs.assignments))
    n_images = [progress.n_images for progress in seen]
    assert n_images == sorted(n_images)
    assert n_images[-1] == meter.n_images < meter.n_eval * 200
    assert np.diff([progress.hypervolume for progress in seen]).min() >= 0
    # No estimate that was told looks better than the front.
    complete = objectives(everything)[everything.is_complete]
    for energy, loss in np.concatenate(told):
        assert ((complete[:, 0] <= energy) & (complete[:, 1] <= loss)).any()


def test_workers_do_not_change_a_race(tmp_path):
    one, two = (race(tmp_path / f"jobs{jobs}", Race(), jobs=jobs, n_generations=4) for jobs in (1, 2))
    np.testing.assert_array_equal(np.concatenate(one[2]), np.concatenate(two[2]))
    assert one[0].n_images == two[0].n_images


def test_a_race_that_never_stops_anything_changes_nothing(tmp_path):
    plain, seen, told = race(tmp_path / "plain", None)
    raced, seen_raced, told_raced = race(tmp_path / "raced", Race(alpha=1e-300))
    np.testing.assert_array_equal(np.concatenate(told), np.concatenate(told_raced))
    assert plain.n_images == raced.n_images == plain.n_eval * 200
    assert [p.hypervolume for p in seen] == [p.hypervolume for p in seen_raced]

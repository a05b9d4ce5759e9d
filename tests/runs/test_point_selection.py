"""dse.runs.point_selection: every method keeps the limits, a search is never worse, nothing is simulated twice."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, RunError
from dse.runs.meter import BudgetSpent
from dse.runs.point_selection import Losses, Task, choose_points, rising_limits
from dse.search.operating_points import cheapest_members
from dse.search.subsets import best_subsets
from dse.testing.fakes import fake_matching

SCALES = (0.3, 1.0, 2.0)
N_IMAGES = 200


@dataclass(frozen=True)
class Accuracies:
    accuracy: np.ndarray


class FakeMeter:
    """Losses near those that are predicted, in whole images; fails where `failing` is used."""

    def __init__(self, growth, failing=()):
        self.true = growth * np.random.default_rng(1).lognormal(0, 0.4, growth.shape)
        self.failing, self.asked = failing, []

    def __call__(self, designs):
        keys = list(map(tuple, designs.assignments.tolist()))
        self.asked += keys
        lost = [1 - np.exp(-self.true[np.arange(len(key)), list(key)].sum()) for key in keys]
        found = [
            np.nan if set(key) & set(self.failing) else round(0.9 * (1 - x) * N_IMAGES) / N_IMAGES
            for key, x in zip(keys, lost, strict=True)
        ]
        return Accuracies(np.array(found))


def task_of(seed=0, *, n_layers=8, n_library=9, **changes):
    matching = fake_matching(n_layers, n_library, seed)
    growth = 0.01 * (matching.residual_std / matching.tolerance[:, None]) ** 2
    values = {
        "n_multipliers": 3,
        "scales": SCALES,
        "max_loss": None,
        "accuracy_floor": None,
        "seed": 0,
        "evaluations": 60,
    }
    return Task(matching, growth, **values | changes)


def choose(method, task, *, failing=()):
    meter = FakeMeter(task.growth, failing)
    exact = np.full(task.matching.n_layers, task.matching.exact_index)
    losses, stages = Losses(meter, exact, n_images=N_IMAGES), []
    choice = choose_points(method, task, losses, on_stage=lambda stage, detail="": stages.append(stage))
    assert len(set(meter.asked)) == len(meter.asked)
    losses.budget = None
    return choice, losses, stages


METHODS = ["kmeans", "enumerate", "search"]


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 4))
@pytest.mark.parametrize("method", METHODS)
def test_points_use_few_multipliers_and_energies_never_rise(method, seed, n):
    task = task_of(seed, n_multipliers=n, evaluations=20)
    choice, losses, _ = choose(method, task)
    assert choice.assignments.shape == (3, 8)
    assert len(np.unique(choice.assignments)) <= n
    assert (np.diff(task.matching.energy(choice.assignments)) <= 1e-12).all()


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(1, 4), floor=st.none() | st.floats(0.5, 0.9))
@pytest.mark.parametrize("method", METHODS)
def test_points_keep_their_limits(method, seed, n, floor):
    task = task_of(seed, n_multipliers=n, max_loss=(0.005, 0.02, 0.1), accuracy_floor=floor, evaluations=20)
    choice, losses, _ = choose(method, task)
    found = losses(choice.assignments)
    assert (found <= np.array(task.max_loss) + 1e-9).all()
    if floor is not None:
        assert (losses.exact_accuracy - found >= floor - 1e-9).all()
    assert len(np.unique(choice.assignments)) <= n
    assert (np.diff(task.matching.energy(choice.assignments)) <= 1e-12).all()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(3))
def test_a_floor_alone_only_makes_points_more_accurate(method, seed):
    task = task_of(seed)
    free, losses, _ = choose(method, task)
    floor = losses.exact_accuracy - 0.02
    held, losses, _ = choose(method, replace(task, accuracy_floor=floor))
    assert (losses.exact_accuracy - losses(held.assignments) >= floor - 1e-9).all()
    if method == "enumerate":
        assert (held.scales <= np.array(SCALES)).all()


@pytest.mark.parametrize("max_loss", [None, (0.005, 0.02, 0.1)])
@pytest.mark.parametrize("seed", range(4))
def test_a_search_is_never_worse_than_what_it_begins_with(seed, max_loss):
    task = task_of(seed, max_loss=max_loss)
    choices = {method: choose(method, task) for method in METHODS}
    energy = {m: task.matching.energy(c.assignments) for m, (c, _, _) in choices.items()}
    assert energy["search"].mean() <= energy["enumerate"].mean() + 1e-9
    if max_loss is not None and (np.diff(energy["kmeans"]) < -2e-3).all():
        assert energy["search"].mean() <= energy["kmeans"].mean() + 1e-9
    assert choices["search"][0].scales is None
    assert "searching" in choices["search"][2]


def test_without_limits_matching_is_all():
    task = task_of(1)
    choice, _, stages = choose("enumerate", task)
    (subset,) = best_subsets(task.matching.costs(SCALES), np.arange(9), 3)
    np.testing.assert_array_equal(choice.assignments, cheapest_members(task.matching, subset, SCALES))
    assert (choice.scales, stages) == (SCALES, ["choosing multipliers"])


def test_a_library_with_too_many_subsets_is_searched_from_clusters():
    task = task_of(0, n_layers=6, n_library=60, n_multipliers=4, max_loss=(0.005, 0.02, 0.1))
    with pytest.raises(ConfigError, match="use --method search"):
        choose("enumerate", task)
    choice, losses, _ = choose("search", task)
    assert (losses(choice.assignments) <= np.array(task.max_loss) + 1e-9).all()


def test_a_floor_above_the_exact_network_says_what_it_reaches():
    with pytest.raises(ConfigError, match=r"floor 0.95: the exact network reaches 0.9000 on the search images"):
        choose("enumerate", task_of(accuracy_floor=0.95))


@pytest.mark.parametrize("method", METHODS)
def test_failed_evaluations_are_never_chosen(method):
    task = task_of(2, max_loss=(0.005, 0.02, 0.1))
    cheap, _, _ = choose(method, task)
    failing = sorted(set(np.unique(cheap.assignments).tolist()) - {8})[:1]
    choice, losses, _ = choose(method, task, failing=failing)
    assert np.isfinite(losses(choice.assignments)).all()


def test_points_that_fail_leave_a_search_without_limits():
    (subset,) = best_subsets(task_of().matching.costs(SCALES), np.arange(9), 3)
    with pytest.raises(RunError, match="cannot be evaluated.*--max-loss"):
        choose("search", task_of(), failing=subset[:1].tolist())


def test_budgets_end_within_a_batch():
    task = task_of()
    losses = Losses(FakeMeter(task.growth), np.full(8, 8), n_images=N_IMAGES)
    losses.budget = 3
    rows = np.arange(8)[:, None] * np.ones((1, 8), dtype=np.int64)
    losses(rows[[0, 0, 1]])
    with pytest.raises(BudgetSpent):
        losses(rows[[0, 2, 3, 4]])
    assert losses(rows[[0, 1, 2]]).shape == (3,)
    assert len(losses.measured[0]) == 4
    np.testing.assert_array_equal(losses(np.full((1, 8), 8)), [0.0])


def test_limits_rise_by_an_image_at_least():
    assert rising_limits(np.array([0.1, 0.1, 0.05, 0.4]), 0.01) == pytest.approx((0.1, 0.11, 0.12, 0.4))
    with pytest.raises(RunError, match="operating point 1 cannot be evaluated"):
        rising_limits(np.array([0.1, np.inf]), 0.01)

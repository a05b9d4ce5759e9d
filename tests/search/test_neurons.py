import json

import numpy as np
import pytest

from dse.errors import ConfigError
from dse.search.neurons import AxnnSettings, LoopState, check_bounds, design, start


class Additive:
    """Neurons whose harms add up; `recovered` is what retraining gives back."""

    accuracy_exact = 0.9

    def __init__(self, sensitivity, n_levels=4, recovered=0.0):
        self._sensitivity, self._recovered = np.asarray(sensitivity, dtype=float), recovered
        n = len(self._sensitivity)
        self.energy_pj = np.tile(1.0 / np.arange(1, n_levels + 1), (n, 1))
        self.error = np.tile(np.arange(n_levels) / n_levels, (n, 1))
        self.n_characterized, self.tried, self.accepted = 0, [], [np.zeros(n, dtype=np.int64)]

    def sensitivities(self):
        self.n_characterized += 1
        return self._sensitivity

    def retrain(self, levels):
        self.tried.append(levels.copy())
        harm = (self._sensitivity**2 * self.error[0, levels] ** 2).sum()
        return self.accuracy_exact - max(0.0, harm - self._recovered)

    def loss_error(self):
        return 0.0

    def accept(self):
        self.accepted.append(self.tried[-1])

    def energy_rel(self, levels):
        return float(self.energy_pj[np.arange(len(levels)), levels].sum() / self.energy_pj[:, 0].sum())


SENSITIVITY = np.array([0.01, 0.3, 0.02, 0.2, 0.05, 0.1, 0.6, 0.03])


def test_stays_within_every_bound_and_goes_as_far_as_it_can():
    neurons, settings = Additive(SENSITIVITY), AxnnSettings((0.01, 0.05), group_share=0.25, smallest_share=0.125)
    found = design(neurons, settings)
    for bound, levels in zip(settings.bounds, found.finished, strict=True):
        levels = np.array(levels)
        assert neurons.retrain(levels) >= neurons.accuracy_exact - bound
        for i in np.flatnonzero(levels < 3):  # nothing more fits
            lowered = levels.copy()
            lowered[i] += 1
            assert neurons.retrain(lowered) < neurons.accuracy_exact - bound
    first, second = map(np.array, found.finished)
    assert (second >= first).all()
    assert (second > first).any()


def test_rejected_groups_leave_no_trace():
    neurons = Additive(SENSITIVITY)
    found = design(neurons, AxnnSettings((0.01,), group_share=0.5, smallest_share=0.125))
    assert any(not attempt.is_accepted for attempt in found.attempts)
    assert len(neurons.accepted) - 1 == sum(attempt.is_accepted for attempt in found.attempts)
    assert tuple(neurons.accepted[-1]) == found.finished[0]
    assert neurons.n_characterized == len(found.attempts)  # anew before each


def test_most_resilient_neurons_go_first_and_orders_differ():
    first = []
    for order in ("harm", "score"):
        neurons = Additive(SENSITIVITY)
        design(neurons, AxnnSettings((0.05,), group_share=0.25, smallest_share=0.125, order=order))
        assert np.flatnonzero(neurons.tried[0]).tolist() == [0, 2]
        first.append(neurons.tried[1].tolist())
    assert first[1] == [2, 0, 2, 0, 0, 0, 0, 0]  # the paper's: the lowest scores again
    assert first[0] != first[1]


def test_everything_falls_where_nothing_hurts():
    found = design(Additive(np.zeros(5)), AxnnSettings((0.01,)))
    assert found.finished == ((3,) * 5,)
    assert all(attempt.is_accepted for attempt in found.attempts)


@pytest.mark.parametrize("n_done", [1, 3, 6])
def test_continues_from_a_saved_state(n_done):
    settings = AxnnSettings((0.01, 0.05), smallest_share=0.125)
    states = []
    whole = design(Additive(SENSITIVITY), settings, on_attempt=states.append)
    saved = LoopState.from_dict(json.loads(json.dumps(states[n_done].to_dict())))
    assert saved == states[n_done]
    assert design(Additive(SENSITIVITY), settings, state=saved) == whole


def test_start_is_exact():
    state = start(Additive(SENSITIVITY), AxnnSettings())
    assert set(state.levels) == {0}
    assert not any(state.frozen)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"bounds": ()}, "bounds"),
        ({"bounds": (0.05, 0.01)}, "ascending"),
        ({"bounds": (0.0,)}, "above 0"),
        ({"smallest_share": 0.5}, "smallest_share <= group_share"),
        ({"order": "random"}, "expected one of harm, score"),
    ],
)
def test_settings_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        AxnnSettings(**values)


def test_bound_tighter_than_the_evaluation():
    check_bounds((0.005,), 800)
    with pytest.raises(ConfigError, match=r"0.5 % is 1 of 200 validation images.*at least 800"):
        check_bounds((0.005, 0.02), 200)

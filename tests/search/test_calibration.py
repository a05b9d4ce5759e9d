"""dse.search.calibration: the cheapest position within each limit, as measured."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.search.calibration import calibrate
from dse.search.operating_points import Curve


def curve_of(n, number=0):
    """Positions are their own assignments."""
    return Curve(
        np.stack([np.full(n, number), np.arange(n)], axis=1), np.arange(n, dtype=np.float64), 1 - 0.002 * np.arange(n)
    )


class Table:
    """Losses by curve and position, which counts what is asked."""

    def __init__(self, losses):
        self.losses, self.asked = losses, []

    def __call__(self, assignments):
        self.asked += map(tuple, assignments.tolist())
        return np.array([self.losses[c][position] for c, position in assignments.tolist()])


def spread_apart(positions):
    """The cheapest positions that rise and are no further than these; these where there are none."""
    apart = list(positions)
    for k in reversed(range(len(apart) - 1)):
        apart[k] = min(apart[k], apart[k + 1] - 1)
    return apart if apart[0] >= 0 else positions


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rising_losses_give_the_cheapest_positions(data):
    losses = [np.sort(data.draw(st.lists(st.floats(0, 1), min_size=1, max_size=40))) for _ in range(2)]
    limits = np.sort(data.draw(st.lists(st.floats(0, 1), min_size=3, max_size=3)))
    curves, table = [curve_of(len(row), c) for c, row in enumerate(losses)], Table(losses)
    start = [[data.draw(st.integers(0, len(row) - 1)) for _ in range(3)] for row in losses]
    found = calibrate(curves, limits, table, start=start)
    expected = [[np.searchsorted(row, limit, side="right") - 1 for limit in limits] for row in losses]
    np.testing.assert_array_equal(found, [spread_apart(row) for row in expected])


@settings(max_examples=60, deadline=None)
@given(
    losses=st.lists(st.floats(0, 1), min_size=1, max_size=30),
    limits=st.lists(st.floats(0, 1), min_size=2, max_size=4),
    first=st.integers(0, 29),
)
def test_any_losses_give_positions_measured_within_their_limits(losses, limits, first):
    limits, table = np.sort(limits), Table([losses])
    start = np.full((1, len(limits)), min(first, len(losses) - 1))
    (found,) = calibrate([curve_of(len(losses))], limits, table, start=start)
    assert (np.diff(found) >= 0).all()
    for position, limit in zip(found, limits, strict=True):
        assert position < 0 or (losses[position] <= limit and (0, position) in table.asked)
    lower = calibrate([curve_of(len(losses))], limits, table, start=start, only_lower=True)[0]
    assert (lower <= start[0]).all()


def test_points_within_their_limits_stay_where_only_lower_ones_are_wanted():
    table = Table([[0.0, 0.1, 0.2, 0.3]])
    found = calibrate([curve_of(4)], [0.15, 0.15], table, start=[[1, 3]], only_lower=True)
    assert found.tolist() == [[0, 1]]


def test_points_that_end_together_look_ahead():
    table, curve = Table([[0.0, 0.1, 0.9, 0.9, 0.9, 0.9, 0.3, *[0.9] * 20]]), curve_of(27)
    assert calibrate([curve], [0.2, 0.4], table, start=[[1, 1]]).tolist() == [[1, 6]]
    assert calibrate([curve], [0.2, 0.4], table, start=[[1, 1]], only_lower=True).tolist() == [[0, 1]]


def test_points_that_still_end_together_step_back():
    table = Table([[0.0, 0.1, 0.3, 0.15, 0.9]])
    assert calibrate([curve_of(5)], [0.2, 0.2], table, start=[[3, 3]]).tolist() == [[1, 3]]
    assert calibrate([curve_of(5)], [0.2, 0.2, 0.2], table, start=[[3, 3, 3]]).tolist() == [[0, 1, 3]]
    assert calibrate([curve_of(1)], [0.2, 0.2], table, start=[[0, 0]]).tolist() == [[0, 0]]


def test_failures_and_hopeless_curves():
    table = Table([[np.inf, np.inf], [0.0, np.inf]])
    found = calibrate([curve_of(2, 0), curve_of(2, 1)], [0.5, 0.6], table, start=[[0, 1], [0, 1]])
    assert found.tolist() == [[-1, -1], [0, 0]]

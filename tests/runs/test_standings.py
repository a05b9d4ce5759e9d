"""dse.runs.standings: at which losses one front saves more than another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.runs.standings import MAX_LOSS_POINTS, saved_by, standing

CORNERS = st.lists(st.tuples(st.floats(0, 100), st.floats(-2, 20)), max_size=8)


def test_savings_step_up_with_the_loss():
    corners = [[60, 3.0], [40, 1.0], [0, 0.0]]
    assert saved_by(corners, [-1, 0, 0.999, 1, 2.9, 3, 99]).tolist() == [0, 0, 0, 40, 40, 60, 60]
    assert saved_by(np.empty((0, 2)), [1.0]).tolist() == [0]


def test_fronts_that_cross():
    found = standing([[70, 5.0], [20, 0.5]], [[60, 4.0], [30, 1.0]])
    assert [(i.loss_from, i.loss_to, i.ahead) for i in found.intervals] == [
        (0, 0.5, 0), (0.5, 1, 1), (1, 5, -1), (5, 10, 1),
    ]  # fmt: skip
    assert [i.mean_pct for i in found.intervals] == pytest.approx([0, 20, (-10 * 3 - 40) / 4, 10])
    assert (found.first_share, found.second_share) == pytest.approx((0.55, 0.4))
    assert found.mean_pct == pytest.approx((0.5 * 20 - 70 + 50) / 10)


def test_the_same_front_is_never_ahead():
    found = standing([[50, 2.0]], [[50.01, 2.0]])
    assert [(i.loss_from, i.loss_to, i.ahead) for i in found.intervals] == [(0, MAX_LOSS_POINTS, 0)]


@given(CORNERS, CORNERS)
def test_intervals_cover_all_losses_and_say_what_is_true(first, second):
    found, turned = standing(first, second), standing(second, first)
    edges = [found.intervals[0].loss_from, *(i.loss_to for i in found.intervals)]
    assert (edges[0], edges[-1]) == (0, MAX_LOSS_POINTS)
    assert all(a < b for a, b in zip(edges, edges[1:], strict=False))
    assert all(a.ahead != b.ahead for a, b in zip(found.intervals, found.intervals[1:], strict=False))
    for each in found.intervals:
        middle = [each.loss_from]
        more = float((saved_by(first, middle) - saved_by(second, middle))[0])
        assert each.ahead == (0 if abs(more) <= 0.05 else np.sign(more))
    assert found.mean_pct == pytest.approx(-turned.mean_pct, abs=1e-9)
    assert found.first_share == turned.second_share

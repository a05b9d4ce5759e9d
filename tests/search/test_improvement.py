import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.pareto import hypervolume
from dse.search.improvement import Staircase, Terraces


@pytest.mark.parametrize(("kind", "n_costs"), [(Staircase, 1), (Terraces, 2)])
@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n_measured=st.integers(0, 12))
def test_gains_are_differences_of_hypervolumes(kind, n_costs, seed, n_measured):
    rng = np.random.default_rng(seed)
    reference = (1.1,) * n_costs + (1.0,)
    F, points = rng.integers(0, 13, size=(n_measured, n_costs + 1)) / 10, rng.uniform(0, 1.2, size=(5, n_costs + 1))
    points[0] = F[0] if n_measured else points[0]  # a copy adds nothing
    front = kind(F[:, :-1], F[:, -1], reference)
    for losses in (points[:, -1], points[::-1, -1]):  # the same costs with other losses
        gains = front.gains(points[:, :-1], losses)
        for gain, cost, loss in zip(gains, points[:, :-1], losses, strict=True):
            whole = hypervolume(np.vstack([F, [*cost, loss]]), reference)
            assert gain == pytest.approx(whole - hypervolume(F, reference), abs=1e-12)


@pytest.mark.parametrize(("kind", "n_costs"), [(Staircase, 1), (Terraces, 2)])
def test_an_added_point_counts_as_measured(kind, n_costs):
    rng = np.random.default_rng(0)
    reference = (1.1,) * n_costs + (1.0,)
    F, points = rng.uniform(0, 1, size=(9, n_costs + 1)), rng.uniform(0, 1, size=(20, n_costs + 1))
    grown, whole = kind(F[:6, :-1], F[:6, -1], reference), kind(F[:, :-1], F[:, -1], reference)
    grown.gains(points[:, :-1], points[:, -1])
    for row in F[6:]:
        grown.add(row[:-1], float(row[-1]))
    known = whole.gains(points[:, :-1], points[:, -1])
    assert grown.gains(points[:, :-1], points[:, -1]) == pytest.approx(known, abs=1e-12)

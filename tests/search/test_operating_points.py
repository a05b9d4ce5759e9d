"""dse.search.operating_points: the cheapest member that fits, curves over a subset, and refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.errors import ConfigError, ShapeError
from dse.search.operating_points import (
    Curve,
    Matching,
    cheapest_members,
    check_ascending,
    check_points,
    default_scales,
    require_distinct,
    tolerance_steps,
    traded_steps,
)

SCALES = (0.3, 1.0, 2.0)


def subset_of(matching, seed, n):
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(len(matching.energy_rel), size=n, replace=False))


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 4))
def test_every_layer_takes_the_cheapest_member_that_fits(make_matching, seed, n):
    matching = make_matching(5, 7, seed)
    subset = subset_of(matching, seed, n)
    found = cheapest_members(matching, subset, SCALES)
    for point, scale in zip(found, SCALES, strict=True):
        for layer, m in enumerate(point):
            fitting = [i for i in subset if matching.residual_std[layer, i] <= scale * matching.tolerance[layer]]
            errors = matching.residual_std[layer, subset]
            expected = min(fitting, key=lambda i: matching.energy_rel[i]) if fitting else subset[errors.argmin()]
            assert m == expected
    assert (np.diff(matching.energy(found)) <= 1e-12).all()


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 5))
def test_curves_hold_what_every_scale_gives(make_matching, seed, n):
    matching = make_matching(6, 8, seed)
    subset = subset_of(matching, seed, n)
    curve = tolerance_steps(matching, subset)
    assert (np.diff(matching.energy(curve.assignments)) <= 1e-12).all()
    assert (np.diff(curve.levels) >= 0).all()
    scales = np.random.default_rng(seed).uniform(0, 5, 20)
    for scale, point in zip(scales, cheapest_members(matching, subset, scales), strict=True):
        np.testing.assert_array_equal(curve.assignments[curve.position(scale)], point)
    if matching.exact_index in subset:
        assert (curve.assignments[0] == matching.exact_index).all()


def test_layers_that_tolerate_nothing_get_the_most_accurate_member(make_matching):
    matching = make_matching(3, 5, 0)
    nothing = Matching(
        matching.residual_std, np.zeros(3), matching.energy_rel, matching.n_multiplications, matching.exact_index
    )
    found = cheapest_members(nothing, [0, 2], SCALES)
    np.testing.assert_array_equal(
        found, np.broadcast_to(np.where(matching.residual_std[:, 0] < matching.residual_std[:, 2], 0, 2), (3, 3))
    )
    assert (cheapest_members(nothing, [0, 4], SCALES) == 4).all()


def test_trade_offs_buy_energy_for_growth(make_matching):
    matching = make_matching(6, 8, 1)
    growth = (matching.residual_std / matching.tolerance[:, None]) ** 2
    curve = traded_steps(matching, growth, [1, 4, 7])
    assert set(np.unique(curve.assignments)) <= {1, 4, 7}
    assert (np.diff(matching.energy(curve.assignments)) < 0).all()
    assert (np.diff(curve.levels) > 0).all()
    assert (curve.assignments[0] == 7).all()


def test_positions_of_a_curve():
    curve = Curve(np.zeros((3, 1), dtype=np.int64), np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.9, 0.8]))
    assert [curve.position(level) for level in (0.1, 0.5, 0.99, 1.0, 5.0)] == [0, 0, 0, 1, 2]


def test_default_scales_span_the_papers_range():
    assert default_scales(3) == (0.3, 1.0, 2.0)
    assert default_scales(5)[0] == 0.3
    assert default_scales(5)[-1] == 2.0
    assert (np.diff(default_scales(5)) > 0).all()


def test_inputs_are_checked_and_not_changed(make_matching):
    matching = make_matching(3, 4, 0)
    parts = (matching.residual_std, matching.tolerance, matching.energy_rel, matching.n_multiplications)
    before = [part.copy() for part in parts]
    tolerance_steps(matching, [0, 3])
    for part, old in zip(parts, before, strict=True):
        np.testing.assert_array_equal(part, old)
    with pytest.raises(ShapeError, match=r"expected \[n_layers, n_multipliers\]"):
        Matching(parts[0], parts[1][:2], *parts[2:], 3)
    with pytest.raises(ConfigError, match="negative or NaN"):
        Matching(parts[0], parts[1] * np.nan, *parts[2:], 3)
    with pytest.raises(ConfigError, match="exact multiplier has an error"):
        Matching(*parts, 0)


@pytest.mark.parametrize(
    ("n_multipliers", "n_points", "message"),
    [
        (0, 3, "0 multipliers were asked for: expected at least 1"),
        (9, 3, "9 multipliers were asked for, the library has 8: expected 1 to 8; lower --multipliers"),
        (2, 1, "1 operating points were asked for: expected at least 2"),
    ],
)
def test_numbers_that_make_no_sense(n_multipliers, n_points, message):
    with pytest.raises(ConfigError, match=message):
        check_points(n_multipliers, n_points, n_library=8)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((1.0, 2.0), "--scales 1,2 has 2 numbers: expected 3, one for each point"),
        ((1.0, 1.0, 2.0), "expected rising numbers above 0"),
        ((0.0, 1.0, 2.0), "expected rising numbers above 0"),
        ((1.0, 2.0, float("nan")), "expected rising numbers above 0"),
        ((1.0, 2.0, float("inf")), "expected rising numbers above 0"),
    ],
)
def test_scales_that_make_no_sense(values, message):
    with pytest.raises(ConfigError, match=message):
        check_ascending("--scales", values, 3, least=0.0, is_open=True)


def test_limits_may_begin_at_nothing():
    check_ascending("--max-loss", (0.0, 1.0), 2, least=0.0, is_open=False)
    with pytest.raises(ConfigError, match="of at least 0"):
        check_ascending("--max-loss", (-0.1, 1.0), 2, least=0.0, is_open=False)


def test_ties_are_named():
    require_distinct([0.9, 0.5, 0.4])
    with pytest.raises(ConfigError, match=r"points 1 and 2 tie: they cost 0.5005 and 0.5000 .* fewer --points"):
        require_distinct([0.9, 0.5005, 0.5])
    require_distinct([0.501, 0.5])

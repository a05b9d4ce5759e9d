"""dse.runs.seed_tests: exact p values, effect sizes, correction."""

from itertools import combinations

import numpy as np
import pytest

from dse.runs.seed_tests import effect_name, holm, mann_whitney


def by_counting(a, b):
    """Two-sided p by every way to divide the figures."""
    values = np.concatenate([a, b])

    def statistic(rows):
        first, second = values[list(rows)], np.delete(values, list(rows))
        return sum((x > second).sum() + 0.5 * (x == second).sum() for x in first)

    all_of_them = [statistic(rows) for rows in combinations(range(len(values)), len(a))]
    u = statistic(range(len(a)))
    share = [np.mean([v >= u for v in all_of_them]), np.mean([v <= u for v in all_of_them])]
    return min(1.0, 2 * min(share))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("has_ties", [False, True])
def test_p_is_exact(seed, has_ties):
    generator = np.random.default_rng(seed)
    a, b = generator.normal(1, 1, 5), generator.normal(0, 1, 4)
    if has_ties:
        a, b = a.round(), b.round()
    found = mann_whitney(a, b)
    assert found.p == pytest.approx(by_counting(a, b))
    assert found.a12 == pytest.approx(np.mean([(x > y) + 0.5 * (x == y) for x in a for y in b]))
    assert mann_whitney(b, a).a12 == pytest.approx(1 - found.a12)


def test_few_figures_cannot_show_anything():
    found = mann_whitney([3, 4, 5], [0, 1, 2])
    assert found.p == found.smallest_p == pytest.approx(0.1)
    assert mann_whitney([1], [0]).smallest_p == 1
    assert mann_whitney(np.ones(5), np.ones(5)).p == 1


def test_nan_is_absent():
    found = mann_whitney([1, np.nan, 2], [np.nan])
    assert (found.n_a, found.n_b, found.smallest_p) == (2, 0, 1)
    assert np.isnan(found.p)
    assert np.isnan(found.a12)


def test_many_tied_figures_go_by_the_normal_distribution():
    a = np.repeat([0.0, 1.0], 20)
    assert mann_whitney(a + 1, a).p < 0.001
    assert mann_whitney(a, a).p == pytest.approx(1)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.02, np.nan, 0.01, 0.5]), [0.04, np.nan, 0.03, 0.5])
    assert holm([]).size == 0
    assert holm([0.9, 0.8]).tolist() == [1, 1]


@pytest.mark.parametrize(("a12", "name"), [(0.5, "none"), (0.44, "small"), (0.65, "medium"), (0.0, "large")])
def test_effects_have_names(a12, name):
    assert effect_name(a12) == name

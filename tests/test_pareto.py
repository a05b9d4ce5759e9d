import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from dse.errors import ShapeError
from dse.pareto import attainment_surface, front_indices, hypervolume, igd_plus, nondominated

COARSE = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])  # coarse, so that ties are frequent


UP_TO_FOUR = st.integers(1, 4)


def points(elements, n_objectives=UP_TO_FOUR):
    return st.tuples(st.integers(0, 12), n_objectives).flatmap(lambda s: arrays(np.float64, s, elements=elements))


def brute_nondominated(F):
    valid = ~np.isnan(F).any(axis=1)
    mask = valid.copy()
    for i in np.flatnonzero(valid):
        for j in np.flatnonzero(valid):
            if (F[j] <= F[i]).all() and (F[j] < F[i]).any():
                mask[i] = False
    return mask


def brute_hypervolume(F, n_cells=4):
    """Volume below (1, ..., 1) of points on the grid of quarters, by counting cells."""
    F = F[~np.isnan(F).any(axis=1)]
    corners = np.stack(np.meshgrid(*[np.arange(n_cells) / n_cells] * F.shape[1]), axis=-1).reshape(-1, F.shape[1])
    covered = (F[None] <= corners[:, None]).all(axis=2).any(axis=1)
    return covered.sum() / n_cells ** F.shape[1]


@given(points(st.one_of(COARSE, st.just(np.nan), st.just(np.inf))))
def test_nondominated_equals_brute_force(F):
    before = F.copy()
    np.testing.assert_array_equal(nondominated(F), brute_nondominated(F))
    np.testing.assert_array_equal(F, before)


@given(points(COARSE))
def test_keep_equal_false_keeps_the_first_copy(F):
    kept = nondominated(F, keep_equal=False)
    everything = nondominated(F)
    assert set(map(tuple, F[kept])) == set(map(tuple, F[everything]))
    assert len(F[kept]) == len(set(map(tuple, F[kept])))
    for i in np.flatnonzero(kept):
        assert not any((F[j] == F[i]).all() for j in range(i))


@given(points(COARSE))
def test_front_indices_are_sorted_and_complete(F):
    rows = front_indices(F)
    assert rows.dtype == np.int64
    assert sorted(rows) == np.flatnonzero(nondominated(F, keep_equal=False)).tolist()
    assert F[rows, 0].tolist() == sorted(F[rows, 0].tolist())


@given(points(st.one_of(COARSE, st.just(np.nan)), n_objectives=st.integers(2, 3)))
def test_hypervolume_equals_counted_cells(F):
    assert hypervolume(F, np.ones(F.shape[1])) == pytest.approx(brute_hypervolume(F))


@given(points(COARSE, n_objectives=st.just(2)), points(COARSE, n_objectives=st.just(2)))
def test_igd_plus_equals_its_formula(F, reference):
    if len(reference) == 0:
        reference = np.zeros((1, 2))
    if len(F) == 0:
        assert igd_plus(F, reference) == np.inf
        return
    distance = np.sqrt((np.maximum(F[None] - reference[:, None], 0) ** 2).sum(axis=2))
    assert igd_plus(F, reference) == pytest.approx(distance.min(axis=1).mean())


def test_a_nan_row_is_not_a_front():
    F = [[np.nan, 0.0], [1.0, 1.0]]
    assert nondominated(F).tolist() == [False, True]
    assert hypervolume(F, [2.0, 2.0]) == 1.0
    assert igd_plus(F, [[1.0, 1.0]]) == 0.0


def test_points_beyond_the_reference_add_nothing():
    assert hypervolume([[0.5, 0.5], [0.0, 1.0], [0.0, 3.0]], [1.0, 1.0]) == 0.25
    assert hypervolume([[1.0, 0.0]], [1.0, 1.0]) == 0.0


def test_empty_sets():
    empty = np.empty((0, 2))
    assert nondominated(empty).shape == (0,)
    assert front_indices(empty).shape == (0,)
    assert hypervolume(empty, [1, 1]) == 0.0


@pytest.mark.parametrize("F", [np.zeros(3), np.zeros((2, 0)), np.zeros((1, 2, 2))])
def test_wrong_shape_is_named(F):
    with pytest.raises(ShapeError, match=r"`F` has shape .*expected \(n, n_objectives\)"):
        nondominated(F)


def test_bad_references_are_named():
    with pytest.raises(ShapeError, match="`reference_point` has shape"):
        hypervolume([[0, 0]], [1, 1, 1])
    with pytest.raises(ShapeError, match="expected finite"):
        hypervolume([[0, 0]], [1, np.nan])
    with pytest.raises(ShapeError, match="at least one row"):
        igd_plus([[0, 0]], np.empty((0, 2)))
    with pytest.raises(ShapeError, match="not finite"):
        igd_plus([[0, 0]], [[np.nan, 0]])


@given(st.lists(points(st.one_of(COARSE, st.just(np.nan)), st.just(2)), min_size=1, max_size=5), st.data())
def test_attainment_equals_brute_force_on_a_grid(fronts, data):
    before = [front.copy() for front in fronts]
    k = data.draw(st.integers(1, len(fronts)))
    surface = attainment_surface(fronts, k)
    assert (np.diff(surface[:, 0]) > 0).all()
    assert (np.diff(surface[:, 1]) < 0).all()
    grid = np.stack(np.meshgrid(*[np.arange(-1, 6) / 4] * 2), axis=-1).reshape(-1, 2)
    attained = [(front[None] <= grid[:, None]).all(axis=2).any(axis=1) for front in fronts]
    expected = np.sum(attained, axis=0) >= k
    np.testing.assert_array_equal((surface[None] <= grid[:, None]).all(axis=2).any(axis=1), expected)
    for front, copy in zip(fronts, before, strict=True):
        np.testing.assert_array_equal(front, copy)


@pytest.mark.parametrize("k", [1, 4, 7])
def test_attainment_equals_moocore(k):
    rng = np.random.default_rng(k)
    fronts = [rng.random((30, 2)) for _ in range(7)]
    theirs = moocore.eaf(np.vstack(fronts), np.repeat(np.arange(7), 30), percentiles=[100 * k / 7])[:, :2]
    np.testing.assert_array_equal(attainment_surface(fronts, k), theirs[np.argsort(theirs[:, 0])])


def test_attainment_of_fronts_that_are_empty():
    assert attainment_surface([np.empty((0, 2)), []], 1).shape == (0, 2)
    np.testing.assert_array_equal(attainment_surface([[], [[1.0, 2.0]]], 1), [[1.0, 2.0]])
    assert len(attainment_surface([[], [[1.0, 2.0]]], 2)) == 0


@pytest.mark.parametrize(
    ("fronts", "k", "message"),
    [
        ([[[1.0, 2.0, 3.0]]], 1, "two objectives"),
        ([[[1.0, 2.0]]], 0, "k is 0 of 1 fronts"),
        ([[[1.0, 2.0]]], 2, "k is 2 of 1 fronts"),
        ([], 1, "k is 1 of 0 fronts"),
    ],
)
def test_attainment_refuses(fronts, k, message):
    with pytest.raises(ShapeError, match=message):
        attainment_surface(fronts, k)
